import { workloadName } from '../../cluster.ts';
import { selectorCovers } from '../../cover.ts';
import { DNSAccess, isDNS } from '../../dns.ts';
import { isolatingPolicies, type Endpoint } from '../../evaluate.ts';
import type { Policy } from '../../policy.ts';
import type { PortSet } from '../../port-set.ts';
import { mayBeForUnread } from '../../unread.ts';
import type { LintContext } from '../context.ts';
import { namespaceObject, policyObject, workloadObject, type Hit } from '../finding.ts';

/**
 * BPL012: pods that are isolated for egress and cannot ask DNS. Told of the workload, of the namespace when it is so for
 * all of several workloads, and of the policy where no workload of the namespace is given.
 */
export function* blockedDNS(context: LintContext): Generator<Hit> {
  const dns = new DNSAccess(context.model, context.options.profile);
  const missing = (namespace: string, pod: Endpoint): PortSet | undefined => {
    const isolating = isolatingPolicies(context.policiesIn(namespace), 'Egress', pod);
    if (isolating.length === 0) return undefined;
    // The pods of DNS may have labels that are not known here.
    const rules = isolating.flatMap((policy) => policy.rules.Egress ?? []);
    if (rules.some((rule) => mayBeForUnread(context.model.cluster, rule))) return undefined;
    const ports = dns.missing(pod);
    return ports.isEmpty ? undefined : ports;
  };
  const namespaces = new Set(context.model.policies.map(({ namespace }) => namespace));
  for (const namespace of namespaces) {
    const pods = context.podsIn(namespace).filter(({ workload }) => !workload.hostNetwork && !isDNS(workload));
    const blocked = pods.flatMap(({ workload, endpoint }) => {
      const ports = missing(namespace, endpoint);
      return ports === undefined ? [] : [{ workload, ports }];
    });
    const [first] = blocked;
    if (first !== undefined && blocked.length > 1 && blocked.length === pods.length && isAlike(blocked)) {
      yield {
        code: 'BPL012',
        object: namespaceObject(namespace),
        path: 'metadata.name',
        message: `none of the ${pods.length} workloads can reach ${first.ports.toString()} of the DNS of the cluster`,
      };
    } else {
      for (const { workload, ports } of blocked) {
        yield {
          code: 'BPL012',
          object: workloadObject(workload),
          path: 'metadata.name',
          message: `${workloadName(workload)} cannot reach ${ports.toString()} of the DNS of the cluster`,
        };
      }
    }
    if (context.podsIn(namespace).length === 0) yield* ofPolicies(context, namespace, missing);
  }
}

function isAlike(blocked: readonly { readonly ports: PortSet }[]): boolean {
  return new Set(blocked.map(({ ports }) => ports.key)).size === 1;
}

function* ofPolicies(
  context: LintContext,
  namespace: string,
  missing: (namespace: string, pod: Endpoint) => PortSet | undefined,
): Generator<Hit> {
  const blocked = context.policiesIn(namespace).flatMap((policy) => {
    if (policy.rules.Egress === undefined) return [];
    const [ports] = context.subjectsOf(policy).flatMap((pod) => missing(namespace, pod) ?? []);
    return ports === undefined ? [] : [{ policy, ports }];
  });
  // A policy for all pods stands for those that select some of them.
  const isTold = ({ policy }: { policy: Policy }, index: number): boolean =>
    !blocked.some((other, at) => {
      if (at === index || !selectorCovers(other.policy.selector.pods, policy.selector.pods)) return false;
      return at < index || !selectorCovers(policy.selector.pods, other.policy.selector.pods);
    });
  for (const { policy, ports } of blocked.filter(isTold)) {
    yield {
      code: 'BPL012',
      object: policyObject(policy),
      path: 'spec.egress',
      message: `pods that the policy selects cannot reach ${ports.toString()} of the DNS of the cluster`,
    };
  }
}
