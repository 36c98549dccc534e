// Requests to the backend: the paths of its routes, and the access token, which is kept in memory only.

import { membersOf } from './inspector-json.js';

export const { secret: SECRET, list: LIST, execute: EXECUTE } = document.documentElement.dataset;
export const CALLS = '/navai/inspector/calls';
export const APPROVALS = '/navai/approvals';

// The page is at {base}navai/, wherever the backend is mounted.
export const base = new URL('../', document.baseURI);
const urlOf = (path) => new URL(path.replace(/^\/+/, ''), base);
const byId = (id) => document.getElementById(id);

let token = '';
let authorized = false;

// Whether requests need the access token that this page has.
export const hasToken = () => token !== '';

// Whether the backend has responded to this page other than by asking for another access token.
export const isAuthorized = () => authorized;

// Reads a stream of events: tells what it says of progress, and returns the response that ends it.
const readEvents = async (body, onProgress) => {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let kept = ''; ; ) {
    const { value, done } = await reader.read();
    if (done) throw new Error('The stream ended before its response.');
    const events = (kept + value).split('\n\n');
    kept = events.pop();
    for (const each of events) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/.exec(each) ?? [];
      if (kind === 'progress') onProgress(JSON.parse(data).message);
      if (kind === 'response') return membersOf(data);
    }
  }
};

export const fetchText = async (path, { onProgress, ...options } = {}) => {
  // The latest calls leave out what says that the page itself asks for it.
  const headers = { accept: 'application/json', 'x-navai-inspector': '1', ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(urlOf(path), { ...options, headers, credentials: 'same-origin', redirect: 'error' });
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream');
  const ended = isStream ? await readEvents(response.body, onProgress) : undefined;
  const status = Number(ended?.get('status') ?? response.status);
  const text = ended?.get('body') ?? (await response.text());
  // A 401 can also come from OpenAI, about the backend's key: only that of the backend names a scheme.
  const isRefused = response.status === 401 && response.headers.has('www-authenticate');
  authorized = !isRefused && response.status !== 403;
  return { status, ok: status >= 200 && status < 300, etag: response.headers.get('etag'), text, isRefused };
};

// Sends a request, and if the backend requires a token, asks the user for it first.
export const request = async (path, options) => {
  for (;;) {
    const asked = token;
    const answer = await fetchText(path, options);
    if (!answer.isRefused || (token === asked && !(await askForToken(asked !== '')))) return answer;
  }
};

export const post = (path, body, signal, onProgress) => {
  const headers = { 'content-type': 'application/json', ...(onProgress && { accept: 'application/json, text/event-stream' }) };
  return request(path, { method: 'POST', body, signal, headers, onProgress });
};

let asking; // one dialog for all requests that wait for a token
export const askForToken = (wrong) => {
  asking ??= new Promise((resolve) => {
    const dialog = byId('token-dialog');
    const field = byId('token');
    byId('token-error').hidden = !wrong;
    field.value = '';
    byId('token-form').onsubmit = (event) => {
      event.preventDefault();
      token = field.value.trim();
      dialog.close('given');
    };
    byId('token-cancel').onclick = () => dialog.close('');
    dialog.onclose = () => {
      asking = undefined;
      byId('token-button').hidden = false;
      resolve(dialog.returnValue === 'given');
    };
    dialog.returnValue = '';
    dialog.showModal();
    field.focus();
  });
  return asking;
};
