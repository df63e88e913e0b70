/**
 * Behind `make node`: runs a node in the foreground until SIGINT or SIGTERM, and tells its kubeconfig. The node has a
 * network of its own; this process passes connections to its API server on, from a port of 127.0.0.1.
 *
 *     main.ts IMAGE     the name that the operator's image gets there
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { StopSignals } from '../run/stop-signals.ts';
import { forward } from './forward.ts';

const signals = new StopSignals();
const [image = 'baseline-policy-operator:node'] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), 'node-'));
const server = forward({ host: '127.0.0.1', port: 0 }, { path: join(folder, 'api.sock') });
try {
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const [sandbox, run] = ['sandbox.ts', 'run.ts'].map((name) => join(import.meta.dirname, name));
  const command = [sandbox, process.execPath, run, folder, String(port), image].map(String);
  const child = spawn(process.execPath, command, { stdio: 'inherit' });
  // Ctrl-C reaches both; a signal to this process alone is passed on.
  signals.forward((signal) => child.kill(signal));
  const [code] = (await once(child, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
} finally {
  server.close();
  await rm(folder, { recursive: true });
}
