// The inspector: lists a backend's functions, runs them, mints client secrets and shows the latest calls.
// Everything that comes from the backend is put into the page as text, never as HTML.
import { EXECUTE, LIST, SECRET, CALLS, request, askForToken, base, post } from './inspector-backend.js';
import { watchApprovals } from './inspector-approvals.js';
import { poll, startPolling } from './inspector-calls.js';
import { Invalid, make, makeMembers, milliseconds, named, showInvalid } from './inspector-fields.js';
import { indented, membersOf } from './inspector-json.js';
import { SNIPPETS } from './inspector-snippets.js';

const byId = (id) => document.getElementById(id);
let functions = [];
const forms = new Map(); // inputs are kept while the page is open

byId('token-button').addEventListener('click', async () => {
  if (await askForToken(false)) await load();
});

const showState = (text, isError = false) => {
  const state = byId('state');
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle('bad', isError);
};

// ---------------------------------------------------------------- the list

const load = async () => {
  byId('where').textContent = base.host + base.pathname.replace(/\/$/, '');
  if (LIST === undefined) {
    byId('functions-part').hidden = true;
    showState('Functions are not served');
    showSecret();
    await request(CALLS).catch(() => showState('The backend does not respond', true));
    return;
  }
  let answer;
  try {
    answer = await request(LIST);
  } catch {
    showState('The backend does not respond', true);
    return;
  }
  if (!answer.ok) {
    showState(answer.status === 401 ? 'Access token required' : `Listing failed: HTTP ${answer.status}`, true);
    return;
  }
  const { items, warnings } = JSON.parse(answer.text);
  functions = items;
  showState(functions.length === 1 ? '1 function' : `${functions.length} functions`);
  showWarnings(warnings);
  showList();
  showChosen();
  await watchApprovals(functions);
};

const showWarnings = (warnings) => {
  const part = byId('warnings');
  part.hidden = warnings.length === 0;
  part.querySelector('summary').textContent = warnings.length === 1 ? '1 warning' : `${warnings.length} warnings`;
  part.querySelector('ul').replaceChildren(...warnings.map((each) => make('li', {}, each)));
};

const chosenName = () => {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';
  }
};

const showList = () => {
  const wanted = byId('search').value.trim().toLowerCase();
  const found = functions.filter(({ name, description }) => `${name} ${description ?? ''}`.toLowerCase().includes(wanted));
  byId('functions').replaceChildren(
    ...found.map(({ name, description }) => {
      const button = make('button', { type: 'button' }, make('span', { className: 'name' }, ...named(name)), make('span', { className: 'faint' }, description ?? ''));
      button.dataset.name = name;
      button.addEventListener('click', () => choose(name));
      return make('li', {}, button);
    }),
  );
  const nothing = byId('nothing');
  nothing.hidden = found.length > 0;
  nothing.textContent = functions.length ? 'No function matches.' : 'This backend has no functions.';
  markChosen();
};

const markChosen = () => {
  const name = chosenName();
  for (const button of document.querySelectorAll('.choices button')) {
    const isChosen = button.id === 'secret-button' ? name === '' || name === '/secret' : button.dataset.name === name;
    if (isChosen && !(button.id === 'secret-button' && name === '' && functions.length)) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
  }
};

const choose = (name) => {
  if (chosenName() === name) showChosen(true);
  else location.hash = encodeURIComponent(name);
};

addEventListener('hashchange', () => {
  if (location.hash !== '#work') showChosen(true);
});
byId('search').addEventListener('input', showList);
byId('secret-button').addEventListener('click', () => choose('/secret'));
document.querySelector('nav').addEventListener('keydown', (event) => {
  if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
  const stops = [...event.currentTarget.querySelectorAll('#search, .choices button')];
  const next = stops[stops.indexOf(document.activeElement) + (event.key === 'ArrowDown' ? 1 : -1)];
  if (next) {
    event.preventDefault();
    next.focus();
  }
});

const showChosen = (isMove = false) => {
  const name = chosenName();
  const found = functions.find((each) => each.name === name) ?? (name === '' ? functions[0] : undefined);
  if (found && name === '') history.replaceState(null, '', `#${encodeURIComponent(found.name)}`);
  if (found) showFunction(found);
  else if (name === '' || name === '/secret') showSecret();
  else byId('work').replaceChildren(make('article', {}, ...heading(name, 'This backend has no such function.')));
  markChosen();
  if (!isMove) return;
  const title = byId('work').querySelector('h2');
  title.focus({ preventScroll: true });
  if (title.getBoundingClientRect().top > innerHeight * 0.6 || title.getBoundingClientRect().top < 0) title.scrollIntoView({ block: 'start' });
};

// ---------------------------------------------------------------- forms and outcomes

const show = (key, build) => {
  if (!forms.has(key)) forms.set(key, build());
  byId('work').replaceChildren(forms.get(key));
};

const heading = (title, description, source) => [
  make('h2', { tabIndex: -1 }, ...named(title)),
  description ? make('p', { className: 'lead' }, ...named(description)) : undefined,
  source ? make('p', { className: 'faint code' }, ...named(source)) : undefined,
];

const makeOutcome = () => {
  const said = make('p', { className: 'said', role: 'status' });
  const body = make('div');
  const element = make('section', { className: 'outcome', 'aria-label': 'Outcome' }, said, body);
  return {
    element,
    show(kind, title, ...more) {
      element.dataset.kind = kind;
      said.replaceChildren(make('span', { className: 'badge' }, title), ...more.map((each) => make('span', { className: 'faint' }, each)));
      body.replaceChildren();
    },
    add(...children) {
      body.append(...children);
      element.scrollIntoView({ block: 'nearest' });
    },
  };
};

const codeBlock = (text, label) => {
  const pre = make('pre', { tabIndex: 0, role: 'region', 'aria-label': label }, text);
  const copy = make('button', { type: 'button', className: 'small plain copy' }, 'Copy');
  copy.addEventListener('click', async () => {
    await copied(text, copy);
  });
  return make('div', { className: 'block' }, pre, copy);
};

const copied = async (text, button) => {
  const label = (button.dataset.label ??= button.textContent);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed';
  }
  byId('announced').textContent = button.textContent;
  setTimeout(() => {
    button.textContent = label;
    byId('announced').textContent = '';
  }, 1500);
};

const size = (text) => {
  const bytes = new TextEncoder().encode(text).length;
  return bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} KiB`;
};

// Runs `work` for a form: one at a time, with the elapsed time and a button to cancel it.
const run = async (outcome, button, work) => {
  if (button.dataset.busy) return undefined;
  const label = button.textContent;
  const controller = new AbortController();
  const cancel = make('button', { type: 'button', className: 'plain' }, 'Stop waiting');
  cancel.addEventListener('click', () => controller.abort());
  const began = performance.now();
  button.dataset.busy = 'true';
  button.setAttribute('aria-disabled', 'true');
  button.after(cancel);
  const ticking = setInterval(() => {
    button.textContent = `${label} ${((performance.now() - began) / 1000).toFixed(1)} s`;
  }, 100);
  outcome.show('busy', 'Waiting');
  try {
    const answer = await work(controller.signal, (message) => outcome.show('busy', 'Waiting', message));
    return { ...answer, time: performance.now() - began };
  } catch {
    outcome.show('bad', controller.signal.aborted ? 'Cancelled' : 'No response', milliseconds(performance.now() - began));
    outcome.add(make('p', {}, controller.signal.aborted ? 'The backend may go on with the call.' : 'The backend could not be reached, or closed the connection.'));
    return undefined;
  } finally {
    clearInterval(ticking);
    if (document.activeElement === cancel) button.focus();
    cancel.remove();
    button.textContent = label;
    button.removeAttribute('aria-disabled');
    delete button.dataset.busy;
    poll();
  }
};

const whole = (text) => make('details', {}, make('summary', {}, 'Full response'), codeBlock(indented(text), 'Full response'));

const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const showRefusal = (outcome, { status, text, time }, name) => {
  const said = parsed(text);
  outcome.show('bad', `HTTP ${status}`, milliseconds(time));
  const asked = status === 404 && name ? `${name}: ` : '';
  if (typeof said?.error === 'string') outcome.add(make('p', { className: 'message' }, asked + said.error));
  if (text) outcome.add(whole(text));
};

const onSubmit = (form, work) => {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      showInvalid(error);
    }
  });
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
};

// ---------------------------------------------------------------- functions

const showFunction = (item) => show(`function ${JSON.stringify(item)}`, () => buildFunction(item));

const buildFunction = ({ name, description, source, parameters }) => {
  const members = makeMembers(parameters ?? { additionalProperties: true });
  const nothing = make('p', { className: 'faint' }, 'It takes no arguments.');
  const raw = makeMembers({ properties: { payload: { description: 'What is sent as the payload, as JSON.' } }, required: ['payload'] });
  const area = raw.element.querySelector('textarea');
  const outcome = makeOutcome();
  const button = make('button', { type: 'submit', className: 'main' }, 'Run');
  const toggle = make('button', { type: 'button', className: 'plain' }, 'Edit as JSON');
  const fields = make('div', {}, members.count ? members.element : nothing);
  let isRaw = false;
  let drafted; // what the form made of the payload: what was edited is kept until the form makes something else
  const read = () => (isRaw ? membersOf(raw.read()).get('payload') : members.read());
  const copies = makeCopies(name, read);
  const form = make('form', { noValidate: true, autocomplete: 'off' }, fields, make('div', { className: 'actions' }, button, toggle, copies.buttons), copies.copy);
  form.addEventListener('input', () => copies.copy.replaceChildren());
  toggle.addEventListener('click', () => {
    isRaw = !isRaw;
    const draft = indented(members.draft());
    if (isRaw && draft !== drafted) {
      area.value = drafted = draft;
      area.rows = Math.min(draft.split('\n').length + 1, 20);
      area.setSelectionRange(0, 0);
    }
    toggle.textContent = isRaw ? 'Back to the form' : 'Edit as JSON';
    fields.replaceChildren(isRaw ? raw.element : members.count ? members.element : nothing);
    if (isRaw) area.focus();
  });
  onSubmit(form, async () => {
    const payload = read();
    const answer = await run(outcome, button, (signal, onProgress) => post(EXECUTE, `{"function_name":${JSON.stringify(name)},"payload":${payload}}`, signal, onProgress));
    if (answer) showExecution(outcome, answer, name);
  });
  return make('article', {}, ...heading(name, description, source), form, outcome.element);
};

// Buttons that copy the call as code, and show what they copied.
const makeCopies = (name, read) => {
  const copy = make('div');
  const buttons = make('div', { className: 'copies', role: 'group', 'aria-label': 'Copy as' }, make('span', { className: 'faint', 'aria-hidden': 'true' }, 'Copy as'));
  for (const [kind, write] of Object.entries(SNIPPETS)) {
    const button = make('button', { type: 'button', className: 'small plain' }, kind);
    button.addEventListener('click', () => {
      try {
        const text = write(name, read());
        copy.replaceChildren(make('pre', { tabIndex: 0, role: 'region', 'aria-label': `The call as ${kind}` }, text));
        copied(text, button);
      } catch (error) {
        if (!(error instanceof Invalid)) throw error;
        showInvalid(error);
      }
    });
    buttons.append(button);
  }
  return { buttons, copy };
};

const showExecution = (outcome, answer, name) => {
  const said = answer.ok ? parsed(answer.text) : undefined;
  if (said === undefined || said === null) {
    showRefusal(outcome, answer, name);
  } else if (said.pending_approval === true) {
    outcome.show('busy', 'Waits for approval', milliseconds(answer.time));
    outcome.add(make('p', { className: 'message' }, String(said.message)), whole(answer.text));
  } else if (said.ok !== true) {
    outcome.show('bad', 'Failed', milliseconds(answer.time));
    outcome.add(make('p', { className: 'message' }, String(said.details ?? said.error ?? 'Backend function failed.')), whole(answer.text));
  } else {
    const result = membersOf(answer.text).get('result') ?? 'null';
    outcome.show('good', 'Done', milliseconds(answer.time), size(result));
    outcome.add(codeBlock(indented(result), 'Result'), whole(answer.text));
  }
};

// ---------------------------------------------------------------- client secrets

const SECRET_FIELDS = {
  model: 'The realtime model.',
  voice: 'Its voice.',
  instructions: 'The instructions of the session.',
  language: 'The language of every reply.',
  voiceAccent: 'The accent to speak with.',
  voiceTone: 'The tone of voice.',
};

const showSecret = () => show('secret', buildSecret);

const buildSecret = () => {
  const properties = Object.fromEntries(Object.entries(SECRET_FIELDS).map(([name, description]) => [name, { type: 'string', description }]));
  const members = makeMembers({ properties });
  members.element.classList.add('paired');
  const outcome = makeOutcome();
  const button = make('button', { type: 'submit', className: 'main' }, 'Mint');
  const form = make('form', { noValidate: true, autocomplete: 'off' }, members.element, make('div', { className: 'actions' }, button));
  onSubmit(form, async () => {
    const body = members.read();
    const answer = await run(outcome, button, (signal) => post(SECRET, body, signal));
    if (!answer) return;
    const said = answer.ok ? parsed(answer.text) : undefined;
    if (typeof said?.value === 'string') showMinted(outcome, said, answer.time);
    else showRefusal(outcome, answer);
  });
  return make('article', {}, ...heading('Client secret', 'Mint a secret that opens one realtime session. The backend chooses fields that are left empty.'), form, outcome.element);
};

const showMinted = (outcome, { value, expires_at: expires, speech }, time) => {
  const masked = `${value.slice(0, 3)}${'•'.repeat(24)}`;
  const shown = make('code', { className: 'secret' }, masked);
  const reveal = make('button', { type: 'button', className: 'small plain', 'aria-pressed': 'false' }, 'Reveal');
  const copy = make('button', { type: 'button', className: 'small plain' }, 'Copy');
  reveal.addEventListener('click', () => {
    const isShown = reveal.getAttribute('aria-pressed') !== 'true';
    reveal.setAttribute('aria-pressed', String(isShown));
    reveal.textContent = isShown ? 'Hide' : 'Reveal';
    shown.textContent = isShown ? value : masked;
  });
  copy.addEventListener('click', () => copied(value, copy));
  outcome.show('good', 'Minted', milliseconds(time));
  const facts = make('dl', {}, make('dt', {}, 'Value'), make('dd', {}, shown, reveal, copy));
  if (typeof expires === 'number') facts.append(make('dt', {}, 'Expires'), make('dd', {}, new Date(expires * 1000).toLocaleString()));
  if (typeof speech?.provider === 'string') facts.append(make('dt', {}, 'Speech'), make('dd', {}, speech.provider));
  outcome.add(facts);
};

await load();
startPolling(() => showState('The backend does not respond', true), load);
