import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

/** Clock ticks a second in /proc; fixed by the kernel's ABI. */
const TICKS_PER_SECOND = 100;

/** Resident set now and at its peak, in MB, as the kernel counts it. */
export interface Memory {
  readonly rss: number;
  readonly peak: number;
}

/** A process whose memory and processor time are read from /proc while it runs. */
export class MeasuredProcess implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /**
   * Starts a program; resolves when it runs.
   * @param env variables beside those of this process
   * @param output file descriptor for what it prints; else it prints where this process does
   * @throws Error when there is no such program
   */
  static async start(
    [program = '', ...args]: readonly string[],
    env: Readonly<Record<string, string>> = {},
    output: number | 'inherit' = 'inherit',
  ): Promise<MeasuredProcess> {
    const child = spawn(program, args, { stdio: ['ignore', output, output], env: { ...process.env, ...env } });
    await once(child, 'spawn');
    return new MeasuredProcess(child);
  }

  /** Asks it to end, by SIGTERM, and waits until it has. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended !== undefined) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
  }

  /** How it ended: its exit code or the signal; undefined while it runs. */
  get ended(): number | string | undefined {
    return this.#child.exitCode ?? this.#child.signalCode ?? undefined;
  }

  memory(): Memory {
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

  #proc(file: string): string {
    return readFileSync(`/proc/${this.#child.pid ?? 0}/${file}`, 'utf8');
  }
}
