import type { Cluster } from './cluster.ts';
import { namedNamespaces } from './monitoring.ts';
import type { Peer, Rule } from './policy.ts';

/** Whether a peer may match pods of namespaces that could not be read; never where all could. */
export function mayMatchUnread({ confinedTo }: Cluster, peer: Peer): boolean {
  if (confinedTo === undefined || peer.kind === 'block') return false;
  const named = namedNamespaces(peer);
  return named.length === 0 || named.some((name) => name !== confinedTo);
}

/** Whether a rule may be for pods of namespaces that could not be read. */
export function mayBeForUnread(cluster: Cluster, { peers }: Rule): boolean {
  return peers === undefined ? cluster.confinedTo !== undefined : peers.some((peer) => mayMatchUnread(cluster, peer));
}
