"""The page in a real browser: Chromium, driven by Playwright.

pip install playwright; a Chromium of the system; AXE names axe.min.js of npm's
axe-core, without which pages are not checked by it.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

from drawn_photos import draw
import pytest

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip('playwright.sync_api')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
ROOT = pathlib.Path(__file__).parents[2]
_RULES = ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']
_WAIT_MS = 120_000


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photos')
  for i in range(12):
    draw(folder / f'{i:02d}.png', i, (160, 90 + 20 * (i % 4)))
  (folder / 'broken.jpg').write_bytes(b'no photo')
  return folder


@pytest.fixture(scope='module')
def address(photos, tmp_path_factory):
  """The service as people start it, on a port of its own."""
  index = tmp_path_factory.mktemp('index')
  command = [sys.executable, '-m', 'mrnn_jax.serve', f'--photos={photos}']
  child = subprocess.Popen(
    [*command, f'--index={index}', '--port=0', '--rescan=1'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    lines = iter(child.stdout.readline, '')
    url = next(x for x in lines if x.startswith('open ')).split()[1]
    for _ in range(300):
      with urllib.request.urlopen(f'{url}v1/healthz', timeout=60) as answer:
        if b'"indexed":12' in answer.read():
          break
      time.sleep(1)
    yield url
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 0
  finally:
    child.kill()
    child.wait()
    child.stdout.close()


@pytest.fixture(scope='module')
def browser():
  if not CHROMIUM:
    pytest.skip('no Chromium')
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=CHROMIUM, args=['--no-sandbox']
    )
    yield browser
    browser.close()


@pytest.fixture(params=['desktop', 'phone'])
def page(request, browser, address):
  phone = request.param == 'phone'
  context = browser.new_context(
    viewport={'width': 390, 'height': 844} if phone else None,
    has_touch=phone,
    color_scheme='dark' if phone else 'light',
    # For axe alone, which is put into the page.
    bypass_csp=bool(os.environ.get('AXE')),
  )
  page = context.new_page()
  page.set_default_timeout(_WAIT_MS)
  told = []
  page.on('console', lambda x: told.append(x.text) if x.type != 'log' else None)
  page.on('pageerror', lambda x: told.append(str(x)))
  foreign = []
  page.on(
    'request',
    lambda x: (
      foreign.append(x.url)
      if not x.url.startswith((address, 'blob:', 'data:'))
      else None
    ),
  )
  page.goto(address)
  page.wait_for_selector('.item')
  yield page
  assert not told
  assert not foreign
  width = page.evaluate('document.documentElement.scrollWidth - innerWidth')
  assert width <= 0
  context.close()


def check(page):
  """Have axe-core look at the page."""
  if path := os.environ.get('AXE'):
    page.evaluate(pathlib.Path(path).read_text())
    violations = page.evaluate(
      'async (rules) => (await axe.run(document, {runOnly: rules})).violations'
      '.map((x) => `${x.id}: ${x.nodes[0].html}`)',
      _RULES,
    )
    assert violations == []


def test_search_and_reload(page):
  check(page)
  assert page.locator('.item').count() == 12
  page.fill('#q', 'A dog runs. A man sits.')
  page.press('#q', 'Enter')
  page.wait_for_selector('.gain')
  assert page.inner_text('#title') == 'A dog runs · A man sits'
  order = page.locator('.card').evaluate_all('x => x.map((y) => y.title)')
  check(page)
  page.reload()
  page.wait_for_selector('.gain')
  assert page.input_value('#q') == 'A dog runs. A man sits.'
  again = page.locator('.card').evaluate_all('x => x.map((y) => y.title)')
  assert again == order
  page.fill('#q', 'a zyzzyva')
  page.press('#q', 'Enter')
  page.wait_for_selector('#note:not([hidden])')
  assert 'zyzzyva' in page.inner_text('#note')


def test_a_photo_its_words_and_sentences(page):
  page.locator('.card').nth(3).focus()
  page.keyboard.press('Enter')
  page.wait_for_selector('#near .card')
  check(page)
  words = page.locator('#captions .word').all_inner_texts()
  page.locator('#captions .word').nth(1).click()
  page.wait_for_selector('#others button')
  check(page)
  other = page.locator('#others li').nth(2).locator('span').first.inner_text()
  page.locator('#others button').nth(2).click()
  page.wait_for_selector('.word.given')
  written = page.locator('#captions .word').all_inner_texts()
  assert written[:2] == [words[0], other]
  page.fill('#sentences', 'A dog runs.\nA zyzzyva sleeps.')
  page.click('#rank')
  page.wait_for_selector('#ranked small')
  page.click('#draw')
  page.wait_for_selector('#drawn li')
  assert page.locator('#drawn li').count() == 5
  page.reload()  # The same photo is open.
  page.wait_for_selector('#photo[open] .word')
  page.keyboard.press('Escape')
  page.wait_for_selector('#photo:not([open])', state='attached')
  assert 'photo=' not in page.url


def test_a_photo_that_is_dropped(page, photos):
  page.evaluate(
    """async () => {
      const file = await (await fetch('/v1/pictures?photo=00.png')).blob();
      const data = new DataTransfer();
      data.items.add(new File([file], 'mine.jpg', {type: 'image/jpeg'}));
      for (const type of ['dragenter', 'drop']) {
        document.dispatchEvent(new DragEvent(type, {
          dataTransfer: data, bubbles: true, cancelable: true}));
      }
    }"""
  )
  page.wait_for_selector('#near .card')
  assert page.inner_text('#photo-title') == 'mine.jpg'
  assert page.locator('#near .card').first.get_attribute('title') == '00.png'
  # What is no photo is told, and nothing breaks.
  page.keyboard.press('Escape')
  page.wait_for_selector('#photo:not([open])', state='attached')


def test_new_photos_appear(page, photos):
  path = photos / f'new{page.viewport_size["width"]}.png'
  draw(path, 77, (90, 90))
  try:
    page.reload()
    page.wait_for_selector(f'.card[title="{path.name}"]')
  finally:
    path.unlink()
