import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { Guard } from '../envtest/guard.ts';

/** How a process ended. */
export interface ProcessEnd {
  /** Null when a signal ended it, or when it could not be started. */
  readonly code: number | null;
  /** The end in words, to follow the name of the process. */
  readonly text: string;
}

/**
 * The operator, from source, in a session of its own: Ctrl-C at the terminal does not reach it. It ends when this
 * process does, however that happens. Its log goes to standard output.
 */
export class OperatorProcess implements AsyncDisposable {
  readonly pid: number | undefined;
  /** Resolves when it has ended; never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly #guard: Guard;
  readonly #child: ChildProcess;

  private constructor(guard: Guard, child: ChildProcess) {
    this.#guard = guard;
    this.#child = child;
    this.pid = child.pid;
    const { promise, resolve } = Promise.withResolvers<ProcessEnd>();
    this.ended = promise;
    child.once('error', (error) => {
      resolve({ code: null, text: `could not be started: ${error.message}` });
    });
    child.once('exit', (code, signal) => {
      resolve({ code, text: signal === null ? `ended with code ${String(code)}` : `was ended by ${signal}` });
    });
    child.ref();
  }

  /** Starts src/main.ts of the checkout at `root`; resolves at once. */
  static async start(root: string, flags: readonly string[]): Promise<OperatorProcess> {
    const guard = await Guard.start();
    const args = [join(root, 'src', 'main.ts'), ...flags];
    return new OperatorProcess(guard, guard.spawn(process.execPath, args, process.stdout.fd));
  }

  /** Sends a signal; does nothing when it has ended. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal('SIGTERM');
    await this.ended;
    await this.#guard.end();
  }
}
