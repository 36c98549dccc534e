// The published JavaScript web client, one of the clients to compare: controlled as runner.py is.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../tests/interop/package.json', import.meta.url));
const { createNavaiBackendClient } = require('@navai/voice-frontend');

const input = { functionName: 'f', payload: { location: 'Bogotá' } };

const times = async (count, work) => Promise.all(Array.from({ length: count }, work));

for await (const line of createInterface({ input: process.stdin })) {
  const { url, at_once: atOnce, seconds } = JSON.parse(line);
  const client = createNavaiBackendClient({ apiBaseUrl: url });
  const workers = atOnce || 1; // it has no synchronous calls; one at a time is closest
  await times(workers, () => client.executeFunction(input)); // opens the connections
  let calls = 0;
  let result;
  const cpu = process.cpuUsage();
  const began = performance.now();
  const end = began + seconds * 1000;
  await times(workers, async () => {
    do {
      result = await client.executeFunction(input);
      calls += 1;
    } while (performance.now() < end);
  });
  const took = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  const bytes = JSON.stringify(result).length;
  console.log(JSON.stringify({ calls, seconds: took, cpu: (used.user + used.system) / 1e6, bytes }));
}
