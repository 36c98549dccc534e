// Requests to the backend: the paths of its routes, and the access token, which is kept in memory only.

export const { secret: SECRET, list: LIST, execute: EXECUTE } = document.documentElement.dataset;
export const CALLS = '/navai/inspector/calls';
export const APPROVALS = '/navai/approvals';

// The page is at {base}navai/, wherever the backend is mounted.
export const base = new URL('../', document.baseURI);
const urlOf = (path) => new URL(path.replace(/^\/+/, ''), base);
const byId = (id) => document.getElementById(id);

let token = '';
let authorized = false;

// Whether the backend has responded to this page other than by asking for another access token.
export const isAuthorized = () => authorized;

export const fetchText = async (path, options = {}) => {
  const headers = { accept: 'application/json', ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(urlOf(path), { ...options, headers, credentials: 'same-origin', redirect: 'error' });
  const text = await response.text();
  // A 401 can also come from OpenAI, about the backend's key: only that of the backend names a scheme.
  const isRefused = response.status === 401 && response.headers.has('www-authenticate');
  authorized = !isRefused && response.status !== 403;
  return { status: response.status, ok: response.ok, etag: response.headers.get('etag'), text, isRefused };
};

// Sends a request, and if the backend requires a token, asks the user for it first.
export const request = async (path, options) => {
  for (;;) {
    const asked = token;
    const answer = await fetchText(path, options);
    if (!answer.isRefused || (token === asked && !(await askForToken(asked !== '')))) return answer;
  }
};

export const post = (path, body, signal) =>
  request(path, { method: 'POST', body, signal, headers: { 'content-type': 'application/json' } });

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
