// The page: search, photos dropped or pasted, how far the index is.

import * as api from './api.js';
import {Grid} from './grid.js';
import {$, element} from './parts.js';
import {PhotoView} from './photo.js';

const TYPING_MS = 350;
const LOOK_MS = 1500;
const LOOK_SELDOM_MS = 15000;

let state = {
  phase: 'starting', indexed: 0, max_nbest: 5, samples: 5, max_upload_mb: 20};
const grid = new Grid((name, opener) => openPhoto({name}, opener));
const view = new PhotoView(
  () => state, (sentences) => search(sentences, sentences.join('. ')),
  () => remember({photo: null}));

function remember(changes) {
  const values = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value) values.set(key, value);
    else values.delete(key);
  }
  const text = values.toString();
  const url = text ? `/?${text}` : '/';
  if (url !== location.pathname + location.search) {
    history.pushState(null, '', url);
  }
}

function openPhoto(photo, opener) {
  view.open(photo, opener);
  remember({photo: photo.name || null});
}

// Sentences end with . ! ? ; or a line; a number like 1.5 has no such end.
const sentencesOf = (text) => text.split(/[.!?;]+(?:\s+|$)|\n/)
  .map((x) => x.trim()).filter((x) => /[a-z0-9]/i.test(x)).slice(0, 8);

let shownText = null;
function search(sentences, text) {
  if (text !== undefined) $('q').value = text;
  shownText = $('q').value.trim();
  remember({q: shownText});
  grid.show(sentences);
}

let typing;
$('q').addEventListener('input', () => {
  clearTimeout(typing);
  const text = $('q').value.trim();
  if (text && !grid.live) return;
  typing = setTimeout(() => {
    if (text !== shownText) search(sentencesOf(text));
  }, TYPING_MS);
});
$('search').addEventListener('submit', (event) => {
  event.preventDefault();
  clearTimeout(typing);
  search(sentencesOf($('q').value));
});

function take(files, opener) {
  const file = [...files].find((x) => x.type.startsWith('image/')) || files[0];
  if (!file) return;
  if (file.size > state.max_upload_mb * 2 ** 20) {
    grid.problem(`The photo has more than ${state.max_upload_mb} MB.`);
    return;
  }
  openPhoto({file}, opener);
}

for (const [button, input] of [['choose', 'file'], ['take', 'camera']]) {
  $(button).addEventListener('click', () => $(input).click());
  $(input).addEventListener('change', () => {
    take($(input).files, $(button));
    $(input).value = '';
  });
}
document.addEventListener('paste', (event) => {
  const {files} = event.clipboardData;
  if (!files.length) return;
  event.preventDefault();
  take(files, $('choose'));
});

let inside = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
document.addEventListener('dragenter', (event) => {
  if (!hasFiles(event)) return;
  inside += 1;
  if (view.controller && $('photo').open) $('photo').append($('drop'));
  else document.body.append($('drop'));
  $('drop').hidden = false;
});
document.addEventListener('dragleave', (event) => {
  if (!hasFiles(event)) return;
  inside -= 1;
  if (inside <= 0) $('drop').hidden = true;
});
document.addEventListener('dragover', (event) => {
  if (hasFiles(event)) event.preventDefault();
});
document.addEventListener('drop', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  inside = 0;
  $('drop').hidden = true;
  take(event.dataTransfer.files, $('choose'));
});

function left(seconds) {
  if (seconds === null) return '';
  if (seconds < 90) return `, about ${Math.ceil(seconds)} s left`;
  return `, about ${Math.ceil(seconds / 60)} min left`;
}

function showIndex() {
  const section = $('index');
  const {phase, indexed, total, todo} = state;
  const working = phase !== 'ready';
  section.hidden = !working && !state.num_unreadable;
  section.classList.toggle('failed', phase === 'failed');
  section.classList.toggle('quiet', phase === 'ready');
  $('bar').value = total ? (total - todo) / total : 0;
  const count = (n) => n.toLocaleString('en');
  $('index-text').textContent = {
    starting: 'Starting …',
    looking: 'Looking through the folder …',
    indexing: `${count(indexed)} of ${count(total)} photos are indexed` +
      `${left(state.seconds_left)}. What is there can be searched already.`,
    ready: '',
    failed: state.error,
  }[phase];
  const bad = $('unreadable');
  bad.hidden = !state.num_unreadable;
  const files = state.num_unreadable === 1 ? 'file' : 'files';
  bad.querySelector('summary').textContent =
    `${count(state.num_unreadable)} ${files} could not be read`;
  bad.querySelector('ul').replaceChildren(...state.unreadable.map(
    (x) => element('li', {}, `${x.photo}: ${x.reason}`)));
}

async function look() {
  let next = LOOK_MS;
  try {
    const before = state.indexed;
    state = {...state, ...await api.index()};
    showIndex();
    if (state.indexed !== before) await grid.refresh();
    if (state.phase === 'ready') next = LOOK_SELDOM_MS;
  } catch (error) {
    grid.problem(error.message);
  }
  setTimeout(look, document.hidden ? LOOK_SELDOM_MS : next);
}

function begin() {
  const values = new URLSearchParams(location.search);
  const text = values.get('q') || '';
  $('q').value = text;
  shownText = text;
  grid.show(sentencesOf(text));
  const name = values.get('photo');
  if (name) view.open({name}, null);
  else if ($('photo').open) $('photo').close();
}

addEventListener('popstate', begin);
document.addEventListener('keydown', (event) => {
  const typingNow = event.target.matches('input, textarea');
  if (event.key === '/' && !typingNow && !$('photo').open) {
    event.preventDefault();
    $('q').focus();
  }
});
begin();
look();
