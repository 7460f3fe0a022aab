// Pieces of the page that several parts of it use.

import * as api from './api.js';

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== 'list') made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// How much likelier a sentence is for a photo than for any: e to the gain.
export function times(gain) {
  const factor = Math.exp(Math.min(gain, 40));
  if (factor >= 1e6) return `${factor.toExponential(0).replace('e+', '·10^')}×`;
  if (factor >= 10) return `${Math.round(factor).toLocaleString('en')}×`;
  if (factor >= 1) return `${factor.toFixed(1)}×`;
  return `${factor < 0.01 ? '<0.01' : factor.toFixed(2)}×`;
}

export function percent(probability) {
  if (probability >= 0.995) return '>99%';
  if (probability >= 0.1) return `${Math.round(probability * 100)}%`;
  if (probability >= 0.001) return `${(probability * 100).toFixed(1)}%`;
  return '<0.1%';
}

// A photo as a button: its small picture and caption.
export function card(photo, onOpen) {
  const frame = element('span', {className: 'frame'});
  const image = element('img', {
    loading: 'lazy', decoding: 'async', src: api.thumbnail(photo.photo),
    // The caption stands below: told twice it would only be longer.
    alt: '',
  });
  frame.append(image);
  if (photo.gain !== undefined && photo.gain !== null) {
    frame.append(element('span', {
      className: photo.gain > 0 ? 'gain' : 'gain low',
      title: 'So many times as likely as for any photo',
    }, `${times(photo.gain)} chance`));
  }
  const text = photo.caption || 'no caption';
  const button = element(
    'button', {type: 'button', className: 'card', title: photo.photo},
    frame, element('span', {className: 'text'}, text));
  button.addEventListener('click', () => onOpen(photo.photo, button));
  return {button, frame};
}
