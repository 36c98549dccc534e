// Forms from JSON Schemas. A field has an `element` and `read()`, which gives the JSON text of its value, or
// undefined if it is left out, or throws Invalid with the control that is wrong; and `draft()`, which gives what is
// there to begin with as JSON: what was typed, right or wrong, else what the schema says.
// Names and texts of schemas come from elsewhere: they become text nodes and never HTML.

let count = 0;
const newId = () => `f${(count += 1)}`;

// An element with properties, attributes (names with a dash) and children.
export const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes('-') || name === 'for' || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
};

// A name of which a line may end after a mark or within camel case, but nowhere else.
export const named = (name) => (name.match(/.+?(?:[_./#-]+|[a-z\d](?=[A-Z])|$)/gs) ?? []).flatMap((part, index) => (index ? [make('wbr'), part] : [part]));

// A duration for people.
export const milliseconds = (number) => (number < 10 ? `${number.toFixed(1)} ms` : number < 10000 ? `${Math.round(number)} ms` : `${(number / 1000).toFixed(1)} s`);

export class Invalid extends Error {
  constructor(message, control) {
    super(message);
    this.control = control;
  }
}

const LONG = /(?:^|_)(?:text|message|body|content|instructions|description|notes?|prompt|summary)$/i;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const isRecord = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// The schema without "or null", which is how optional values are written.
const withoutNull = (schema) => {
  if (!isRecord(schema)) return { schema: {}, nullable: true };
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) {
    const rest = choices.filter((each) => each?.type !== 'null');
    if (rest.length === 1 && rest.length < choices.length) {
      const { anyOf, oneOf, ...around } = schema;
      return { schema: { ...rest[0], ...around }, nullable: true };
    }
  }
  if (Array.isArray(schema.type)) {
    const rest = schema.type.filter((each) => each !== 'null');
    if (rest.length === 1) return { schema: { ...schema, type: rest[0] }, nullable: rest.length < schema.type.length };
  }
  return { schema, nullable: false };
};

const kindOf = (schema) => {
  if (Array.isArray(schema.enum) || 'const' in schema) return 'choice';
  if (schema.type === 'object') return isRecord(schema.properties) && Object.keys(schema.properties).length ? 'object' : 'json';
  if (schema.type === 'array') return isRecord(schema.items) && !schema.prefixItems ? 'array' : 'json';
  return ['string', 'integer', 'number', 'boolean'].includes(schema.type) ? schema.type : 'json';
};

const rangeOf = ({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) => {
  const low = minimum ?? (exclusiveMinimum === undefined ? undefined : `more than ${exclusiveMinimum}`);
  const high = maximum ?? (exclusiveMaximum === undefined ? undefined : `less than ${exclusiveMaximum}`);
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  if (low !== undefined) return typeof low === 'number' ? `at least ${low}` : low;
  return typeof high === 'number' ? `at most ${high}` : high;
};

const typeOf = (schema, kind) => {
  if (kind === 'choice') return 'one of';
  if (kind === 'array') return 'list';
  if (kind === 'json') return schema.type === undefined ? 'any JSON' : `${schema.type}, as JSON`;
  return [schema.format ?? kind, rangeOf(schema)].filter(Boolean).join(', ');
};

const shown = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

// The error of a number, or undefined.
const wrongNumber = (text, schema, kind) => {
  if (!(kind === 'integer' ? INTEGER : NUMBER).test(text)) return kind === 'integer' ? 'Must be a whole number.' : 'Must be a number.';
  const value = Number(text);
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = schema;
  const fits = value >= minimum && value <= maximum && (value > exclusiveMinimum || exclusiveMinimum === -Infinity) && (value < exclusiveMaximum || exclusiveMaximum === Infinity);
  return fits ? undefined : `Must be ${rangeOf(schema)}.`;
};

const LEAST = { string: '""', boolean: 'false', object: '{}', array: '[]' };
const FORMATS = { date: '"2026-01-31"', 'date-time': '"2026-01-31T12:00:00Z"', time: '"12:00:00Z"', uuid: '"00000000-0000-0000-0000-000000000000"' };

// The JSON text of a value that a schema takes: its default, its example, or the least.
const exampleOf = (schema, kind) => {
  const given = 'default' in schema ? schema.default : schema.examples?.[0];
  if (given !== undefined) return JSON.stringify(given);
  if (kind === 'choice') return JSON.stringify('const' in schema ? schema.const : schema.enum[0]);
  if (kind !== 'integer' && kind !== 'number') return FORMATS[schema.format] ?? LEAST[schema.type] ?? 'null';
  const { minimum, exclusiveMinimum, exclusiveMaximum, maximum = exclusiveMaximum - 1 } = schema;
  return String(minimum ?? (exclusiveMinimum === undefined ? Math.min(0, maximum || 0) : Math.min(exclusiveMinimum + 1, maximum || Infinity)));
};

// Controls: each returns the element to label, and a function that reads its value.
const controls = {
  string(schema, { name, required }) {
    const long = LONG.test(name) || schema.maxLength > 200;
    const control = make(long ? 'textarea' : 'input', { spellcheck: long, autocomplete: 'off' });
    if (!long && schema.format === 'date') control.type = 'date';
    if (schema.format === 'date-time') control.placeholder = '2026-01-31T12:00:00Z';
    return { control, read: () => (control.value === '' && !required ? undefined : JSON.stringify(control.value)) };
  },
  integer: (schema, options) => numeric(schema, options, 'integer'),
  number: (schema, options) => numeric(schema, options, 'number'),
  boolean(schema, { required }) {
    const choices = { ...schema, enum: [true, false] };
    return controls.choice(choices, { required });
  },
  choice(schema, { required }) {
    const values = 'const' in schema ? [schema.const] : schema.enum;
    const first = 'default' in schema ? `Default (${shown(schema.default)})` : 'Not given';
    const control = make('select', {}, make('option', { value: '' }, required ? 'Choose…' : first));
    values.forEach((value, index) => control.append(make('option', { value: String(index) }, shown(value))));
    const read = () => {
      if (control.value !== '') return JSON.stringify(values[Number(control.value)]);
      if (required) throw new Invalid('Choose a value.', control);
      return undefined;
    };
    return { control, read };
  },
  json(schema, { required }) {
    const control = make('textarea', { spellcheck: false, autocomplete: 'off', className: 'code', placeholder: schema.type === 'object' ? '{ }' : 'JSON' });
    const read = () => {
      const text = control.value.trim();
      if (text === '' && !required) return undefined;
      try {
        JSON.parse(text);
      } catch (error) {
        throw new Invalid(text === '' ? 'A value is needed.' : `This is not JSON: ${error.message}`, control);
      }
      return text;
    };
    return { control, read };
  },
};

const numeric = (schema, { required }, kind) => {
  const control = make('input', { inputMode: kind === 'integer' ? 'numeric' : 'decimal', autocomplete: 'off', spellcheck: false });
  const read = () => {
    const text = control.value.trim();
    if (text === '' && !required) return undefined;
    const wrong = text === '' ? 'A value is needed.' : wrongNumber(text, schema, kind);
    if (wrong) throw new Invalid(wrong, control);
    return text;
  };
  return { control, read };
};

// A field for one value.
export const makeField = (given, { name, label = name, required }) => {
  const { schema, nullable } = withoutNull(given);
  const kind = kindOf(schema);
  const options = { name, label, required: required && !nullable };
  const field = kind === 'object' || kind === 'array' ? group(schema, options, kind) : single(schema, options, kind);
  const { read, draft } = field;
  field.read = () => read() ?? (required ? 'null' : undefined); // required and nullable: left empty it is null
  field.draft = () => draft() ?? (required ? 'null' : undefined);
  return field;
};

const headed = (schema, { label, required }, kind) => [
  make('span', { className: 'name' }, ...named(label)),
  make('span', { className: 'type' }, required ? typeOf(schema, kind) : `${typeOf(schema, kind)}, optional`),
];

const single = (schema, options, kind) => {
  const id = newId();
  const { control, read } = controls[kind](schema, options);
  control.id = id;
  control.setAttribute('aria-required', String(options.required));
  if ('default' in schema && control.placeholder !== undefined && schema.default !== null) control.placeholder = `default ${shown(schema.default)}`;
  const hint = schema.description ? make('p', { className: 'hint', id: `${id}-hint` }, schema.description) : undefined;
  const error = make('p', { className: 'error', id: `${id}-error`, hidden: true });
  control.setAttribute('aria-describedby', hint ? `${id}-hint ${id}-error` : `${id}-error`);
  for (const event of ['input', 'change']) control.addEventListener(event, () => hideInvalid(control));
  const draft = () => {
    if (control.value === '') return options.required || 'default' in schema || schema.examples ? exampleOf(schema, kind) : undefined;
    try {
      return read();
    } catch {
      return JSON.stringify(control.value);
    }
  };
  return { element: make('div', { className: 'field' }, make('label', { for: id }, ...headed(schema, options, kind)), hint, control, error), read, draft };
};

// Lists, and objects, which are lists of one member each. An optional one is absent until it is added.
const group = (schema, options, kind) => {
  const body = make('div', { className: 'rows' });
  const fieldset = make('fieldset', {}, make('legend', {}, ...headed(schema, options, kind)));
  if (schema.description) fieldset.append(make('p', { className: 'hint' }, schema.description));
  fieldset.append(body);
  if (kind === 'object' && options.required) {
    const members = makeMembers(schema);
    body.append(members.element);
    return { ...members, element: fieldset };
  }
  const rows = [];
  const add = make('button', { type: 'button', className: 'small', 'aria-label': `Add to ${options.label}` }, kind === 'array' ? 'Add' : 'Give it');
  const addRow = () => {
    const inner = kind === 'array' ? makeField(schema.items, { name: options.name, label: `${options.label} ${rows.length + 1}`, required: true }) : makeMembers(schema);
    const remove = make('button', { type: 'button', className: 'small plain', 'aria-label': `Remove from ${options.label}` }, 'Remove');
    const row = { element: make('div', { className: 'row' }, inner.element, remove), read: inner.read, draft: inner.draft };
    remove.addEventListener('click', () => {
      rows.splice(rows.indexOf(row), 1);
      row.element.remove();
      add.hidden = false;
      add.focus();
    });
    rows.push(row);
    body.append(row.element);
    add.hidden = kind === 'object' || rows.length >= (schema.maxItems ?? Infinity);
    return row;
  };
  add.addEventListener('click', () => addRow().element.querySelector('input, select, textarea, button').focus());
  fieldset.append(add);
  if (kind === 'array') for (let i = 0; i < Math.min(schema.minItems ?? (options.required ? 1 : 0), 20); i += 1) addRow();
  const read = () => {
    const texts = rows.map((row) => row.read());
    if (kind === 'object') return texts[0];
    if (texts.length < (schema.minItems ?? 0)) throw new Invalid(`At least ${schema.minItems} are needed.`, add);
    return texts.length === 0 && !options.required ? undefined : `[${texts.join(',')}]`;
  };
  const draft = () => {
    if (rows.length === 0 && !options.required) return 'default' in schema ? JSON.stringify(schema.default) : undefined;
    return kind === 'object' ? rows[0].draft() : `[${rows.map((row) => row.draft()).join(',')}]`;
  };
  return { element: fieldset, read, draft };
};

// The members of an object, and functions that read and draft them all as one JSON text.
export const makeMembers = (schema) => {
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const entries = Object.entries(isRecord(schema.properties) ? schema.properties : {});
  const fields = entries.map(([name, each]) => [name, makeField(each, { name, required: required.has(name) })]);
  const open = schema.additionalProperties;
  const more = open === true || isRecord(open)
    ? makeField({ type: 'object', description: 'Further arguments by name, as a JSON object.' }, { name: 'more', label: 'more', required: false })
    : undefined;
  const join = (textOf) => {
    const texts = [];
    for (const [name, field] of fields) {
      const text = textOf(field);
      if (text !== undefined) texts.push(`${JSON.stringify(name)}:${text}`);
    }
    return texts;
  };
  const draft = () => {
    const rest = more?.draft();
    return `{${[...join((field) => field.draft()), ...(rest?.startsWith('{') ? [rest.slice(1, -1).trim()] : [])].filter(Boolean).join(',')}}`;
  };
  const read = () => {
    const texts = join((field) => field.read());
    const rest = more?.read();
    if (rest !== undefined && !isRecord(JSON.parse(rest))) throw new Invalid('This is not a JSON object.', more.element.querySelector('textarea'));
    const inner = rest?.slice(1, -1).trim();
    if (inner) texts.push(inner);
    return `{${texts.join(',')}}`;
  };
  return { element: make('div', { className: 'members' }, ...fields.map(([, field]) => field.element), more?.element), read, draft, count: fields.length + (more ? 1 : 0) };
};

const hideInvalid = (control) => {
  control.removeAttribute('aria-invalid');
  const error = document.getElementById(`${control.id}-error`);
  if (error) error.hidden = true;
};

// Show an error at its control, and focus it.
export const showInvalid = ({ message, control }) => {
  for (const other of control.form.querySelectorAll('[aria-invalid]')) hideInvalid(other);
  control.setAttribute('aria-invalid', 'true');
  const error = document.getElementById(`${control.id}-error`);
  if (error) {
    error.textContent = message;
    error.hidden = false;
  }
  control.focus();
};
