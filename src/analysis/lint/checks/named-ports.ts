import type { NamedPort } from '../../cluster.ts';
import type { Direction, Policy, Rule } from '../../policy.ts';
import { mayBeForUnread } from '../../unread.ts';
import { peersField, rulesOf, type LintContext, type Pod } from '../context.ts';
import { policyObject, type Hit } from '../finding.ts';

/** BPL007: the name of a port that none of the pods has which the rule is for. Rules of a baseline are for any pods. */
export function* unknownNamedPorts(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    if (policy.isManaged) continue;
    for (const { direction, rule } of rulesOf(policy)) {
      if (rule.ports.names.length === 0) continue;
      if (direction === 'Egress' && mayBeForUnread(context.model.cluster, rule)) continue;
      const destinations = direction === 'Ingress' ? context.selectedBy(policy) : peerPods(context, rule);
      const isOnlyOutside = direction === 'Egress' && (rule.peers ?? []).length > 0 && isOfBlocks(rule);
      if (destinations.length === 0 && !isOnlyOutside) continue;
      for (const { protocol, name } of rule.ports.names) {
        if (
          destinations.some(({ workload }) =>
            workload.ports.some((port) => port.name === name && port.protocol === protocol),
          )
        ) {
          continue;
        }
        yield {
          code: 'BPL007',
          object: policyObject(policy),
          path: pathOf(context, policy, direction, rule, name, protocol),
          message: isOnlyOutside
            ? `an address outside the cluster has no port named ${name}`
            : `${whose(direction, destinations)} has a ${protocol} port named ${name}${listed(destinations)}`,
        };
      }
    }
  }
}

function isOfBlocks({ peers = [] }: Rule): boolean {
  return peers.every(({ kind }) => kind === 'block');
}

/** Workloads that a rule is for, at least one of each that has other ports than the rest. */
function peerPods(context: LintContext, { peers }: Rule): readonly Pod[] {
  return peers === undefined
    ? context.pods
    : peers.flatMap((peer) => (peer.kind === 'pods' ? context.podsOf(peer) : []));
}

function whose(direction: Direction, { length }: readonly Pod[]): string {
  const whom = direction === 'Ingress' ? 'that the policy selects' : `that the rule is for in ${peersField(direction)}`;
  return length === 1 ? `no pod of the workload ${whom}` : `no pod ${whom}`;
}

/** The names that there are, as the one that is meant is likely among them. */
function listed(pods: readonly Pod[]): string {
  const names = new Set(pods.flatMap(({ workload }) => workload.ports.map(portText)));
  return names.size === 0 ? '' : `; there are ${[...names].sort().slice(0, 5).join(', ')}`;
}

function portText({ name, port, protocol }: NamedPort): string {
  return `${name} (${port}/${protocol})`;
}

/** Path of the port as it is written. */
function pathOf(
  context: LintContext,
  policy: Policy,
  direction: Direction,
  { path }: Rule,
  name: string,
  protocol: string,
): string {
  const spec = context.writtenSpec(policy);
  const index = Number(/\d+/.exec(path)?.[0] ?? 0);
  const ports = (direction === 'Ingress' ? spec.ingress : spec.egress)?.[index]?.ports ?? [];
  const at = ports.findIndex((port) => port.port === name && (port.protocol ?? 'TCP') === protocol);
  return `${path}.ports[${at}].port`;
}
