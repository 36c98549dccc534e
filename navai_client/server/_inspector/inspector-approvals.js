// The calls that wait for a person's approval, with buttons that decide them.
import { APPROVALS, fetchText, post, request } from './inspector-backend.js';
import { make, named } from './inspector-fields.js';
import { elementsOf, indented, membersOf } from './inspector-json.js';

const byId = (id) => document.getElementById(id);

let isWatching = false;
const rows = new Map();

// Watches what waits, if a function needs approval. Asks for a token if that needs one.
export const watchApprovals = async (functions) => {
  isWatching = functions.some(({ metadata }) => metadata?.requires_approval);
  if (isWatching) show(await request(APPROVALS));
};

export const pollApprovals = async () => {
  if (isWatching) show(await fetchText(APPROVALS));
};

const show = ({ status, ok, text }) => {
  if (status === 401 || status === 403) isWatching = false; // until there is another token
  byId('approvals-part').hidden = !isWatching;
  if (!ok) return;
  const items = elementsOf(membersOf(text).get('items')).map((each) => ({ ...JSON.parse(each), payload: membersOf(each).get('payload') }));
  byId('no-approvals').hidden = items.length > 0;
  const waiting = new Set(items.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (!waiting.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  for (const item of items.filter(({ id }) => !rows.has(id))) {
    rows.set(item.id, makeRow(item));
    byId('approvals').append(rows.get(item.id));
  }
};

const makeRow = ({ id, function_name: name, payload, caller, requested_at: at }) => {
  const time = new Date(at * 1000);
  const reason = make('input', { type: 'text', maxLength: 500, placeholder: 'Reason, if you reject it', 'aria-label': 'Reason', autocomplete: 'off' });
  const error = make('p', { className: 'error', role: 'alert', hidden: true });
  const decide = (decision) => async () => {
    const answer = await post(`${APPROVALS}/${id}`, JSON.stringify({ decision, reason: reason.value }));
    error.hidden = answer.ok;
    error.textContent = answer.ok ? '' : JSON.parse(answer.text).error;
    await pollApprovals();
  };
  const approve = make('button', { type: 'button', className: 'small main' }, 'Approve');
  const reject = make('button', { type: 'button', className: 'small plain' }, 'Reject');
  approve.addEventListener('click', decide('approve'));
  reject.addEventListener('click', decide('reject'));
  return make(
    'li', {},
    make('p', {}, make('span', { className: 'name' }, ...named(name)), ' ', make('time', { className: 'faint', dateTime: time.toISOString() }, time.toLocaleTimeString())),
    make('p', { className: 'faint' }, caller === null ? 'Asked by an unknown caller' : `Asked by ${caller}`),
    make('pre', { tabIndex: 0, role: 'group', 'aria-label': `Payload of ${name}` }, indented(payload)),
    reason,
    make('div', { className: 'actions' }, approve, reject),
    error,
  );
};
