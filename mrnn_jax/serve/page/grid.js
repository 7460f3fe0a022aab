// The photos: all of them, or those that were found, more as one scrolls.

import * as api from './api.js';
import {$, card, element} from './parts.js';

const PAGE = 60;
const MOST_FOUND = 480;
// Beyond so many seconds a search waits until it is asked for.
const LIVE_SECONDS = 0.5;

export class Grid {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.sentences = [];
    this.shown = 0;
    this.seconds = 0;
    this.complete = true;
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.more();
    }, {rootMargin: '600px'}).observe($('end'));
  }

  // Whether the last search was quick enough to search while one types.
  get live() { return this.seconds <= LIVE_SECONDS; }

  async show(sentences) {
    this.controller?.abort();
    this.controller = new AbortController();
    this.sentences = sentences;
    this.shown = 0;
    this.complete = true;  // Nothing more until the first ones are there.
    this.problem();
    $('hint').hidden = sentences.length > 0;
    $('title').textContent =
      sentences.length ? sentences.join(' · ') : 'Your photos';
    document.title = sentences.length ?
      `${sentences.join(' ')} – photos` : 'Photos and sentences';
    $('grid').classList.add('waiting');
    $('empty').hidden = true;
    if (!$('grid').children.length) this.ghosts();
    await this.load(true);
  }

  async more() {
    if (!this.complete && !this.loading) await this.load(false);
  }

  // Shows what is there now, without losing the place.
  async refresh() {
    if (!this.sentences.length && !this.loading && this.shown < PAGE) {
      await this.show([]);
    }
  }

  async load(anew) {
    const {signal} = this.controller;
    this.loading = signal;
    try {
      const answer = await this.fetch(signal);
      if (signal.aborted) return;
      if (anew) $('grid').replaceChildren();
      answer.items.forEach((photo) => this.add(photo));
      this.shown += answer.items.length;
      this.complete = answer.complete;
      this.tell(answer);
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (anew) $('grid').replaceChildren();
      this.problem(error.message);
    } finally {
      if (this.loading === signal) {
        this.loading = null;
        $('grid').classList.remove('waiting');
      }
    }
  }

  async fetch(signal) {
    if (!this.sentences.length) {
      const answer = await api.photos(this.shown, PAGE, signal);
      return {
        items: answer.photos, total: answer.total,
        complete: this.shown + answer.photos.length >= answer.total,
      };
    }
    const limit = this.shown + PAGE;
    const answer = await api.search(this.sentences, limit, signal);
    this.seconds = answer.seconds;
    return {
      items: answer.results.slice(this.shown), total: answer.searched,
      seconds: answer.seconds, unknown: answer.unknown,
      complete: answer.results.length < limit || limit >= MOST_FOUND,
    };
  }

  add(photo) {
    const {button, frame} = card(photo, this.onOpen);
    const ratio = Math.min(2.4, Math.max(0.6, photo.width / photo.height));
    const item = element('li', {className: 'item'}, button);
    // Rows of one height, whatever shapes the photos have.
    item.style.setProperty('--ratio', ratio);
    frame.style.aspectRatio = String(ratio);
    $('grid').append(item);
  }

  tell(answer) {
    const count = answer.total.toLocaleString('en');
    const photos = answer.total === 1 ? 'photo' : 'photos';
    $('status').textContent = answer.seconds === undefined ?
      `${count} ${photos}` :
      `the best of ${count} ${photos}, in ${answer.seconds.toFixed(2)} s` +
      (this.live ? '' : '; press Enter to search');
    const none = !this.shown;
    $('empty').hidden = !none;
    if (none) {
      $('empty').querySelector('h2').textContent = 'No photos yet';
      $('empty').querySelector('p').textContent =
        'They appear here as they are indexed; put some into the folder.';
    }
    if (answer.unknown?.length) {
      this.note(`The model does not know ${answer.unknown.map(
        (word) => `“${word}”`).join(', ')}: other words may find more.`);
    }
  }

  ghosts() {
    for (let i = 0; i < 10; i++) {
      $('grid').append(element('li', {
        className: 'ghost', ariaHidden: 'true'}));
    }
  }

  note(text, isError = false) {
    $('note').hidden = !text;
    $('note').textContent = text || '';
    $('note').classList.toggle('error', isError);
  }

  problem(text) {
    this.note(text, Boolean(text));
    if (text) $('status').textContent = '';
  }
}
