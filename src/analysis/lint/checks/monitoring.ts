import { isolatingPolicies, portsOfDirection, resolvePorts, type Endpoint } from '../../evaluate.ts';
import { exampleLabels, examplePod } from '../../example-pod.ts';
import { addressEndpoint } from '../../model.ts';
import { isMonitoringRule, namedNamespaces } from '../../monitoring.ts';
import type { PodPeer, Rule } from '../../policy.ts';
import { mayBeForUnread } from '../../unread.ts';
import { peersField, type LintContext } from '../context.ts';
import { policyObject, type Hit } from '../finding.ts';

/** BPL017: an ingress rule for monitoring that none of the monitoring pods may use, as egress is denied to all of them. */
export function* stuckMonitoring(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    for (const rule of policy.rules.Ingress ?? []) {
      if (!isMonitoringRule(policy, context.written(policy), rule)) continue;
      if (mayBeForUnread(context.model.cluster, rule)) continue;
      const destinations = context.subjectsOf(policy);
      const sources = sourcesOf(context, rule);
      if (sources.length === 0 || destinations.length === 0) continue;
      if (sources.some((source) => canReach(context, source, rule, destinations))) continue;
      const namespaces = [...new Set(sources.map(({ pod }) => pod?.namespace ?? ''))].sort();
      yield {
        code: 'BPL017',
        object: policyObject(policy),
        path: `${rule.path}.${peersField('Ingress')}`,
        message: `no pod of ${namespaces.join(', ')} may connect to pods that the policy selects: egress is denied there`,
      };
    }
  }
}

/** Pods that a rule lets in: workloads, or such as it would let in of a namespace of which none is given. */
function sourcesOf(context: LintContext, { peers = [] }: Rule): Endpoint[] {
  return peers
    .filter((peer) => peer.kind === 'pods')
    .flatMap((peer) => {
      const given = context.podsOf(peer);
      if (given.length === 0) return examplesOf(context, peer);
      // On the host network policies may not be enforced: such a pod may get out.
      return given.map(({ workload, endpoint }) =>
        workload.hostNetwork ? addressEndpoint(endpoint.addresses) : endpoint,
      );
    });
}

function examplesOf(context: LintContext, peer: PodPeer): Endpoint[] {
  const labels = exampleLabels(peer.pods);
  if (labels === undefined || context.options.isComplete === true) return [];
  return namedNamespaces(peer)
    .filter((namespace) => context.podsIn(namespace).length === 0)
    .map((namespace) => examplePod(context.model.cluster, namespace, labels));
}

function canReach(context: LintContext, source: Endpoint, rule: Rule, destinations: readonly Endpoint[]): boolean {
  const policies = context.policiesIn(source.pod?.namespace ?? '');
  if (isolatingPolicies(policies, 'Egress', source).length === 0) return true;
  return destinations.some((destination) => {
    const wanted = resolvePorts(rule.ports, destination);
    return !portsOfDirection(policies, 'Egress', source, destination).intersect(wanted).isEmpty;
  });
}
