// Builds requests with swagger-client, for `run.py`: one task a line in, one answer a line out.
//
// A task is {file, operations: [{path, method, base, parameters, body, kind, files}]}; an answer is a list: for each
// operation the requests that the client builds, one for each alternative of its security, or {error}.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import SwaggerClient from 'swagger-client';

const SECRET = 's3cret';

function authorized(schemes) {
  return Object.fromEntries(Object.entries(schemes ?? {}).map(([name, scheme]) => {
    if (scheme?.type === 'oauth2' || scheme?.type === 'openIdConnect') return [name, { token: { access_token: SECRET } }];
    if (scheme?.type === 'basic' || String(scheme?.scheme).toLowerCase() === 'basic') {
      return [name, { username: '', password: SECRET }];
    }
    if (scheme?.type === 'apiKey') return [name, { value: SECRET }];
    return [name, SECRET];
  }));
}

async function partsOf(form) {
  const parts = [];
  for (const [name, value] of form.entries()) {
    const isText = typeof value === 'string';
    const bytes = isText ? Buffer.from(value) : Buffer.from(await value.arrayBuffer());
    parts.push([name, bytes.toString('base64')]);
  }
  return parts;
}

function bodyOf(asked) {
  if (asked.body === undefined) return undefined;
  if (!asked.files?.length) return asked.body;
  const blob = (text) => new File([Buffer.from(text, 'base64')], 'file', { type: 'application/octet-stream' });
  return Object.fromEntries(Object.entries(asked.body).map(([name, value]) => [
    name, asked.files.includes(name) ? (Array.isArray(value) ? value.map(blob) : blob(value)) : value,
  ]));
}

// What a path's own reference leads to, which the client leaves alone where one operation is resolved.
function withItem(spec, path) {
  const reference = spec.paths[path].$ref;
  if (!reference?.startsWith('#/')) return spec;
  const tokens = decodeURIComponent(reference.slice(2)).split('/').map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
  return { ...spec, paths: { ...spec.paths, [path]: tokens.reduce((found, token) => found?.[token], spec) } };
}

function referencesIn(value, found = []) {
  if (Array.isArray(value)) value.forEach((each) => referencesIn(each, found));
  else if (value && typeof value === 'object') {
    for (const [name, each] of Object.entries(value)) {
      if (name === '$ref' && typeof each === 'string' && each.startsWith('#/')) found.push(each);
      else referencesIn(each, found);
    }
  }
  return found;
}

// The client looks at all there is for each operation: leave it one, without answers and examples, and what that refers to.
function pruned(spec, path, method) {
  const { paths, components, definitions, parameters, responses, ...rest } = spec;
  const shared = { paths, components, definitions, parameters, responses };
  const { get, put, post, delete: remove, options, head, patch, trace, [method]: operation, ...item } = paths[path];
  const { responses: answers, callbacks, ...asked } = operation;
  if (asked.requestBody?.content) {
    const kinds = Object.entries(asked.requestBody.content);
    const content = Object.fromEntries(kinds.map(([kind, { examples, example, ...media }]) => [kind, media]));
    asked.requestBody = { ...asked.requestBody, content };
  }
  const kept = { ...rest, paths: { [path]: { ...item, [method]: { ...asked, responses: {} } } } };
  if (components) kept.components = { ...(components.securitySchemes && { securitySchemes: components.securitySchemes }) };
  const waiting = referencesIn(kept);
  for (const seen = new Set(); waiting.length;) {
    const tokens = decodeURIComponent(waiting.pop().slice(2)).split('/').map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
    const names = tokens.slice(0, tokens[0] === 'components' ? 3 : 2);
    const id = JSON.stringify(names);
    const value = names.reduce((found, name) => found?.[name], shared);
    if (seen.has(id) || value === undefined) continue;
    seen.add(id);
    names.slice(0, -1).reduce((inside, name) => (inside[name] = { ...inside[name] }), kept)[names.at(-1)] = value;
    waiting.push(...referencesIn(value));
  }
  return kept;
}

async function built(document, base, asked) {
  const spec = pruned(withItem(document, asked.path), asked.path, asked.method);
  const { spec: operation, errors } = await SwaggerClient.resolveSubtree(spec, ['paths', asked.path, asked.method]);
  if (errors.length) return { error: `resolve: ${errors[0].message}` };
  const shared = (await SwaggerClient.resolveSubtree(spec, ['paths', asked.path, 'parameters'])).spec ?? [];
  const own = operation.parameters ?? [];
  const isOwn = ({ in: place, name }) => own.some((each) => each.in === place && each.name === name);
  operation.parameters = [...own, ...shared.filter((each) => !isOwn(each))];
  const schemes = {};
  for (const name of Object.keys(spec.components?.securitySchemes ?? spec.securityDefinitions ?? {})) {
    const below = spec.components ? ['components', 'securitySchemes', name] : ['securityDefinitions', name];
    schemes[name] = (await SwaggerClient.resolveSubtree(spec, below)).spec;
  }
  const security = operation.security ?? spec.security ?? [];
  // What the import says in a remark: a fragment is never sent, and a server without a scheme is taken over https.
  const [, path, slashes = '', fixed = ''] = asked.path.split('#')[0].match(/^(.*?)(\/{2,})?(\?.*)?$/s);
  const server = ({ url, ...more }) => ({ ...more, url: url?.startsWith('//') ? `https:${url}` : url });
  const servers = spec.swagger ? undefined : operation.servers ?? spec.paths[asked.path].servers ?? spec.servers;
  // What the specification says and the client does not do: some headers are no parameters (section 4.8.12.2 of 3.1),
  // a list in a form or in parts repeats its name (section 4.8.15.1.1), a parameter with `content` is written so, a text
  // too (section 4.8.12.2.2), and an empty text is a value. It fills in no path that has a query or ends in `//`. What the import says in a remark: a key that
  // is listed as a parameter too is the credential alone, and reserved characters are encoded all the same.
  const ignored = /^(accept|authorization|content-type|user-agent|host|content-length|accept-encoding|connection)$/i;
  const asks = (operation.security ?? spec.security ?? []).flatMap((alternative) => Object.keys(alternative));
  const keys = asks.map((name) => schemes[name]).filter((scheme) => scheme?.type === 'apiKey');
  const isKey = (place, name) => keys.some((key) => key.in === place && key.name.toLowerCase() === name.toLowerCase());
  operation.parameters = operation.parameters
    ?.filter(({ in: place, name }) => (place !== 'header' || !ignored.test(name)) && !isKey(place, name))
    .map((parameter) => ({ ...parameter, allowReserved: undefined, allowEmptyValue: true }));
  const content = operation.requestBody?.content ?? {};
  if (asked.kind && !content[asked.kind]) {
    content[asked.kind] = Object.entries(content).find(([kind]) => kind.includes('*') || kind.trim() === asked.kind)?.[1];
  }
  for (const media of /^(application\/x-www-form-urlencoded|multipart)/.test(asked.kind ?? '') ? Object.values(content) : []) {
    for (const [name, schema] of Object.entries(media?.schema?.properties ?? {})) {
      const said = media.encoding?.[name] ?? {};
      const isPlain = said.style === undefined && said.explode === undefined && said.contentType === undefined;
      if (schema?.type === 'array' && isPlain) media.encoding = { ...media.encoding, [name]: { style: 'form', explode: true } };
    }
  }
  const found = [];
  for (const alternative of security.length ? security : [{}]) {
    const one = { ...operation, security: [alternative], operationId: 'asked', __originalOperationId: 'asked' };
    const whole = { ...spec, security: undefined, paths: { [path]: { [asked.method]: one } } };
    if (whole.components) whole.components = { ...whole.components, securitySchemes: schemes };
    if (spec.swagger) whole.securityDefinitions = schemes;
    const parameters = { ...asked.parameters };
    for (const { in: place, name, content: written } of one.parameters ?? []) {
      const value = parameters[`${place}.${name}`];
      if (written && typeof value === 'string') parameters[`${place}.${name}`] = JSON.stringify(value);
    }
    if (spec.swagger) {
      for (const { in: place, name } of one.parameters ?? []) {
        if (place === 'body') parameters[`body.${name}`] = asked.body;
        if (place === 'formData') parameters[`formData.${name}`] = bodyOf(asked)?.[name];
      }
    }
    delete one.servers;
    if (base) whole.servers = [{ url: base }];
    else if (servers) whole.servers = servers.map(server);
    const request = SwaggerClient.buildRequest({
      spec: whole,
      operationId: 'asked',
      parameters,
      requestBody: bodyOf(asked),
      requestContentType: asked.kind,
      securities: { authorized: authorized(schemes) },
    });
    const { method, headers, body } = request;
    const [target, query] = request.url.split(/\?(.*)/s);
    const url = [target + slashes, [fixed.slice(1), query].filter(Boolean).join('&')].filter(Boolean).join('?');
    const isForm = body instanceof FormData;
    found.push({ url, method, headers, ...(isForm ? { parts: await partsOf(body) } : { body }) });
  }
  return found;
}

for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  const answers = [];
  let spec;
  try {
    spec = JSON.parse(readFileSync(task.file, 'utf8'));
  } catch (error) {
    console.log(JSON.stringify(task.operations.map(() => ({ error: String(error) }))));
    continue;
  }
  for (const asked of task.operations) {
    try {
      answers.push(await built(spec, asked.base, asked));
    } catch (error) {
      answers.push({ error: String(error?.message ?? error) });
    }
  }
  console.log(JSON.stringify(answers));
}
