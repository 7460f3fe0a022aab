'use strict';
// The gallery of a results page: search, sort, filter, and cards that are made
// as they come near the window.  All text goes in as text, never as HTML.
(() => {
  const STEP = 20; // Cards made at a time.
  const FIRST = 5; // Sentences of a list that are shown at once.
  const TOP = 10; // Further down counts as not found.
  const root = document.getElementById('gallery');
  const data = JSON.parse(
    document.getElementById('gallery-data').textContent);
  const { images, sentences, links, thumbnails } = data;

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const number = (value) => value.toLocaleString('en-US');

  // What each image is searched and sorted by.
  images.forEach((image, index) => {
    image.index = index;
    image.own = [];
  });
  sentences.forEach((sentence) => images[sentence.image].own.push(sentence));
  for (const image of images) {
    const texts = (image.captions || []).map((caption) => caption.text);
    image.words = spaced(
      [...texts, ...image.own.map((sentence) => sentence.text)].join(' '));
    image.name = plain(image.id);
    image.photoRanks = image.own.map((s) => s.rank).filter((rank) => rank);
  }

  // What each order measures is large where it is bad; an image without the value comes last.
  const best = (image) => (image.captions || [])[0];
  const ORDERS = [
    ['cider', 'CIDEr-D of caption',
      (x) => x.cider === undefined ? undefined : -x.cider],
    ['rank', 'rank of own sentence', (x) => x.rank],
    ['photo', 'mean rank of photo',
      (x) => x.photoRanks.length ? mean(x.photoRanks) : undefined],
    ['rouge', 'ROUGE-L of caption',
      (x) => x.rouge === undefined ? undefined : -x.rouge],
    ['perplexity', 'perplexity of caption',
      (x) => best(x) && best(x).perplexity],
    ['data', 'order of data', (x) => x.index],
  ].filter(([, , value]) => images.some((x) => value(x) !== undefined));
  const FILTERS = [
    ['all', 'all images', () => true],
    ['rank', `failed: no own sentence in the first ${TOP}`,
      (x) => x.rank > TOP],
    ['photo', `failed: photo in the first ${TOP} of none of its sentences`,
      (x) => x.photoRanks.length && x.photoRanks.every((rank) => rank > TOP)],
    ['cider', 'failed: CIDEr-D of the caption below 0.1',
      (x) => x.cider < 0.1],
    ['cut', 'failed: caption cut at the longest length',
      (x) => best(x) && best(x).cut],
  ].map(([name, label, test]) =>
    ({ name, label, test, count: images.filter(test).length }))
    .filter(({ count }) => count);

  // The bar with the controls.
  const search = make('input', {
    type: 'search', id: 'search', placeholder: 'words or image id',
    autocomplete: 'off', spellcheck: 'false', 'aria-controls': 'cards',
    'aria-keyshortcuts': '/',
  });
  const order = make('select', { id: 'order' }, ORDERS.map(([name, label]) =>
    make('option', { value: name }, label)));
  const ENDS = [['typical', 'Typical'], ['best', 'Best'], ['worst', 'Failures']];
  const ends = ENDS.map(([value, label], i) => ({ label, input: make('input', {
    type: 'radio', name: 'end', value, id: `end-${value}`, checked: i === 0,
  }) }));
  // A switch that is read and written as a select is.
  const end = {
    options: ENDS.map(([value]) => ({ value })),
    get value() { return ends.find(({ input }) => input.checked).input.value; },
    set value(given) {
      for (const { input } of ends) input.checked = input.value === given;
    },
  };
  const filter = make('select', { id: 'filter' }, FILTERS.map((x) =>
    make('option', { value: x.name }, `${x.label} (${number(x.count)})`)));
  const status = make('output', { id: 'status', 'aria-live': 'polite' });
  const cards = make('div', { id: 'cards', role: 'feed', 'aria-label': 'Images' });
  const bottom = make('div', { id: 'bottom', 'aria-hidden': 'true' });
  const keys = [['/', 'search'], ['j', 'next'], ['k', 'previous'],
    ['Enter', 'photos of its sentences'], ['Esc', 'clear the search']];
  const more = make('details', { class: 'more' },
    make('summary', {}, 'by …'),
    make('div', { class: 'field' },
      make('label', { for: 'order' }, 'Judged by'), order),
    make('div', { class: 'field' },
      make('label', { for: 'filter' }, 'Show'), filter));
  root.append(
    make('form', { class: 'bar', role: 'search', onsubmit: submitted },
      make('fieldset', { class: 'switch' },
        make('legend', {}, 'Images to show first'),
        ends.map(({ label, input }) => [
          input, make('label', { for: input.id }, label)])),
      make('div', { class: 'field wide' },
        make('label', { for: 'search' }, 'Search'), search),
      more, status),
    cards, bottom,
    make('p', { class: 'keys' }, keys.map(([key, what]) =>
      make('span', {}, make('kbd', {}, key), ` ${what}`))));

  // What is shown now.
  let chosen = [];
  let made = 0;
  let current = 0;
  let tokens = [];

  function choose() {
    tokens = plain(search.value).split(/\s+/).filter((token) => token);
    const test = (FILTERS.find((x) => x.name === filter.value) || FILTERS[0]).test;
    const value = (ORDERS.find(([name]) => name === order.value) || ORDERS[0])[2];
    chosen = images.filter((image) => test(image) && tokens.every((token) =>
      image.name.includes(token) || image.words.includes(spaced(token).trimEnd())));
    const away = distance(chosen.map(value).filter((x) => x !== undefined));
    chosen.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === undefined || y === undefined) {
        return (x === undefined) - (y === undefined) || a.index - b.index;
      }
      return away(x) - away(y) || a.index - b.index;
    });
    more.querySelector('summary').textContent =
      `by ${order.selectedOptions[0].textContent}`;
    status.textContent = chosen.length === images.length
      ? `${number(images.length)} images`
      : `${number(chosen.length)} of ${number(images.length)} images`;
    cards.replaceChildren();
    made = current = 0;
    makeMore();
    if (!chosen.length) {
      cards.append(make('p', { class: 'soft' }, 'No image has all of this.'));
    }
  }

  /** Return how far a value is from what is to be shown first. */
  function distance(values) {
    if (order.value === 'data' || end.value === 'best') return (x) => x;
    if (end.value === 'worst') return (x) => -x;
    values.sort((a, b) => a - b);
    const median = values[Math.floor(values.length / 2)];
    return (x) => Math.abs(x - median);
  }

  function makeMore() {
    const last = Math.min(made + STEP, chosen.length);
    const fresh = document.createDocumentFragment();
    for (; made < last; made++) fresh.append(card(chosen[made], made));
    cards.append(fresh);
    cards.setAttribute('aria-busy', 'false');
  }

  /** Return a text in which what was searched for is marked. */
  function marked(original) {
    // A full stop set apart, as data sets have it, stays on its line.
    const text = original.replace(/ ([.,;!?])/g, '\u00a0$1');
    const words = tokens.map((x) => x.replace(/[^a-z0-9]+/g, ''))
      .filter((x) => x);
    if (!words.length) return [text];
    const parts = text.split(new RegExp(`\\b(${words.join('|')})`, 'gi'));
    return parts.map((part, i) => i % 2 ? make('mark', {}, part) : part);
  }

  const hasPhotos = Boolean(links);
  const ownText = (i) => images[i].own.length ? images[i].own[0].text : '';

  /** Return the picture of an image, or words that stand in for it. */
  function picture(i, alt, words) {
    const source = thumbnails
      ? thumbnails[i] && 'data:image/jpeg;base64,' + thumbnails[i]
      : links && links[i];
    if (source) {
      return make('img', { src: source, alt, loading: 'lazy', decoding: 'async' });
    }
    return make('span', { class: 'nothing' }, words || ownText(i) || images[i].id);
  }

  function rankBadge(rank, what) {
    if (!rank) return null;
    const kind = rank === 1 ? 'first' : rank <= TOP ? 'near' : 'far';
    return make('span', { class: `badge ${kind}`, title: what },
      `rank ${number(rank)}`);
  }

  function card(image, position) {
    const label = `card-${position}`;
    const photo = !hasPhotos ? null : make('div', { class: 'photo' },
      links[image.index]
        ? make('button', { type: 'button', class: 'plain', title: 'enlarge',
          'aria-haspopup': 'dialog', onclick: () => enlarge(image) },
        picture(image.index, `photo ${image.id}`, 'broken photo'))
        : picture(image.index, '', 'no photo'));
    return make('article', {
      class: 'card' + (hasPhotos ? '' : ' plain'),
      tabindex: position === current ? '0' : '-1',
      'aria-labelledby': label, 'aria-posinset': position + 1,
      'aria-setsize': chosen.length, 'data-position': position,
    },
    photo,
    make('div', { class: 'said' },
      make('h3', { id: label }, make('span', { class: 'id' }, image.id)),
      written(image), references(image)),
    found(image));
  }

  // One photo, as large as the window. A dialog gives the focus back itself.
  const large = make('img', { alt: '' });
  const below = make('p', {});
  const dialog = make('dialog', { 'aria-label': 'Photo', onclick: (event) => {
    if (event.target === dialog) dialog.close();
  } }, make('form', { method: 'dialog' },
    make('button', { class: 'close', 'aria-label': 'close' }, '×')),
  large, below);
  document.body.append(dialog);

  function enlarge(image) {
    const small = thumbnails && thumbnails[image.index];
    // A page that was sent without its photos has the small one alone.
    large.onerror = () => {
      large.onerror = null;
      if (small) large.src = 'data:image/jpeg;base64,' + small;
    };
    large.src = links[image.index];
    large.alt = `photo ${image.id}`;
    below.replaceChildren(best(image) ? best(image).text : image.id, ' ',
      make('a', { href: links[image.index], target: '_blank', rel: 'noopener' },
        'open the photo'));
    dialog.showModal();
  }

  /** Return the captions that the model wrote. */
  function written(image) {
    if (!image.captions) return null;
    return make('div', { class: 'written' }, image.captions.map((caption, i) => [
      make('p', { class: i ? 'also' : 'caption' }, marked(caption.text),
        caption.cut ? make('span', { class: 'badge far' }, 'cut') : null),
      make('p', { class: 'measures' },
        measure('log P', caption.logProb.toFixed(2)),
        measure('PPL', caption.perplexity.toFixed(2)),
        i || image.cider === undefined ? null
          : [measure('CIDEr-D', image.cider.toFixed(2)),
            measure('ROUGE-L', image.rouge.toFixed(2))]),
    ]));
  }

  function measure(name, value) {
    return make('span', {}, `${name} `, make('b', {}, value));
  }

  /** Return what people wrote; a ranked sentence opens the photos found. */
  function references(image) {
    if (!image.own.length) return null;
    return make('div', { class: 'references' }, make('h4', {}, 'People wrote'),
      make('ul', {}, image.own.map((sentence) => {
        if (!sentence.found) return make('li', {}, marked(sentence.text));
        const details = make('details', {},
          make('summary', {}, make('span', {}, marked(sentence.text)), ' ',
            rankBadge(sentence.rank, 'rank of this photo for the sentence')));
        details.addEventListener('toggle', () => {
          if (details.open && details.childElementCount === 1) {
            details.append(strip(sentence));
          }
        });
        return make('li', {}, details);
      })));
  }

  /** Return the photos that a sentence found, best first. */
  function strip(sentence) {
    return make('ol', { class: 'strip', 'aria-label': 'Photos found' },
      sentence.found.map(([i, score]) => {
        const right = i === sentence.image;
        return make('li', {}, make('button', {
          type: 'button', class: right ? 'right' : '',
          title: `${images[i].id}: log P ${score}`,
          'aria-label': `${right ? 'the right photo' : 'another photo'}, ` +
            `${images[i].id}: ${ownText(i)}`,
          onclick: () => showOne(i),
        }, picture(i, ''), right ? make('span', { class: 'tick' }, '✓') : null));
      }));
  }

  /** Return the sentences that an image found, the image's own marked. */
  function found(image) {
    if (!image.found) return null;
    const items = image.found.map(([s, score], i) => {
      const { text, image: owner } = sentences[s];
      const right = owner === image.index;
      const small = hasPhotos ? make('span', { class: 'small' }, picture(owner, ''))
        : null;
      return make('li', { class: right ? 'right' : '', hidden: i >= FIRST },
        make('span', { class: 'sign', role: 'img',
          'aria-label': right ? 'right' : 'of another image' }, right ? '✓' : ''),
        right ? small : make('button', { type: 'button', class: 'plain',
          title: `of ${images[owner].id}: show it`,
          'aria-label': `show the image of this sentence, ${images[owner].id}`,
          onclick: () => showOne(owner) }, small || '↗'),
        make('span', { class: 'text' }, marked(text)),
        make('span', { class: 'score', title: 'score, natural logarithm' },
          score.toFixed(1)));
    });
    const more = items.length > FIRST ? make('button', {
      type: 'button', class: 'more',
      onclick: () => {
        items.forEach((item) => { item.hidden = false; });
        more.remove();
      },
    }, `${items.length - FIRST} more`) : null;
    return make('div', { class: 'found' },
      make('h4', {}, 'Sentences found ',
        rankBadge(image.rank, 'rank of the first sentence of this image')),
      make('ol', {}, items), more);
  }

  function showOne(i) {
    search.value = images[i].id;
    filter.value = 'all';
    changed();
    goTo(0);
  }

  /** Make a card the current one and go there. */
  function goTo(position) {
    if (!chosen.length) return;
    const target = Math.max(0, Math.min(position, chosen.length - 1));
    while (made <= target) makeMore();
    cards.children[current].tabIndex = -1;
    current = target;
    const element = cards.children[target];
    element.tabIndex = 0;
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: 'start' });
  }

  // The address keeps what is shown, so that it can be sent and reloaded.
  const CONTROLS = { q: search, sort: order, order: end, show: filter };

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const [name, control] of Object.entries(CONTROLS)) {
      const value = given.get(name);
      const options = [...(control.options || [])].map((x) => x.value);
      if (value !== null && (!options.length || options.includes(value))) {
        control.value = value;
      }
    }
  }

  function writeAddress() {
    const kept = new URLSearchParams();
    for (const [name, control] of Object.entries(CONTROLS)) {
      const usual = control.options ? control.options[0].value : '';
      if (control.value !== usual) kept.set(name, control.value);
    }
    try {
      history.replaceState(null, '', '#' + kept);
    } catch (error) {
      // Some browsers bar this for files; the page works without.
    }
  }

  function changed() {
    choose();
    writeAddress();
  }

  /** Show all again, and be where the reader was before the search. */
  function cleared() {
    const [before] = chosen.slice(current);
    search.value = '';
    changed();
    goTo(Math.max(0, chosen.indexOf(before)));
  }

  function submitted(event) {
    event.preventDefault();
    goTo(0);
  }

  let waiting = 0;
  search.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(changed, 80);
  });
  for (const control of [order, filter, ...ends.map(({ input }) => input)]) {
    control.addEventListener('change', changed);
  }
  window.addEventListener('hashchange', () => {
    if (/^#(q|sort|order|show)=/.test(location.hash)) {
      readAddress();
      choose();
    }
  });
  cards.addEventListener('focusin', (event) => {
    const element = event.target.closest('.card');
    const position = Number(element.dataset.position);
    if (position === current) return;
    cards.children[current].tabIndex = -1;
    current = position;
    element.tabIndex = 0;
  });

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, target } = event;
    const act = (action) => {
      event.preventDefault();
      action();
    };
    if (target === search) {
      if (key === 'Escape') act(cleared);
      if (key === 'ArrowDown') act(() => goTo(0));
      return;
    }
    if (dialog.open || target.matches('select, input, textarea')) return;
    const onCard = target.classList.contains('card');
    if (key === '/') act(() => { search.focus(); search.select(); });
    else if (key === 'j' || (onCard && key === 'ArrowDown')) {
      const inside = cards.contains(document.activeElement);
      act(() => goTo(inside ? current + 1 : current));
    } else if (key === 'k' || (onCard && key === 'ArrowUp')) {
      act(() => goTo(current - 1));
    } else if (onCard && key === 'Enter') {
      const all = [...target.querySelectorAll('details')];
      const open = !all.every((details) => details.open);
      act(() => all.forEach((details) => { details.open = open; }));
    } else if (key === 'Escape' && search.value) {
      act(cleared);
    }
  });

  const observer = new IntersectionObserver((entries) => {
    if (made === chosen.length || !entries.some((x) => x.isIntersecting)) return;
    makeMore();
    // Anew, so that it tells again where the end is still near the window.
    observer.unobserve(bottom);
    observer.observe(bottom);
  }, { rootMargin: '1500px' });
  observer.observe(bottom);

  readAddress();
  choose();
  if (/^#(q|sort|order|show)=/.test(location.hash)) root.scrollIntoView();
})();
