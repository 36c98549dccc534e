// Runs the published JavaScript peers for the Python tests: one process, asked by lines of JSON on its standard
// input, {"id", "command", ...}, answered by lines of JSON on its standard output, {"id", "value" or "error"}.
// Values that JSON does not have travel as {"$": "undefined" | "NaN" | "Infinity" | "-Infinity" | "too deep"}.
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

console.log = console.error; // the agent tells its debugging log to the standard output, which is ours

// What the backend asks of its upstreams never leaves this process. It calls the global fetch by its name at each
// call, so it is replaced before anything is imported.
const upstream = { answer: {}, requests: [] };
const realFetch = globalThis.fetch;
globalThis.fetch = async (target, init = {}) => {
  const url = new URL(String(target));
  if (url.hostname === '127.0.0.1') return realFetch(target, init);
  upstream.requests.push({
    url: url.href,
    method: init.method,
    headers: Object.fromEntries(new Headers(init.headers)),
    body: init.body === undefined ? null : JSON.parse(init.body),
  });
  const { status = 200, headers = {}, text = '{}' } = upstream.answer;
  return new Response(text, { status, headers });
};

const { registerNavaiExpressRoutes, getNavaiVoiceBackendOptionsFromEnv } = await import('@navai/voice-backend');
const {
  buildNavaiAgent,
  createNavaiBackendClient,
  getNavaiRoutePromptLines,
  resolveNavaiFrontendRuntimeConfig,
  resolveNavaiRoute,
} = await import('@navai/voice-frontend');
const { default: express } = await import('express');

const plain = (value) => {
  if (value === undefined) return { $: 'undefined' };
  if (typeof value === 'number' && !Number.isFinite(value)) return { $: String(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  const copy = Object.create(null);
  for (const [key, child] of Object.entries(value)) copy[key] = plain(child);
  return copy;
};

const outcomeOf = async (work) => {
  let value;
  try {
    value = await work();
  } catch (error) {
    return { raised: error.message };
  }
  try {
    return { value: plain(value) };
  } catch (error) {
    if (error instanceof RangeError) return { value: { $: 'too deep' } };
    throw error;
  }
};

const servers = new Set();

const commands = {
  // Serve the Express backend; `env` becomes its backendOptions, as its own helper reads them.
  async serve({ options = {}, env = {}, backendOptions }) {
    const app = express();
    app.use(express.json());
    registerNavaiExpressRoutes(app, {
      ...options,
      env,
      backendOptions: backendOptions ?? getNavaiVoiceBackendOptionsFromEnv(env),
    });
    // As documented for it: what a handler passes on is answered as JSON.
    app.use((error, _request, response, _next) => {
      response.status(500).json({ error: error instanceof Error ? error.message : 'Unexpected error' });
    });
    const server = app.listen(0, '127.0.0.1');
    servers.add(server);
    await once(server, 'listening');
    return `http://127.0.0.1:${server.address().port}`;
  },

  // Say what the upstream answers from now on, and forget what it was asked.
  upstream({ answer }) {
    upstream.answer = answer;
    upstream.requests = [];
  },

  asked: () => upstream.requests,

  // Make calls with the JavaScript client, all at once: [{options, method, input}].
  calls: ({ calls }) =>
    Promise.all(
      calls.map(({ options, method, input }) =>
        outcomeOf(() => createNavaiBackendClient(options)[method](...(input === undefined ? [] : [input]))),
      ),
    ),

  // Make raw requests, one after the other: [{url, method, headers, body}].
  async fetch({ url, init }) {
    const response = await realFetch(url, init);
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      text: await response.text(),
    };
  },

  // Build the realtime agent over a backend, and call some of its tools as a Realtime session would.
  async agent({ options, uses }) {
    const client = createNavaiBackendClient(options);
    const { functions, warnings } = await client.listFunctions();
    const built = await buildNavaiAgent({
      navigate() {},
      routes: [],
      backendFunctions: functions,
      executeBackendFunction: client.executeFunction,
    });
    const results = [];
    for (const { tool, input } of uses) {
      const found = built.agent.tools.find((each) => each.name === tool);
      results.push(found ? plain(await found.invoke({}, JSON.stringify(input))) : 'no such tool');
    }
    return {
      instructions: built.agent.instructions,
      tools: built.agent.tools.map((tool) => tool.name),
      warnings: [...warnings, ...built.warnings],
      results,
    };
  },
};

// Functions that exist only here: each returns what it was given, or throws if its name says so.
const loadersOf = (names) => ({
  'tools.ts': async () =>
    Object.fromEntries(names.map((name) => [name, (payload) => (/fail/i.test(name) ? fail(name) : payload ?? null)])),
});
const fail = (name) => {
  throw new Error(`${name} failed`);
};

Object.assign(commands, {
  // Which route is meant, for each of many: [{spoken, routes}].
  routes: ({ asked }) => asked.map(({ spoken, routes }) => resolveNavaiRoute(spoken, routes)),

  routeLines: ({ routes }) => getNavaiRoutePromptLines(routes),

  // Build the realtime agent of given functions, and call its tools.
  async toolset({ listed, local = [], routes = [], agents = [], uses = [] }) {
    const went = [];
    const built = await buildNavaiAgent({
      navigate: (path) => went.push(path),
      routes,
      backendFunctions: listed,
      executeBackendFunction: ({ functionName, payload }) => (/fail/i.test(functionName) ? fail(functionName) : payload),
      ...(agents.length
        ? { agents: agents.map(({ functions, ...agent }) => ({ ...agent, functionModuleLoaders: loadersOf(functions) })) }
        : { functionModuleLoaders: local.length ? loadersOf(local) : {} }),
    });
    const results = [];
    for (const { tool, input } of uses) {
      const found = built.agent.tools.find((each) => each.name === tool);
      results.push(found ? plain(await found.invoke({}, JSON.stringify(input))) : 'no such tool');
    }
    return {
      instructions: built.agent.instructions,
      tools: built.agent.tools.map((tool) => tool.name),
      warnings: built.warnings,
      handoffs: built.agent.handoffs.map(({ name, instructions, handoffDescription, tools }) => ({
        name,
        instructions,
        handoffDescription,
        tools: tools.map((tool) => tool.name),
      })),
      results,
      went,
    };
  },
});

Object.assign(commands, {
  // Resolve a project's folder as the web agent does, with the modules that its bundler would have found.
  async runtime({ root, files, routes, options = {}, listed = [] }) {
    const load = (file) => import(pathToFileURL(`${root}/${file}`).href);
    const resolved = await resolveNavaiFrontendRuntimeConfig({
      moduleLoaders: Object.fromEntries(files.map((file) => [file, () => load(file)])),
      defaultRoutes: files.includes(routes) ? (await load(routes)).NAVAI_ROUTE_ITEMS : [],
      defaultRoutesFile: routes,
      ...options,
    });
    const { agent, warnings } = await buildNavaiAgent({
      ...resolved,
      navigate() {},
      backendFunctions: listed,
      executeBackendFunction() {},
    });
    const described = ({ name, instructions, tools }) => ({ name, instructions, tools: tools.map((tool) => tool.name) });
    return {
      agents: resolved.agents.map(({ functionModuleLoaders, ...each }) => each),
      primaryAgentKey: resolved.primaryAgentKey ?? null,
      model: resolved.modelOverride ?? null,
      routes: resolved.routes,
      warnings: [...resolved.warnings, ...warnings],
      main: described(agent),
      handoffs: agent.handoffs.map((each) => ({ ...described(each), handoffDescription: each.handoffDescription })),
    };
  },
});

const answer = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

answer({ id: 0, value: process.version });
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { id, command, ...input } = JSON.parse(line);
  try {
    answer({ id, value: (await commands[command](input)) ?? null });
  } catch (error) {
    answer({ id, error: error.stack });
  }
}
for (const server of servers) {
  server.closeAllConnections();
  server.close();
}
process.exit(0);
