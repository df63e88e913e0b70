import { DEFAULT_PROTECTED_NAMESPACES } from '../../../policy/select.ts';
import { workloadName } from '../../cluster.ts';
import { isolatingPolicies } from '../../evaluate.ts';
import type { Direction } from '../../policy.ts';
import { PortSet } from '../../port-set.ts';
import type { LintContext, Pod } from '../context.ts';
import { openTo } from '../everyone.ts';
import { namespaceObject, workloadObject, type Hit } from '../finding.ts';

/**
 * BPL013: workloads to which everything is open in a direction, as no policy isolates them, or as rules open everything
 * again. Told of the namespace when it is so for all of several workloads. System namespaces are left out.
 */
export function* notIsolated(context: LintContext): Generator<Hit> {
  const byNamespace = Map.groupBy(
    context.pods.filter(({ workload }) => !workload.hostNetwork),
    ({ workload }) => workload.namespace,
  );
  for (const [namespace, pods] of byNamespace) {
    if (DEFAULT_PROTECTED_NAMESPACES.includes(namespace)) continue;
    for (const direction of ['Ingress', 'Egress'] as const) {
      const open = pods.flatMap((pod) => {
        const cause = openCause(context, direction, pod);
        return cause === undefined ? [] : [{ pod, cause }];
      });
      const word = direction.toLowerCase();
      const causes = new Set(open.map(({ cause }) => cause));
      const [cause = ''] = causes;
      if (open.length > 1 && open.length === pods.length && causes.size === 1) {
        yield {
          code: 'BPL013',
          object: namespaceObject(namespace),
          path: 'metadata.name',
          message: `none of the ${pods.length} workloads is isolated for ${word}: ${cause}`,
        };
        continue;
      }
      for (const { pod, cause: own } of open) {
        yield {
          code: 'BPL013',
          object: workloadObject(pod.workload),
          path: 'metadata.name',
          message: `${workloadName(pod.workload)} is not isolated for ${word}: ${own}`,
        };
      }
    }
  }
}

/** Why everything is open to a pod; undefined when something is closed. */
function openCause(context: LintContext, direction: Direction, { workload, endpoint }: Pod): string | undefined {
  const policies = isolatingPolicies(context.policiesIn(workload.namespace), direction, endpoint);
  if (policies.length === 0) return 'no policy selects it for this direction';
  const open = { everyone: PortSet.empty, pods: PortSet.empty, addresses: PortSet.empty };
  const opening = new Set<string>();
  for (const { name, rules } of policies) {
    for (const rule of rules[direction] ?? []) {
      const everyone = openTo(rule);
      const { numbers } = rule.ports;
      if (everyone.includes('everyone')) open.everyone = open.everyone.union(numbers);
      if (everyone.includes('every pod of the cluster')) open.pods = open.pods.union(numbers);
      if (everyone.includes('every IPv4 address')) open.addresses = open.addresses.union(numbers);
      if (everyone.length > 0) opening.add(name);
    }
  }
  const isOpen = open.everyone.union(open.pods.intersect(open.addresses)).isAll;
  return isOpen ? `rules of ${[...opening].join(', ')} open everything` : undefined;
}
