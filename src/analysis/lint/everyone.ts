import { blockContains, everyAddress, isWithin, partition, type AddressRange, type Family } from '../address.ts';
import type { BlockPeer, Rule } from '../policy.ts';
import { formatSelector } from '../selector-text.ts';

/** Whom a rule without limits is open to. */
export type Everyone = 'everyone' | 'every pod of the cluster' | 'every IPv4 address' | 'every IPv6 address';

/** All that a rule is open to without a limit, in any spelling; its ports may still be limited. */
export function openTo({ peers }: Rule): Everyone[] {
  if (peers === undefined) return ['everyone'];
  const isAllPods = peers.some(
    (peer) =>
      peer.kind === 'pods' &&
      typeof peer.namespaces !== 'string' &&
      formatSelector(peer.namespaces) === '' &&
      formatSelector(peer.pods) === '',
  );
  const blocks = peers.filter((peer) => peer.kind === 'block');
  return [
    ...(isAllPods ? ['every pod of the cluster' as const] : []),
    ...(hasEveryAddress(blocks, 4) ? ['every IPv4 address' as const] : []),
    ...(hasEveryAddress(blocks, 6) ? ['every IPv6 address' as const] : []),
  ];
}

function hasEveryAddress(peers: readonly BlockPeer[], family: Family): boolean {
  const blocks = peers.map(({ block }) => block).filter(({ cidr }) => cidr.family === family);
  const all = everyAddress(family);
  // Together they must be large enough, which few rules are.
  if (blocks.reduce((sum, { cidr }) => sum + sizeOf(cidr), 0n) < sizeOf(all)) return false;
  return partition(blocks.flatMap(({ cidr, except }) => [cidr, ...except]))
    .filter((piece) => isWithin(piece, all))
    .every((piece) => blocks.some((block) => blockContains(block, piece)));
}

function sizeOf({ first, last }: AddressRange): bigint {
  return last - first + 1n;
}
