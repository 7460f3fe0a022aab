// Calls of the API; a problem becomes an Error whose message is its sentence.

export class Problem extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, 'The service does not answer: is it still running?');
  }
  if (response.ok) return response.json();
  let detail = `The service answered with ${response.status}.`;
  try {
    detail = (await response.json()).detail || detail;
  } catch { /* No sentence came: the number has to do. */ }
  const sentence = detail.charAt(0).toUpperCase() + detail.slice(1);
  throw new Problem(
    response.status, sentence, Number(response.headers.get('Retry-After')));
}

const query = (values) => new URLSearchParams(values).toString();

const post = (path, body, signal) => call(path, {
  method: 'POST', signal, body: JSON.stringify(body),
  headers: {'Content-Type': 'application/json'},
});

export const thumbnail = (name) => `/v1/thumbnails?${query({photo: name})}`;
export const picture = (name) => `/v1/pictures?${query({photo: name})}`;
export const index = () => call('/v1/index');
export const photos = (offset, limit, signal) =>
  call(`/v1/photos?${query({offset, limit})}`, {signal});

export function search(sentences, limit, signal) {
  const values = [...sentences.map((s) => ['q', s]), ['limit', limit]];
  return call(`/v1/search?${query(values)}`, {signal});
}

// A photo is {name} of an indexed one, {file} that is sent, or {feature} that
// came back for a file.
function body(photo, more) {
  if (photo.feature) return {features: [photo.feature], ...more};
  return {photos: [photo.name], ...more};
}

export async function captions(photo, more, signal) {
  let answer;
  if (photo.file && !photo.feature) {
    const form = new FormData();
    form.append('photo', photo.file, photo.file.name || 'photo');
    for (const [key, value] of Object.entries(more)) form.append(key, value);
    form.append('return_features', true);
    answer = await call('/v1/captions', {method: 'POST', body: form, signal});
    photo.feature = answer.captions[0].feature;
  } else {
    answer = await post('/v1/captions', body(photo, more), signal);
  }
  return answer.captions[0].nbest;
}

export async function rankings(photo, sentences, signal) {
  const answer = await post('/v1/rankings', body(photo, {sentences}), signal);
  return answer.rankings[0].sentences;
}

export async function neighbors(photo, limit, signal) {
  return (await post('/v1/neighbors', body(photo, {limit}), signal)).results;
}
