// A call as text that runs elsewhere. Tokens are not in it: a variable of the environment is named in their place.
import { EXECUTE, base, hasToken } from './inspector-backend.js';
import { elementsOf, membersOf } from './inspector-json.js';

const USUAL = '/navai/functions/execute'; // the path that clients use unless they are told another
const PLAIN = /^[\w./:@=-]+$/;
const url = base.href.replace(/\/$/, '');

// One word of a POSIX shell: between single quotes, nothing is special (XCU 2.2.2).
const word = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// An expression of Python for a JSON text. The escapes of JSON.stringify are Python's, too.
const python = (text) => {
  if (text[0] === '{') return `{${[...membersOf(text)].map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`).join(', ')}}`;
  if (text[0] === '[') return `[${elementsOf(text).map(python).join(', ')}]`;
  if (text[0] === '"') return JSON.stringify(JSON.parse(text));
  return { true: 'True', false: 'False', null: 'None' }[text] ?? text;
};

const curl = (name, payload) =>
  [
    `curl ${word(url + EXECUTE)}`,
    "-H 'Content-Type: application/json'",
    ...(hasToken() ? ['-H "Authorization: Bearer $NAVAI_ACCESS_TOKEN"'] : []),
    `-d ${word(`{"function_name": ${JSON.stringify(name)}, "payload": ${payload}}`)}`,
  ].join(' \\\n  ');

const program = (name, payload) => {
  const token = hasToken() ? ', access_token=os.environ["NAVAI_ACCESS_TOKEN"]' : '';
  const path = EXECUTE === USUAL ? '' : `, functions_execute_path=${JSON.stringify(EXECUTE)}`;
  return `${token && 'import os\n\n'}from navai_client import NavaiBackendClient

with NavaiBackendClient(${JSON.stringify(url)}${token}${path}) as client:
    print(client.execute_function(${JSON.stringify(name)}, ${python(payload)}))
`;
};

const command = (name, payload) =>
  [
    `navai call --url ${word(url)}`,
    ...(hasToken() ? ['--access-token @env:NAVAI_ACCESS_TOKEN'] : []),
    `--payload ${word(payload)}`,
    name.startsWith('-') ? `-- ${word(name)}` : word(name),
  ].join(' \\\n  ');

// What a call can be copied as, by name.
export const SNIPPETS = { curl, Python: program, ...(EXECUTE === USUAL ? { 'navai call': command } : {}) };
