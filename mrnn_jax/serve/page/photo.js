// One photo: its captions, word by word, drawn ones, own sentences, its like.

import * as api from './api.js';
import {$, card, element, percent, times} from './parts.js';

const NBEST = 3;

export class PhotoView {
  constructor(limits, onSearch, onClosed) {
    this.limits = limits;
    this.onSearch = onSearch;
    this.onClosed = onClosed;
    $('close').addEventListener('click', () => $('photo').close());
    $('photo').addEventListener('close', () => this.closed());
    $('photo').addEventListener('click', (event) => {
      if (event.target === $('photo')) $('photo').close();  // The backdrop.
    });
    $('temperature').addEventListener('input', () => {
      $('degrees').textContent = Number($('temperature').value).toFixed(1);
    });
    $('temperature').addEventListener('change', () => {
      if ($('drawn').children.length) this.draw();
    });
    $('draw').addEventListener('click', () => this.draw());
    $('rank').addEventListener('click', () => this.rank());
    $('sentences').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.rank();
    });
    $('alike').addEventListener('click', () => {
      const sentences = this.captions.map((x) => x.caption);
      $('photo').close();
      this.onSearch(sentences);
    });
    $('view').addEventListener('error', () => {
      $('view').hidden = true;
      $('no-view').hidden = !$('view').getAttribute('src');
    });
    $('others').addEventListener('toggle', (event) => {
      if (event.newState === 'closed') {
        this.word?.setAttribute('aria-expanded', 'false');
      }
    });
  }

  // photo: {name} of an indexed one, or {file}.
  async open(photo, opener) {
    this.controller?.abort();
    this.controller = new AbortController();
    this.photo = photo;
    this.opener = opener || this.opener;
    this.captions = [];
    this.drawings = 0;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = photo.file ? URL.createObjectURL(photo.file) : null;
    $('photo-title').textContent = photo.name || photo.file.name || 'Your photo';
    $('no-view').hidden = true;
    $('view').hidden = false;
    $('view').src = this.url || api.picture(photo.name);
    $('view').alt = 'The photo';
    for (const id of ['captions', 'drawn', 'ranked', 'near']) {
      $(id).replaceChildren();
    }
    $('word-help').hidden = true;
    $('alike').disabled = true;
    if (!$('photo').open) $('photo').showModal();
    $('photo').scrollTop = 0;
    if (!await this.write('')) return;
    this.near();
    if ($('sentences').value.trim()) this.rank();
  }

  closed() {
    this.controller?.abort();
    $('others').hidePopover?.();
    $('view').removeAttribute('src');
    this.onClosed();
    if (this.opener?.isConnected) this.opener.focus();
  }

  // Runs work for the photo that is shown; what went wrong is told in a place.
  async attempt(place, busy, work) {
    const {signal} = this.controller;
    if (busy) busy.disabled = true;
    place.setAttribute('aria-busy', 'true');
    try {
      const result = await work(signal);
      return signal.aborted ? undefined : result;
    } catch (error) {
      if (error.name !== 'AbortError' && !signal.aborted) {
        const tag = place.matches('ul, ol') ? 'li' : 'p';
        place.replaceChildren(element(
          tag, {className: 'error-text'}, error.message));
      }
      return undefined;
    } finally {
      if (busy) busy.disabled = false;
      place.setAttribute('aria-busy', 'false');
    }
  }

  async write(prefix) {
    const place = $('captions');
    if (!place.children.length) {
      place.append(element('p', {className: 'help'}, 'Looking at it …'));
    }
    const nbest = Math.min(NBEST, this.limits().max_nbest);
    const written = await this.attempt(place, null, (signal) => api.captions(
      this.photo, {nbest, words: true, prefix}, signal));
    if (!written) return false;
    this.captions = written;
    this.given = prefix ? prefix.split(' ').length : 0;
    this.showCaptions(0);
    $('view').alt = written.length ?
      `The photo: ${written[0].caption}` : 'The photo';
    $('alike').disabled = !written.length;
    return true;
  }

  showCaptions(chosen) {
    const place = $('captions');
    if (!this.captions.length) {
      place.replaceChildren(element('p', {}, 'No sentence keeps to the rules.'));
      return;
    }
    $('word-help').hidden = false;
    const caption = this.captions[chosen];
    const best = element('p', {className: 'best'});
    caption.words.forEach((word, i) => {
      best.append(this.wordButton(caption, word, i), ' ');
    });
    const facts = element('p', {className: 'facts'},
      `log P ${caption.log_prob.toFixed(2)}, perplexity ` +
      `${caption.perplexity.toFixed(2)}${caption.cut ? ', cut' : ''}`);
    place.replaceChildren(best, facts);
    if (this.given) {
      const again = element('button', {
        type: 'button', className: 'plain'}, 'Back to its own words');
      again.addEventListener('click', () => this.write(''));
      facts.append(' ', again);
    }
    const list = element('ul', {className: 'sentences'});
    this.captions.forEach((other, i) => {
      if (i === chosen) return;
      const text = element('button', {
        type: 'button', className: 'text',
        ariaLabel: `Look at: ${other.caption}`}, other.caption);
      text.addEventListener('click', () => this.showCaptions(i));
      list.append(element('li', {}, text, element(
        'span', {className: 'figure'}, other.log_prob.toFixed(2))));
    });
    place.append(list);
  }

  wordButton(caption, word, i) {
    const shown = word.word || 'end';
    const steps = [0.05, 0.2, 0.5, 0.8];
    const level = steps.filter((x) => word.probability >= x).length;
    const button = element('button', {
      type: 'button', title: percent(word.probability),
      className: `word p${level}${i < this.given ? ' given' : ''}` +
        (word.word ? '' : ' last'),
      ariaLabel: `${shown}, ${percent(word.probability)}`,
    }, word.word || '.');
    button.setAttribute('aria-haspopup', 'dialog');
    button.setAttribute('aria-expanded', 'false');
    button.addEventListener('click', () => this.showOthers(caption, i, button));
    return button;
  }

  showOthers(caption, i, button) {
    const popover = $('others');
    const word = caption.words[i];
    const before = caption.words.slice(0, i).map((x) => x.word);
    $('others-title').textContent = before.length ?
      `After “${before.slice(-3).join(' ')}”` : 'As the first word';
    const list = popover.querySelector('ul');
    const others = [...word.others];
    if (!others.some((x) => x.word === word.word)) {
      others.push({word: word.word, probability: word.probability});
    }
    list.replaceChildren(...others.map((other) => {
      const choose = element('button', {type: 'button'},
        element('span', {}, other.word || 'end here'),
        element('span', {className: 'figure'}, percent(other.probability)),
        element('meter', {
          value: other.probability, max: 1, ariaHidden: 'true'}));
      if (other.word === word.word) choose.setAttribute('aria-current', 'true');
      choose.addEventListener('click', () => this.take(before, other.word));
      return element('li', {}, choose);
    }));
    this.word?.setAttribute('aria-expanded', 'false');
    this.word = button;
    // In the dialog, or it would lie under it.
    $('photo').append(popover);
    popover.showPopover();
    const box = button.getBoundingClientRect();
    const {width, height} = popover.getBoundingClientRect();
    const below = box.bottom + 6;
    const top = below + height < innerHeight ? below :
      Math.max(8, box.top - height - 6);
    popover.style.top = `${top}px`;
    popover.style.left =
      `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    button.setAttribute('aria-expanded', 'true');
    (list.querySelector('[aria-current]') || list.querySelector('button')).focus();
  }

  async take(before, word) {
    $('others').hidePopover();
    if (!word) {
      this.endAt(before);
      return;
    }
    await this.write([...before, word].join(' '));
    $('captions').querySelectorAll('.word')[before.length]?.focus();
  }

  // Ending needs nothing written: the sentence is ranked as one of one's own.
  endAt(before) {
    const lines = $('sentences').value.trim();
    const sentence = before.join(' ');
    if (!lines.split('\n').includes(sentence)) {
      $('sentences').value = lines ? `${lines}\n${sentence}` : sentence;
    }
    this.rank();
    $('sentences').scrollIntoView({block: 'center'});
  }

  async draw() {
    this.drawings += 1;
    const drawn = await this.attempt($('drawn'), $('draw'), (signal) =>
      api.captions(this.photo, {
        nbest: this.limits().samples, sample: true, seed: this.drawings,
        temperature: Number($('temperature').value),
      }, signal));
    if (!drawn) return;
    $('drawn').replaceChildren(...drawn.map((x) => element('li', {},
      element('span', {className: 'text'}, x.caption + (x.cut ? ' …' : '')),
      element('span', {className: 'figure'}, x.log_prob.toFixed(2)))));
  }

  async rank() {
    const sentences = [...new Set($('sentences').value.split('\n').map(
      (line) => line.trim()).filter(Boolean))];
    if (!sentences.length) {
      $('ranked').replaceChildren(element(
        'li', {className: 'error-text'}, 'Write a sentence first.'));
      $('sentences').focus();
      return;
    }
    const ranked = await this.attempt($('ranked'), $('rank'), (signal) =>
      api.rankings(this.photo, sentences, signal));
    if (!ranked) return;
    $('ranked').replaceChildren(...ranked.map((x) => {
      const text = element('span', {className: 'text'}, x.sentence);
      if (x.unknown.length) {
        text.append(element('small', {}, `not known: ${x.unknown.join(', ')}`));
      }
      return element('li', {}, text, element('span', {
        className: x.score > 0 ? 'figure good' : 'figure',
        title: 'As likely as for any photo, times',
      }, times(x.score)));
    }));
  }

  async near() {
    const found = await this.attempt($('near'), null, (signal) =>
      api.neighbors(this.photo, 12, signal));
    if (!found) return;
    $('near').replaceChildren(...found.map((photo) => element('li', {},
      card(photo, (name) => this.open({name}, null)).button)));
    if (!found.length) {
      $('near').append(element('li', {}, 'No other photo is indexed yet.'));
    }
    this.onShown?.(this.photo);
  }
}
