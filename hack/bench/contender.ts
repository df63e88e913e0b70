import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Cluster } from './cluster.ts';

const pathOf = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PEER = pathOf('bin/peers/controller-runtime-operator');

/** An operator that takes part. */
export interface Contender {
  readonly name: string;
  /** What its user agent begins with. */
  readonly agent: string;
  command(kubeconfig: string, ports: { readonly health: number; readonly metrics: number }): readonly string[];
}

/** Ours, as `npm run operator` starts it. */
export const OURS: Contender = {
  name: 'baseline-policy-operator',
  agent: 'baseline-policy-operator/',
  command: (kubeconfig, { health, metrics }) => [
    process.execPath,
    '--max-semi-space-size=8',
    '--single-threaded-gc',
    pathOf('src/main.ts'),
    `--kubeconfig=${kubeconfig}`,
    '--log-level=warn',
    `--metrics-bind-address=127.0.0.1:${metrics}`,
    `--health-probe-bind-address=127.0.0.1:${health}`,
  ],
};

const controllerRuntime = (name: string, ...flags: string[]): Contender => ({
  name,
  agent: 'controller-runtime-operator/',
  command: (kubeconfig, { health }) => [
    PEER,
    `--kubeconfig=${kubeconfig}`,
    `--health-probe-bind-address=127.0.0.1:${health}`,
    // Conflicts that it tries again are errors to it, a line each.
    '--zap-log-level=panic',
    ...flags,
  ],
});

/** The same job with controller-runtime as it comes, and with as many workers as ours has. */
export const CONTROLLER_RUNTIME = controllerRuntime('controller-runtime');
export const CONTROLLER_RUNTIME_TUNED = controllerRuntime(
  'controller-runtime, 16 workers',
  '--max-concurrent-reconciles=16',
);

/** How often a start is asked whether it is ready, in milliseconds. */
const READY_POLL_MS = 5;
/** Clock ticks a second in /proc; fixed by the kernel's ABI. */
const TICKS_PER_SECOND = 100;

/** A contender at work on a cluster. */
export class RunningContender implements AsyncDisposable {
  readonly contender: Contender;
  /** From the start of the process until it said that it was ready, in milliseconds. */
  readonly readyAfterMs: number;
  readonly #child: ChildProcess;
  readonly #metricsPort: number;

  private constructor(contender: Contender, child: ChildProcess, metricsPort: number, readyAfterMs: number) {
    this.contender = contender;
    this.#child = child;
    this.#metricsPort = metricsPort;
    this.readyAfterMs = readyAfterMs;
  }

  /** Starts it and waits until it is ready. */
  static async start(contender: Contender, cluster: Cluster): Promise<RunningContender> {
    const [health, metrics] = [await freePort(), await freePort()];
    const [program = '', ...args] = contender.command(cluster.controlPlane.kubeconfig, { health, metrics });
    const startedAt = performance.now();
    const child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, NODE_COMPILE_CACHE: pathOf('node_modules/.cache/compile') },
    });
    await once(child, 'spawn');
    while (!(await isServing(`http://127.0.0.1:${health}/readyz`))) {
      if (child.exitCode !== null)
        throw new Error(`${contender.name} ended with ${child.exitCode} before it was ready`);
      await delay(READY_POLL_MS);
    }
    return new RunningContender(contender, child, metrics, performance.now() - startedAt);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
  }

  /** Resident set now and at its peak, in MB, as the kernel counts it. */
  memory(): { readonly rss: number; readonly peak: number } {
    const status = this.#proc('status');
    const megabytes = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
    return { rss: megabytes('VmRSS'), peak: megabytes('VmHWM') };
  }

  /** Processor time that it has used, in seconds. */
  cpuSeconds(): number {
    // After the name in parentheses; user and system time are the fields 14 and 15 of all.
    const fields = this.#proc('stat')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Delay of its event loop since the last call or its start, in milliseconds; ours only. */
  async eventLoopDelay(): Promise<{ readonly p99: number; readonly max: number }> {
    const text = await (await fetch(`http://127.0.0.1:${this.#metricsPort}/metrics`)).text();
    const seconds = (name: string): number =>
      Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (.+)$`, 'm').exec(text)?.[1]);
    return { p99: seconds('p99') * 1000, max: seconds('max') * 1000 };
  }

  #proc(file: string): string {
    return readFileSync(`/proc/${this.#child.pid ?? 0}/${file}`, 'utf8');
  }
}

async function isServing(url: string): Promise<boolean> {
  return fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
