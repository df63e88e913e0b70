import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Guard } from './guard.ts';

const LINES = 20;

/** A component of the control plane ended, or was not ready in time; the message carries the last lines of its log. */
export class ComponentError extends Error {
  readonly component: string;
  /** The last lines of the component's log. */
  readonly log: string;

  constructor(component: string, what: string, log: string) {
    super(`${component} ${what}. The last lines of its log:\n${log}`);
    this.name = 'ComponentError';
    this.component = component;
    this.log = log;
  }
}

/** A running program of the control plane, which writes its log to a file in the guard's folder. */
export class Component {
  readonly name: string;
  /** Number of the process; undefined when it could not be started. */
  readonly pid: number | undefined;
  /** Resolves when the process has ended, with how it ended in words. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #logFile: string;

  constructor(guard: Guard, program: string, args: readonly string[]) {
    this.name = basename(program);
    this.#logFile = join(guard.folder, `${this.name}.log`);
    const output = openSync(this.#logFile, 'a');
    const child = guard.spawn(program, args, output);
    closeSync(output);
    this.#child = child;
    this.pid = child.pid;
    const { promise, resolve } = Promise.withResolvers<string>();
    child.once('error', (error) => {
      resolve(`could not be started: ${error.message}`);
    });
    child.once('exit', (code, signal) => {
      resolve(signal ? `was ended by ${signal}` : `ended with code ${String(code)}`);
    });
    this.ended = promise;
  }

  /** Waits until `probe` holds (a rejection counts as no). Throws ComponentError at the process's end or on timeout. */
  async ready(probe: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const end: { how?: string } = {};
    void this.ended.then((how) => (end.how = how));
    while (!(await probe().catch(() => false))) {
      if (end.how !== undefined) throw await this.error(end.how);
      if (performance.now() > deadline) throw await this.error(`was not ready within ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Sends the signal and waits for the process's end; sends SIGKILL when that takes longer than `graceMs`. */
  async stop(signal: NodeJS.Signals, graceMs: number): Promise<void> {
    this.#child.ref();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    this.#child.kill(signal);
    await this.ended;
    clearTimeout(timer);
  }

  /** An error about this component that carries the last lines of its log. */
  async error(what: string): Promise<ComponentError> {
    const log = await readFile(this.#logFile, 'utf8').catch(() => '');
    return new ComponentError(this.name, what, log.trimEnd().split('\n').slice(-LINES).join('\n'));
  }
}
