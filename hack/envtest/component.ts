import { type ChildProcess, execFile } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
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
  #suspension: Promise<unknown> = Promise.resolve();

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
    await this.#reaches('ready', probe, timeoutMs);
  }

  /**
   * Runs `action` while no thread of the process runs; the actions of several calls run one after the other. Throws
   * ComponentError when the process has ended or ends meanwhile, or when suspending it takes longer than `timeoutMs`.
   */
  suspended<T>(action: () => Promise<T>, timeoutMs: number): Promise<T> {
    const result = this.#suspension.then(() => this.#suspend(action, timeoutMs));
    this.#suspension = result.catch(() => undefined);
    return result;
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

  async #suspend<T>(action: () => Promise<T>, timeoutMs: number): Promise<T> {
    const { pid } = this;
    if (pid === undefined || !this.#child.kill('SIGSTOP')) throw await this.error(await this.ended);
    let result: T;
    let resumed: boolean;
    try {
      await this.#reaches('suspended', () => isSuspended(pid), timeoutMs);
      result = await action();
    } finally {
      resumed = this.#child.kill('SIGCONT');
    }
    // What the action read may have gone with the process.
    if (!resumed) throw await this.error(await this.ended);
    return result;
  }

  async #reaches(state: string, probe: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const end: { how?: string } = {};
    void this.ended.then((how) => (end.how = how));
    while (!(await probe().catch(() => false))) {
      if (end.how !== undefined) throw await this.error(end.how);
      if (performance.now() > deadline) throw await this.error(`was not ${state} within ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/**
 * Whether SIGSTOP, which is sent but not waited for, has reached a process: each of its threads, as one may still be in
 * a system call when the first has stopped. Without /proc only the state of the process can be seen.
 */
async function isSuspended(pid: number): Promise<boolean> {
  if (!existsSync('/proc/self/task')) {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'state=', '-p', String(pid)]);
    return stdout.trim().startsWith('T');
  }
  const threads = await readdir(`/proc/${pid}/task`);
  const states = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8')));
  return states.every((state) => /^\d+ \(.*\) T /s.test(state));
}
