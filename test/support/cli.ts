import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { run } from '../../src/cli/program.ts';

/** What a command line gave back. */
export interface CLIResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a command line runs in, beside its arguments. */
export interface CLIOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether stdout is a terminal. Default: false. */
  readonly isTTY?: boolean;
  /** Whether nobody reads stdout, of a process. Default: false. */
  readonly isReaderGone?: boolean;
}

/** Runs kubectl-baseline in this process. */
export async function runCLI(args: readonly string[], options: CLIOptions = {}): Promise<CLIResult> {
  const stdout = new Recorder(options.isTTY === true);
  const stderr = new Recorder(false);
  const stdin = (async function* () {
    yield await Promise.resolve(options.stdin ?? '');
  })();
  const code = await run(args, { stdin, stdout, stderr, env: options.env ?? {} });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

class Recorder extends Writable {
  text = '';
  readonly isTTY: boolean;

  constructor(isTTY: boolean) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk;
    done();
  }
}

/** The program as users start it. */
export const CLI_PROGRAM = join(import.meta.dirname, '../../src/cli/main.ts');

/** Runs kubectl-baseline as a process of its own. */
export async function spawnCLI(args: readonly string[], options: CLIOptions = {}): Promise<CLIResult> {
  const child = spawn(process.execPath, [CLI_PROGRAM, ...args], { env: { ...process.env, ...options.env } });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  if (options.isReaderGone === true) {
    child.stdout.destroy();
    await once(child.stdout, 'close');
  }
  child.stdin.end(options.stdin ?? '');
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** A folder of files by their paths, removed when it is disposed of. */
export class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'cli-test-'));

  constructor(files: Readonly<Record<string, string>>) {
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.path, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}
