import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Each process tells its own number, before it becomes the program, through a copy of the guard's input: that input ends
 * when this process and all such copies have ended, so no process can be missed. The wait for their end is bounded, as
 * a process that has ended stays visible until somebody collects it.
 */
const GUARD = `
umask 077
folder=$1
cleanup=$2
pids=
finish() {
  for pid in $pids; do kill -s KILL -- "-$pid"; done
  tries=0
  for pid in $pids; do
    while [ $tries -lt 50 ] && kill -s 0 -- "-$pid"; do tries=$((tries + 1)); sleep 0.02; done
  done
  [ -z "$cleanup" ] || sh -c "$cleanup"
  rm -rf "$folder"
}
trap '' INT HUP
trap 'finish 2>/dev/null; exit 0' TERM
mkdir "$folder" || exit 1
echo ready
while read -r what number; do
  if [ "$what" = started ]; then
    pids="$pids $number"
  else
    others=
    for pid in $pids; do [ "$pid" = "$number" ] || others="$others $pid"; done
    pids=$others
  fi
done
finish 2>/dev/null
`;

const REGISTER = 'echo "started $$" >&3 && exec "$@" 3>&-';

/**
 * A folder for temporary files, and processes that use it, which end together: when `end()` is called, or when this
 * process ends in any way, also by SIGKILL. A shell in a session of its own waits for that, so that Ctrl-C at the
 * terminal reaches neither it nor the processes. It does not keep this process alive.
 */
export class Guard {
  /** The folder; only its owner can read it. */
  readonly folder: string;
  readonly #shell: ChildProcess;

  private constructor(folder: string, shell: ChildProcess) {
    this.folder = folder;
    this.#shell = shell;
  }

  /**
   * Makes the folder, under os.tmpdir(). `cleanup` is a shell command that removes what the processes leave elsewhere; it
   * runs when they have ended, and before the folder goes.
   */
  static async start(cleanup = ''): Promise<Guard> {
    const folder = join(tmpdir(), `control-plane-${randomBytes(6).toString('hex')}`);
    const shell = spawn('sh', ['-c', GUARD, 'guard', folder, cleanup], { detached: true, cwd: '/', stdio: 'pipe' });
    let stderr = '';
    shell.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const ready = once(shell.stdout, 'data').then(() => undefined);
    const ended = once(shell, 'close').then(() => {
      throw new Error(`Expected a shell that makes the folder ${folder}, got: ${stderr.trim() || 'an early end'}`);
    });
    await Promise.race([ready, ended]);
    ended.catch(() => undefined);
    shell.unref();
    for (const stream of [shell.stdin, shell.stdout, shell.stderr]) if (stream instanceof Socket) stream.unref();
    return new Guard(folder, shell);
  }

  /**
   * Starts a program in a session of its own, with the folder as working directory and its output appended to a file
   * descriptor. It does not keep this process alive.
   */
  spawn(program: string, args: readonly string[], output: number): ChildProcess {
    const child = spawn('sh', ['-c', REGISTER, 'register', program, ...args], {
      detached: true,
      cwd: this.folder,
      stdio: ['ignore', output, output, this.#shell.stdin],
    });
    child.once('exit', () => {
      // The number may soon be that of a process which is not ours.
      if (this.#shell.stdin?.writable) this.#shell.stdin.write(`ended ${String(child.pid)}\n`);
    });
    child.unref();
    return child;
  }

  /** Kills the processes and removes the folder; resolves when both are gone. Calling it again does nothing more. */
  async end(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.signalCode !== null) return;
    this.#shell.ref();
    this.#shell.stdin?.end();
    await once(this.#shell, 'exit');
  }
}
