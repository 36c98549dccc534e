// The published Express backend, served as in its documentation: express_backend.mjs BASE FOLDER UPSTREAM
// prints its URL. It always asks api.openai.com for client secrets, so fetch is redirected to UPSTREAM.
import { createRequire } from 'node:module';

const [base, folder, upstream] = process.argv.slice(2);
const realFetch = globalThis.fetch;
globalThis.fetch = (target, init) => realFetch(String(target).replace('https://api.openai.com', upstream), init);

const require = createRequire(new URL('../tests/interop/package.json', import.meta.url));
const { registerNavaiExpressRoutes } = require('@navai/voice-backend');
const express = require('express');

const app = express();
app.use(express.json());
registerNavaiExpressRoutes(app, {
  functionsBaseDir: base,
  functionsFolders: folder,
  env: {},
  backendOptions: { openaiApiKey: 'sk-of-the-backend' },
});
const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
