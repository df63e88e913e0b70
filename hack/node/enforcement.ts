import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The queue of packets about which the kernel asks kube-network-policies, by its number. */
const QUEUE = 100;
/** Has a line for each queue that a program reads, which begins with the queue's number: proc_pid_net(5). */
const QUEUES = '/proc/net/netfilter/nfnetlink_queue';

/**
 * What a connection between pods must pass first. It is before what kube-proxy accepts, and after the address of a Service
 * has become that of a pod. Packets are dropped while nobody reads the queue. kube-network-policies would make such a rule
 * by itself, but of nftables, and not all kernels can queue by those.
 */
const RULE = ['FORWARD', '-m', 'conntrack', '--ctstate', 'NEW', '-j', 'NFQUEUE', '--queue-num', String(QUEUE)];

/** The program that says of each packet whether NetworkPolicies allow it: kube-network-policies, as build.sh makes it. */
export const ENFORCER = join(import.meta.dirname, '../../bin/node/kube-network-policies');

/** Flags of the enforcer of the node of this name. */
export function enforcerFlags(kubeconfig: string, node: string): string[] {
  return [
    `--kubeconfig=${kubeconfig}`,
    `--hostname-override=${node}`,
    `--nfqueue-id=${QUEUE}`,
    '--metrics-bind-address=127.0.0.1:9080',
    // containerd of Debian does not tell of pods by NRI; the API server does.
    '--disable-nri',
  ];
}

/** Whether the enforcer is there to be asked. */
export async function readsQueue(): Promise<boolean> {
  const queues = await readFile(QUEUES, 'utf8');
  return queues.split('\n').some((line) => line.trim().split(/ +/)[0] === String(QUEUE));
}

/** Has the enforcer asked about connections from now on, or no longer. */
export async function divertConnections(to: 'enforcer' | 'nobody'): Promise<void> {
  const change = to === 'enforcer' ? '--insert' : '--delete';
  await promisify(execFile)('iptables', ['--wait', '--table', 'mangle', change, ...RULE]);
}
