/**
 * Runs a program in network, mount, process, IPC and host name namespaces of its own, as root, where it may make bridges,
 * rules, mounts and containers as it likes; see sandbox.sh for what it finds there. When the program ends, or this process
 * does in any way, all its processes end and all that it made goes: the namespaces, a cgroup, a folder.
 *
 *     node hack/node/sandbox.ts PROGRAM [ARGUMENT...]
 *
 * The exit code is the program's. The program has in its environment: NODE_SANDBOX, the folder, with room on the disk;
 * NODE_CGROUP, path of a cgroup of each hierarchy, for containers; TMPDIR; KUBECACHEDIR.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Guard } from '../envtest/guard.ts';
import { StopSignals } from '../run/stop-signals.ts';
import { NETWORK } from './network.ts';

const PROJECT = join(import.meta.dirname, '../..');

/** By number, as a shell tells the end by a signal. */
const SIGNAL_EXIT = { SIGINT: 130, SIGTERM: 143 };

/** How long the kernel may take to empty a cgroup whose processes have been killed, in tenths of a second. */
const EMPTY_WITHIN = 100;

process.exitCode = await runInSandbox(process.argv.slice(2));

async function runInSandbox(command: readonly string[]): Promise<number> {
  if (command.length === 0) {
    console.error('sandbox.ts: expected a program to run, got none');
    return 2;
  }
  if (process.getuid?.() !== 0) {
    console.error('sandbox.ts: expected root, who alone can make a node; set KUBECONFIG to use a cluster that exists');
    return 1;
  }
  const signals = new StopSignals();
  const name = `baseline-node-${randomBytes(4).toString('hex')}`;
  const cgroups = cgroupHierarchies().map((folder) => join(folder, name));
  const guard = await Guard.start(removal(cgroups));
  try {
    for (const cgroup of cgroups) mkdirSync(cgroup);
    Object.assign(process.env, {
      NODE_SANDBOX: guard.folder,
      NODE_CGROUP: `/${name}`,
      BRIDGE: NETWORK.bridge,
      GATEWAY: NETWORK.gateway,
      PREFIX: String(NETWORK.prefix),
      SERVICE_RANGE: NETWORK.services,
      // All of Kubernetes is of one version, which is built: a kubelet must not be newer than the API server.
      KUBEBUILDER_ASSETS: '',
      // Debian keeps programs of the network where the PATH of npm scripts may not look.
      PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`,
    });
    const child = guard.spawn(
      'unshare',
      [
        ...['--net', '--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child', '--mount-proc'],
        ...['--propagation', 'private', join(import.meta.dirname, 'sandbox.sh'), guard.folder, PROJECT],
        ...command,
      ],
      process.stdout.fd,
    );
    child.ref();
    const stopped = Promise.withResolvers<number>();
    signals.forward((signal) => {
      stopped.resolve(signal === 'SIGINT' ? SIGNAL_EXIT.SIGINT : SIGNAL_EXIT.SIGTERM);
    });
    const ended = once(child, 'exit').then(([code]) => (code as number | null) ?? 1);
    return await Promise.race([ended, stopped.promise]);
  } finally {
    await guard.end();
  }
}

/** Folders where hierarchies of cgroups are mounted; one with version 2, one for each controller with version 1. */
function cgroupHierarchies(): string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([, folder = '', type = '']) => (type === 'cgroup' || type === 'cgroup2' ? [folder] : []));
}

/** A shell command that removes cgroups with all below, once their processes have gone. */
function removal(cgroups: readonly string[]): string {
  return `
    for cgroup in ${cgroups.map((path) => `'${path}'`).join(' ')}; do
      tries=0
      while [ -d "$cgroup" ] && [ $tries -lt ${EMPTY_WITHIN} ]; do
        find "$cgroup" -depth -type d -exec rmdir {} + && break
        tries=$((tries + 1))
        sleep 0.1
      done
    done`;
}
