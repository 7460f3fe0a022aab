// /openapi.json as a page: each route, what it takes, what it gives.

import {$, element} from './parts.js';

const EXAMPLES = {
  'post /v1/captions': 'curl -F photo=@dog.jpg -F nbest=3 ORIGIN/v1/captions',
  'post /v1/rankings': "curl -F photo=@dog.jpg -F sentences='A dog runs.' " +
    "-F sentences='A man sits.' ORIGIN/v1/rankings",
  'post /v1/neighbors': 'curl -F photo=@dog.jpg -F limit=5 ORIGIN/v1/neighbors',
  'get /v1/search': "curl 'ORIGIN/v1/search?q=a+dog+runs&limit=20'",
  'get /v1/photos': "curl 'ORIGIN/v1/photos?offset=0&limit=60'",
  'get /v1/thumbnails': "curl -o small.jpg 'ORIGIN/v1/thumbnails?photo=dog.jpg'",
  'get /v1/pictures': "curl -o large.jpg 'ORIGIN/v1/pictures?photo=dog.jpg'",
  'get /v1/healthz': 'curl ORIGIN/v1/healthz',
  'get /v1/index': 'curl ORIGIN/v1/index',
  'post /v1/index': 'curl -X POST ORIGIN/v1/index',
  'get /v1/metrics': 'curl ORIGIN/v1/metrics',
};

function typeOf(schema, schemas) {
  if (schema.$ref) return schema.$ref.split('/').pop();
  if (schema.anyOf) {
    return schema.anyOf.map((x) => typeOf(x, schemas)).join(' or ');
  }
  if (schema.type === 'array') return `list of ${typeOf(schema.items, schemas)}`;
  return schema.format === 'binary' ? 'file' : schema.type || 'anything';
}

function fields(properties, required, schemas) {
  const list = element('dl');
  for (const [name, schema] of Object.entries(properties)) {
    const told = [typeOf(schema, schemas)];
    if (schema.default !== undefined && schema.default !== null &&
        !(Array.isArray(schema.default) && !schema.default.length)) {
      told.push(`default ${JSON.stringify(schema.default)}`);
    }
    if (required.includes(name)) told.push('required');
    list.append(
      element('dt', {}, element('code', {}, name)),
      element('dd', {}, `${told.join(', ')}. ${schema.description || ''}`));
  }
  return list;
}

function describe(reference, schemas, seen, place) {
  const name = reference.split('/').pop();
  if (seen.has(name)) return;
  seen.add(name);
  const schema = schemas[name];
  place.append(element('h3', {}, `${seen.size > 1 ? name : 'Gives'}`),
    fields(schema.properties || {}, [], schemas));
  const text = JSON.stringify(schema);
  for (const [inner] of text.matchAll(/#\/components\/schemas\/\w+/g)) {
    describe(inner, schemas, seen, place);
  }
}

function route(path, method, told, schemas) {
  const section = element('section', {},
    element('h2', {}, element('span', {className: 'method'},
      method.toUpperCase()), element('code', {}, path)),
    element('p', {}, told.description || told.summary));
  const example = EXAMPLES[`${method} ${path}`];
  if (example) {
    section.append(element('pre', {tabIndex: 0},
      example.replaceAll('ORIGIN', location.origin)));
  }
  if (told.parameters?.length) {
    const properties = Object.fromEntries(told.parameters.map((x) => [
      x.name, {...x.schema, description: x.description}]));
    const required = told.parameters.filter((x) => x.required);
    section.append(element('h3', {}, 'Takes'),
      fields(properties, required.map((x) => x.name), schemas));
  }
  const body = told.requestBody?.content['multipart/form-data']?.schema;
  if (body) {
    section.append(element('h3', {}, 'Takes a form, or JSON with "features" ' +
      'or names of indexed "photos"'),
    fields(body.properties, body.required || [], schemas));
  }
  const answer = Object.entries(told.responses).find(([x]) => x[0] === '2');
  const given = answer?.[1].content?.['application/json']?.schema;
  if (given?.$ref) describe(given.$ref, schemas, new Set(), section);
  return section;
}

try {
  const response = await fetch('/openapi.json');
  if (!response.ok) throw new Error(`status ${response.status}`);
  const api = await response.json();
  const sections = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, told]) =>
      route(path, method, told, api.components.schemas)));
  $('routes').replaceChildren(...sections);
} catch (error) {
  $('routes').replaceChildren(element('p', {className: 'error-text'},
    `The description cannot be loaded (${error.message}).`));
}
