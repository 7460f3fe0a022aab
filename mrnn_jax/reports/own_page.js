'use strict';
// The page of one's own photos: search, order, cards that are made as they come
// near the window, photos that open large.  All text goes in as text.
(() => {
  const STEP = 40; // Cards made at a time.
  const root = document.getElementById('own');
  const { images, sentences, thumbnails, links } = JSON.parse(
    document.getElementById('own-data').textContent);

  const source = (i) => thumbnails
    ? (thumbnails[i] ? 'data:image/jpeg;base64,' + thumbnails[i] : '')
    : (links ? links[i] : '');
  const best = (image) => (image.captions || [])[0];
  const sure = (image) => best(image) && best(image).confidence;

  images.forEach((image, index) => {
    image.index = index;
    const texts = (image.captions || []).map((x) => x.text)
      .concat((image.found || []).map(([text]) => text));
    image.name = plain(image.id);
    image.words = spaced(texts.join(' '));
  });
  sentences.forEach((sentence) => { sentence.words = spaced(sentence.text); });

  const ORDERS = [
    ['data', 'as given', (x) => x.index],
    ['sure', 'surest first', (x) => -sure(x)],
    ['unsure', 'least sure first', sure],
  ].filter(([name]) => name === 'data' || images.some((x) => sure(x) !== undefined));
  const strange = images.filter((x) => x.unfamiliar).length;

  const search = make('input', {
    type: 'search', id: 'search', placeholder: 'words or name',
    autocomplete: 'off', spellcheck: 'false',
  });
  const order = make('select', { id: 'order' }, ORDERS.map(([name, label]) =>
    make('option', { value: name }, label)));
  const only = make('input', { type: 'checkbox', id: 'only' });
  const status = make('output', { 'aria-live': 'polite', id: 'status' });
  const grid = make('div', { class: 'photos' });
  const end = make('div', { id: 'end', 'aria-hidden': 'true' });
  const lists = make('div', { class: 'sentences' });
  root.append(
    make('form', { class: 'bar', role: 'search', onsubmit: (e) => e.preventDefault() },
      make('label', { class: 'wide' }, make('span', {}, 'Search'), search),
      ORDERS.length < 2 ? null
        : make('label', {}, make('span', {}, 'Order'), order),
      strange ? make('label', { class: 'check' }, only,
        `unfamiliar alone (${strange})`) : null,
      status),
    grid, end,
    sentences.length ? make('section', {}, make('h2', {}, 'Photos for each sentence'),
      lists) : '');

  let chosen = [];
  let made = 0;
  let tokens = [];

  function matches(name, text) {
    return tokens.every((token) => name.includes(token) ||
      text.includes(spaced(token).trimEnd()));
  }

  function choose() {
    tokens = plain(search.value).split(/\s+/).filter((token) => token);
    const value = ORDERS.find(([name]) => name === order.value)[2];
    chosen = images.filter((x) =>
      matches(x.name, x.words) && (!only.checked || x.unfamiliar));
    chosen.sort((a, b) => value(a) - value(b) || a.index - b.index);
    status.textContent = chosen.length === images.length
      ? `${images.length.toLocaleString('en-US')} photos`
      : `${chosen.length.toLocaleString('en-US')} of ` +
        `${images.length.toLocaleString('en-US')} photos`;
    made = 0;
    grid.replaceChildren();
    more();
    if (!chosen.length) {
      grid.append(make('p', { class: 'soft' }, 'No photo has all of this.'));
    }
    lists.replaceChildren(...sentences
      .filter((x) => matches('', x.words)).map(list));
  }

  function more() {
    const last = Math.min(made + STEP, chosen.length);
    for (; made < last; made++) grid.append(card(chosen[made]));
  }

  function marked(text) {
    const found = tokens.map((x) => x.replace(/[^a-z0-9]+/g, '')).filter((x) => x);
    if (!found.length) return [text];
    return text.split(new RegExp(`\\b(${found.join('|')})`, 'gi'))
      .map((part, i) => i % 2 ? make('mark', {}, part) : part);
  }

  function photo(i, alt) {
    const url = source(i);
    if (!url) return null;
    return make('button', { type: 'button', class: 'photo', title: 'enlarge',
      onclick: (event) => enlarge(i, event.currentTarget) },
      make('img', { src: url, alt, loading: 'lazy', decoding: 'async' }));
  }

  function chance(value) {
    if (value === undefined) return null;
    const kind = value >= 0.6 ? 'high' : value >= 0.3 ? 'middle' : 'low';
    return make('span', { class: `chance ${kind}`,
      title: 'chance that the caption is good' }, `${Math.round(100 * value)}%`);
  }

  function card(image) {
    const others = (image.captions || []).slice(1);
    const first = best(image);
    return make('article', { class: 'card' },
      photo(image.index, `photo ${image.id}`),
      make('div', { class: 'said' },
        image.unfamiliar ? make('p', { class: 'warning' }, 'unfamiliar photo') : null,
        first ? make('p', { class: 'caption' }, marked(first.text),
          first.cut ? ' …' : null, ' ', chance(first.confidence)) : null,
        others.length ? make('ul', { class: 'others' }, others.map((x) =>
          make('li', {}, marked(x.text), x.cut ? ' …' : null, ' ',
            chance(x.confidence)))) : null,
        image.found ? make('ol', { class: 'found' }, image.found.map(([text, score]) =>
          make('li', {}, make('span', {}, marked(text)),
            make('span', { class: 'score' }, score.toFixed(1))))) : null,
        make('p', { class: 'name' }, make('span', {}, image.id),
          first ? make('span', { class: 'numbers' },
            `log P ${first.logProb.toFixed(1)} · ` +
            `PPL ${first.perplexity.toFixed(1)}`) : null)));
  }

  function list(sentence) {
    return make('article', { class: 'sentence' },
      make('h3', {}, marked(sentence.text)),
      make('ol', { class: 'strip' }, sentence.found.map(([i, score]) =>
        make('li', {}, photo(i, images[i].id),
          make('span', { class: 'name' }, `${images[i].id} ${score.toFixed(1)}`)))));
  }

  // A photo, large; the focus goes back to where it was.
  const large = make('img', { alt: '' });
  const text = make('p', {});
  const dialog = make('dialog', { 'aria-label': 'photo', onclick: () => dialog.close() },
    large, text, make('button', { type: 'button' }, 'Close'));
  document.body.append(dialog);
  let from = null;
  dialog.addEventListener('close', () => from && from.focus());

  function enlarge(i, button) {
    from = button;
    large.src = source(i);
    large.alt = images[i].id;
    text.textContent = best(images[i]) ? best(images[i]).text : images[i].id;
    dialog.showModal();
  }

  let waiting = 0;
  search.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(choose, 80);
  });
  order.addEventListener('change', choose);
  only.addEventListener('change', choose);
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && event.target !== search && !dialog.open) {
      event.preventDefault();
      search.focus();
    }
    if (event.key === 'Escape' && event.target === search) {
      search.value = '';
      choose();
    }
  });
  new IntersectionObserver((entries) => {
    if (entries.some((x) => x.isIntersecting)) more();
  }, { rootMargin: '1500px' }).observe(end);
  choose();
})();
