import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Cluster } from './cluster.ts';
import { freePort } from './free-port.ts';
import { MeasuredProcess, type Memory } from './measured-process.ts';

const pathOf = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PEER = pathOf('bin/peers/controller-runtime-operator');

/** An operator that takes part. */
export interface Contender {
  readonly name: string;
  /** What its user agent begins with. */
  readonly agent: string;
  command(kubeconfig: string, ports: { readonly health: number; readonly metrics: number }): readonly string[];
}

/** Ours, as the image starts it: `make build` makes it. */
export const OURS: Contender = {
  name: 'baseline-policy-operator',
  agent: 'baseline-policy-operator/',
  command: (kubeconfig, { health, metrics }) => [
    process.execPath,
    '--max-semi-space-size=8',
    '--single-threaded-gc',
    pathOf('dist/main.js'),
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

/** A contender at work on a cluster. */
export class RunningContender implements AsyncDisposable {
  readonly contender: Contender;
  /** From the start of the process until it said that it was ready, in milliseconds. */
  readonly readyAfterMs: number;
  readonly #measured: MeasuredProcess;
  readonly #metricsPort: number;

  private constructor(contender: Contender, measured: MeasuredProcess, metricsPort: number, readyAfterMs: number) {
    this.contender = contender;
    this.#measured = measured;
    this.#metricsPort = metricsPort;
    this.readyAfterMs = readyAfterMs;
  }

  /** Starts it and waits until it is ready. */
  static async start(contender: Contender, cluster: Cluster): Promise<RunningContender> {
    const [health, metrics] = [await freePort(), await freePort()];
    const command = contender.command(cluster.controlPlane.kubeconfig, { health, metrics });
    const startedAt = performance.now();
    const measured = await MeasuredProcess.start(command);
    while (!(await isServing(`http://127.0.0.1:${health}/readyz`))) {
      if (measured.ended !== undefined)
        throw new Error(`${contender.name} ended with ${measured.ended} before it was ready`);
      await delay(READY_POLL_MS);
    }
    return new RunningContender(contender, measured, metrics, performance.now() - startedAt);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#measured[Symbol.asyncDispose]();
  }

  memory(): Memory {
    return this.#measured.memory();
  }

  /** Processor time that it has used, in seconds. */
  cpuSeconds(): number {
    return this.#measured.cpuSeconds();
  }

  /** Delay of its event loop since the last call or its start, in milliseconds; ours only. */
  async eventLoopDelay(): Promise<{ readonly p99: number; readonly max: number }> {
    const text = await (await fetch(`http://127.0.0.1:${this.#metricsPort}/metrics`)).text();
    const seconds = (name: string): number =>
      Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (.+)$`, 'm').exec(text)?.[1]);
    return { p99: seconds('p99') * 1000, max: seconds('max') * 1000 };
  }
}

async function isServing(url: string): Promise<boolean> {
  return fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}
