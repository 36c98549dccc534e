// The latest calls that reached the backend, polled while the page is visible.
import { pollApprovals } from './inspector-approvals.js';
import { CALLS, EXECUTE, LIST, SECRET, fetchText, isAuthorized } from './inspector-backend.js';
import { make, milliseconds, named } from './inspector-fields.js';
import { indented } from './inspector-json.js';

const POLL_MS = 1500;
const POLL_FAILED_MS = 5000;
const TITLES = { [SECRET]: 'client secret', [LIST]: 'list of functions', [EXECUTE]: 'execute' };
const byId = (id) => document.getElementById(id);

let known; // the ETag of the calls that are shown
let isPaused = false;
let timer;
const rows = new Map();

let isLost = false;
let onLost = () => {};
let onFound = () => {};

// Starts polling. Calls lost when the backend stops responding, and found when it responds again.
export const startPolling = (lost, found) => {
  onLost = lost;
  onFound = found;
  poll();
};

export const poll = async () => {
  clearTimeout(timer);
  let pause = POLL_MS;
  if (!isPaused && !document.hidden && (isLost || isAuthorized())) {
    try {
      const answer = await fetchText(CALLS);
      if (answer.ok && answer.etag !== known && !isPaused) { // it may have been paused meanwhile
        known = answer.etag;
        showCalls(JSON.parse(answer.text).calls);
      }
      if (answer.ok) await pollApprovals();
      else byId('token-button').hidden = false;
      if (isLost) onFound();
      isLost = false;
    } catch {
      isLost = true;
      onLost();
      pause = POLL_FAILED_MS;
    }
  }
  clearTimeout(timer);
  timer = setTimeout(poll, pause);
};

const showCalls = (calls) => {
  const list = byId('calls');
  byId('no-calls').hidden = calls.length > 0;
  const newest = calls.filter(({ id }) => !rows.has(id));
  for (const call of newest.reverse()) {
    const row = callRow(call);
    rows.set(call.id, row);
    list.prepend(row);
  }
  const kept = new Set(calls.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (!kept.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
};

const callRow = ({ id: number, at, method, path, request_id: id, status, ok, function: name, duration_ms: duration, sent, given }) => {
  const time = new Date(at * 1000);
  const more = make('div', { id: `call-${number}`, hidden: true }, make('p', { className: 'faint code' }, `${method} ${path} · ${id}`));
  const button = make(
    'button', { type: 'button', 'aria-expanded': 'false', 'aria-controls': more.id },
    make('span', { className: ok ? 'dot good' : 'dot bad', 'aria-hidden': 'true' }),
    make('span', { className: 'name' }, ...named(name ?? TITLES[path] ?? `${method} ${path}`)),
    make('span', { className: 'faint' }, `${status}${ok || status >= 400 ? '' : ' failed'}`),
    make('span', { className: 'faint' }, milliseconds(duration)),
    make('time', { className: 'faint', dateTime: time.toISOString() }, time.toLocaleTimeString()),
  );
  if (sent) more.append(make('h3', {}, 'Sent'), make('pre', { tabIndex: 0 }, indented(sent)));
  if (given) more.append(make('h3', {}, 'Received'), make('pre', { tabIndex: 0 }, indented(given)));
  button.addEventListener('click', () => {
    more.hidden = !more.hidden;
    button.setAttribute('aria-expanded', String(!more.hidden));
  });
  return make('li', {}, button, more);
};

byId('pause').addEventListener('click', ({ currentTarget }) => {
  isPaused = !isPaused;
  currentTarget.setAttribute('aria-pressed', String(isPaused));
  currentTarget.textContent = isPaused ? 'Resume' : 'Pause';
  if (!isPaused) poll();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) poll();
});
