import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { eventually } from './await.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** One line of the operator's JSON log. */
export interface LogLine {
  level: string;
  msg: string;
  [field: string]: unknown;
}

/** Samples of a /metrics page: `name{label="value",…}` as it is printed, and its value. */
export type Samples = ReadonlyMap<string, number>;

/** How to start an operator. */
export interface OperatorProcessOptions {
  readonly kubeconfig: string;
  readonly flags?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * The operator as a process of its own, from source, as a user starts it: with JSON logs and with endpoints on free
 * ports of loopback.
 */
export class OperatorProcess {
  /** Log lines so far. */
  readonly log: LogLine[] = [];
  readonly #process: ChildProcess;
  readonly #exit: Promise<number | null>;
  #stderr = '';

  private constructor(process: ChildProcess) {
    this.#process = process;
    this.#exit = once(process, 'exit').then(([code]) => code as number | null);
    if (process.stdout !== null) {
      createInterface(process.stdout).on('line', (line) => this.log.push(JSON.parse(line) as LogLine));
    }
    process.stderr?.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
  }

  /** Starts an operator; resolves at once. See {@link ready}. */
  static spawn({ kubeconfig, flags = [], env = {} }: OperatorProcessOptions): OperatorProcess {
    const endpoints = ['--metrics-bind-address=127.0.0.1:0', '--health-probe-bind-address=127.0.0.1:0'];
    const args = [MAIN, `--kubeconfig=${kubeconfig}`, '--log-format=json', ...endpoints, ...flags];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    // A test that dies must not leave its operator behind.
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    return new OperatorProcess(child);
  }

  /** Starts an operator and resolves when its caches are synced. */
  static async start(options: OperatorProcessOptions): Promise<OperatorProcess> {
    const operator = OperatorProcess.spawn(options);
    try {
      await operator.ready();
    } catch (error) {
      operator.signal('SIGKILL');
      throw error;
    }
    return operator;
  }

  /** Process id. */
  get pid(): number {
    assert.ok(this.#process.pid !== undefined);
    return this.#process.pid;
  }

  /** What it wrote to standard error: nothing, as long as all is well. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Resolves when /readyz says so. */
  async ready(): Promise<void> {
    await eventually(
      async () => {
        assert.equal(this.#process.exitCode, null, `the operator ended: ${this.#stderr}${JSON.stringify(this.log)}`);
        assert.equal((await fetch(`${this.url('health')}/readyz`)).status, 200, JSON.stringify(this.log.at(-1)));
      },
      { timeout: 60_000 },
    );
  }

  /** Resolves with the first log line of this message, now or later. */
  async logged(msg: string, timeout = 10_000): Promise<LogLine> {
    return eventually(
      () => {
        const line = this.log.find((candidate) => candidate.msg === msg);
        assert.ok(line, `expected the log line ${JSON.stringify(msg)}, got ${JSON.stringify(this.log.slice(-5))}`);
        return line;
      },
      { timeout },
    );
  }

  /** Base URL of the metrics or the health endpoint. */
  url(endpoint: 'metrics' | 'health'): string {
    const line = this.log.find(({ msg }) => msg === 'Starting operator');
    assert.ok(line, 'the operator has not said yet where it listens');
    return `http://${String(line[endpoint])}`;
  }

  /** The metrics as they are now. */
  async metrics(): Promise<Samples> {
    const text = await (await fetch(`${this.url('metrics')}/metrics`)).text();
    const samples = text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line): [string, number] => {
        const gap = line.lastIndexOf(' ');
        return [line.slice(0, gap), Number(line.slice(gap + 1))];
      });
    return new Map(samples);
  }

  /** Value of one sample, such as `baseline_policy_drift_total{policy="a",…}`; fails when it is not there. */
  async metric(sample: string): Promise<number> {
    const value = (await this.metrics()).get(sample);
    assert.notEqual(value, undefined, `no sample ${sample}`);
    return value ?? Number.NaN;
  }

  /** Sends a signal. */
  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Resolves with the exit code when the process has ended; null after a signal that it did not handle. */
  async exited(): Promise<number | null> {
    return this.#exit;
  }

  /** Ends it as Kubernetes does, by SIGTERM; resolves with the exit code. Does nothing when it has ended already. */
  async stop(): Promise<number | null> {
    this.signal('SIGTERM');
    return this.exited();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
