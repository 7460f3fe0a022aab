"""Pieces of pages: escaping, round numbers, and HTML that holds together."""

import html.parser
import json
import re

import pytest

from mrnn_jax.reports import axes, charts, page_parts

HOSTILE = '</script><img src=x onerror="alert(1)">\'&\u2028'
VOID = {'meta', 'img', 'br', 'input', 'link', 'hr'}


class Checker(html.parser.HTMLParser):
  """Collects tags and text; fails where tags do not close each other."""

  def __init__(self, page):
    super().__init__()
    self.open, self.tags, self.text = [], [], []
    self.feed(page)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)

  def all(self, tag):
    return [attrs for name, attrs in self.tags if name == tag]


def line(**changes):
  points = [(0, 300.0), (5, 40.0), (10, 18.5)]
  return charts.Series(**{'name': 'training', 'points': points, **changes})


@pytest.mark.parametrize(
  'part',
  [
    page_parts.section(HOSTILE, '', HOSTILE),
    page_parts.note(HOSTILE, HOSTILE),
    page_parts.paragraph(HOSTILE),
    page_parts.facts({HOSTILE: HOSTILE}),
    page_parts.table([HOSTILE, 'b'], [[HOSTILE, HOSTILE]], HOSTILE),
    charts.line_chart([line(name=HOSTILE)], HOSTILE, HOSTILE, HOSTILE),
    charts.line_chart([line(name=HOSTILE, dots=True)], 'a', 'b', 'c'),
    charts.histogram([0, 1, 2], [3, 4], HOSTILE, HOSTILE, HOSTILE),
    page_parts.document(HOSTILE, ''),
  ],
)
def test_text_stays_text(part):
  page = Checker(part)
  assert not page.all('img')
  assert not any('onerror' in attrs for _, attrs in page.tags)
  shown = ''.join(page.text) + ''.join(
    str(value) for _, attrs in page.tags for value in attrs.values()
  )
  assert HOSTILE in shown


def test_data_come_back_and_end_no_script():
  value = {'a': [HOSTILE, 1.5, None], 'ü': '<!--'}
  part = page_parts.data_script('data', value)
  assert part.count('<') == 2
  text = part.removesuffix('</script>').partition('>')[2]
  assert json.loads(text) == value


def test_a_page_asks_for_nothing():
  page = page_parts.document('A page', '<p>x</p>', 'let a = 1;')
  assert not re.search(r'https?:|@import|url\(', page.partition('<body>')[0])
  policy = Checker(page).all('meta')[1]['content']
  assert "default-src 'none'" in policy
  assert "'unsafe-inline'" not in policy
  assert 'let a = 1;' in page


def test_a_table_shows_none_as_empty_and_zero_as_zero():
  page = Checker(page_parts.table(['', 'x'], [['PPL', None], ['B', 0]]))
  assert len(page.all('td')) == 2
  assert '0' in page.text
  assert 'None' not in page.text


@pytest.mark.parametrize(
  ('low', 'high', 'expected'),
  [
    (0, 10, [0, 2, 4, 6, 8, 10]),
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0.07, 0.31, [0.1, 0.15, 0.2, 0.25, 0.3]),
    (0, 4321, [0, 1000, 2000, 3000, 4000]),
  ],
)
def test_ticks_are_round(low, high, expected):
  assert axes._ticks(low, high, 6) == expected


@pytest.mark.parametrize(
  ('low', 'high', 'expected'),
  [
    (0.02, 100, [0.1, 1, 10, 100]),
    (18, 300, [20, 50, 100, 200]),
    (18.1, 18.3, [18.1, 18.3]),
  ],
)
def test_ticks_of_logarithmic_axes_are_round(low, high, expected):
  assert axes._log_ticks(low, high) == expected


def test_a_chart_keeps_its_points_in_the_frame_and_their_order():
  chart = Checker(
    charts.line_chart([line()], 'Perplexity', 'epoch', 'PPL', log_y=True)
  )
  (points,) = [x['points'] for x in chart.all('polyline')]
  places = [tuple(map(float, point.split(','))) for point in points.split()]
  xs, ys = zip(*places, strict=True)
  assert list(xs) == sorted(xs)
  assert list(ys) == sorted(ys)  # Perplexity falls, y grows downwards.
  assert min(xs) >= 0 and max(xs) <= charts._WIDTH
  assert min(ys) >= 0 and max(ys) <= charts._HEIGHT


def test_what_cannot_be_drawn_is_left_out():
  odd = [(0, 5.0), (1, float('nan')), (2, 0.0), (3, 7.0)]
  chart = Checker(
    charts.line_chart([line(points=odd)], 't', 'x', 'y', log_y=True)
  )
  assert len(chart.all('polyline')[0]['points'].split()) == 2
  assert charts.line_chart([line(points=[])], 't', 'x', 'y') == ''
  assert charts.histogram([], [], 't', 'x') == ''


@pytest.mark.parametrize('points', [[(1, 1)], [(1, 2), (1, 2)], [(0, 0)]])
def test_a_chart_of_one_place_is_drawn(points):
  chart = Checker(charts.line_chart([line(points=points)], 't', 'x', 'y'))
  assert 'nan' not in str(chart.tags)


def test_bars_are_as_high_as_their_counts():
  chart = Checker(
    charts.histogram([0.5, 1.5, 2.5, 3.5], [10, 0, 5], 'Words', 'words')
  )
  heights = [float(x['height']) for x in chart.all('rect')]
  assert heights[1] == 0
  assert heights[0] == pytest.approx(2 * heights[2], abs=0.11)
  assert '1: 10' in chart.text
