import { blockContains, isWithin, parseCIDR, type AddressRange } from '../../address.ts';
import { workloadName } from '../../cluster.ts';
import type { BlockPeer } from '../../policy.ts';
import { peersField, rulesOf, type LintContext, type Pod } from '../context.ts';
import { openTo } from '../everyone.ts';
import { policyObject, type Hit } from '../finding.ts';

/** Where pods have their addresses: private (RFC 1918), CGNAT (RFC 6598) and unique-local (RFC 4193). */
const PRIVATE = ['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'].map(parseCIDR);
/**
 * The addresses of pods on one node by default, a /24 of IPv4 and a /64 of IPv6: less is no range of pods.
 *
 * Source: --node-cidr-mask-size-ipv4 and -ipv6 of kube-controller-manager
 */
const PODS_OF_A_NODE = { 4: 1n << 8n, 6: 1n << 64n } as const;

/**
 * BPL015: a block that has the address of a pod. Where no address is known, and the profile says that ipBlocks match
 * pods, a private range without exceptions may be that of the pods. A block of every address is told by BPL010 and BPL011.
 */
export function* blocksOfPods(context: LintContext): Generator<Hit> {
  const { profile = {} } = context.options;
  const pods = context.pods.filter(({ workload, endpoint }) => !workload.hostNetwork && endpoint.addresses.length > 0);
  for (const policy of context.model.policies) {
    for (const { direction, rule } of rulesOf(policy)) {
      if (openTo(rule).length > 0) continue;
      for (const [index, peer] of (rule.peers ?? []).entries()) {
        if (peer.kind !== 'block') continue;
        const pod = context.podsOf(peer).find(({ workload }) => !workload.hostNetwork);
        const isGuess = pods.length === 0 && profile.ipBlockMatchesPods === true && isPrivateRange(peer);
        if (pod === undefined && !isGuess) continue;
        yield {
          code: 'BPL015',
          object: policyObject(policy),
          path: `${rule.path}.${peersField(direction)}[${index}].ipBlock`,
          message: pod === undefined ? guessText(peer) : knownText(peer, pod, profile.ipBlockMatchesPods),
        };
      }
    }
  }
}

function isPrivateRange({ block: { cidr, except } }: BlockPeer): boolean {
  const size = cidr.last - cidr.first + 1n;
  return except.length === 0 && size >= PODS_OF_A_NODE[cidr.family] && PRIVATE.some((range) => isWithin(cidr, range));
}

function guessText({ key }: BlockPeer): string {
  return `${key} is private and has no exceptions, and the network plugin matches pods by ipBlocks`;
}

function knownText(peer: BlockPeer, { workload, endpoint }: Pod, isMatched: boolean | undefined): string {
  const ranges: readonly AddressRange[] = typeof endpoint.addresses === 'string' ? [] : endpoint.addresses;
  const at = ranges.findIndex((range) => blockContains(peer.block, range));
  const has = `${peer.key} has ${workload.ips?.[at] ?? 'the address'} of ${workloadName(workload)}`;
  if (isMatched === undefined) return `${has}; whether the rule is for its pods depends on the network plugin`;
  return isMatched
    ? `${has}: the rule is for its pods too`
    : `${has}, but the network plugin matches no pod by an ipBlock`;
}
