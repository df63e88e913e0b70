import { compareText } from '../../analysis/cluster.ts';
import { PolicyError, readPolicy } from '../../analysis/policy.ts';
import type { BaselinePolicy } from '../../api/baselinepolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../../api/names.ts';
import type { NetworkPolicy } from '../../api/networkpolicy.ts';
import { serializeChild } from '../../policy/child.ts';
import { compilePolicy, type DesiredSet } from '../../policy/desired.ts';
import type { DiscoveredAddresses } from '../../policy/discovery.ts';
import { selectsNamespace, type SelectableNamespace } from '../../policy/select.ts';
import type { Labels } from '../../policy/selector.ts';
import type { ObjectSet, Service } from './objects.ts';

/** Stands for the UID of a policy that is in a file only. */
export const FILE_UID = 'file';

/** What a BaselinePolicy wants in a namespace that it selects. */
export interface Wanted {
  readonly policy: BaselinePolicy;
  readonly namespace: SelectableNamespace;
  readonly desired: DesiredSet;
}

/** All that BaselinePolicies want. */
export interface WantedChildren {
  /** By policy, then by namespace. */
  readonly wanted: readonly Wanted[];
  /** What the operator would refuse: the policies cannot be used as they are. */
  readonly problems: readonly string[];
  /** What the operator would say in its status, and what an input without a cluster lacks. */
  readonly warnings: readonly string[];
}

/** What BaselinePolicies want in the namespaces given. */
export function wantedChildren(
  policies: readonly BaselinePolicy[],
  namespaces: ReadonlyMap<string, Labels>,
  discovered: DiscoveredAddresses,
  protectedNamespaces: readonly string[],
): WantedChildren {
  const isProtected = new Set(protectedNamespaces);
  const sorted = [...namespaces].sort(([a], [b]) => compareText(a, b));
  const wanted: Wanted[] = [];
  const problems = new Set<string>();
  const warnings = new Set<string>();
  for (const policy of [...policies].sort((a, b) => compareText(a.metadata.name, b.metadata.name))) {
    const { name } = policy.metadata;
    const uid = policy.metadata.uid ?? FILE_UID;
    const compiled = compilePolicy({ ...policy, metadata: { ...policy.metadata, uid } }, discovered);
    const selected = sorted
      .map(([namespace, labels]) => ({ name: namespace, labels: { ...labels, [LABEL_NAMESPACE_NAME]: namespace } }))
      .filter((namespace) => selectsNamespace(policy.spec, namespace, isProtected));
    if (selected.length === 0) warnings.add(`BaselinePolicy ${name} selects none of the namespaces given`);
    for (const namespace of selected) {
      const desired = compiled.desiredIn(namespace);
      wanted.push({ policy, namespace, desired });
      for (const { reason, message } of desired.withheld) {
        (reason === 'InvalidSpec' ? problems : warnings).add(`BaselinePolicy ${name}: ${message}`);
      }
      for (const { rule, message } of desired.unresolved) {
        warnings.add(`BaselinePolicy ${name}: namespace ${namespace.name} gets no ${rule}: ${message}`);
      }
      for (const { template } of desired.children.values()) {
        try {
          readPolicy({ metadata: { ...template.metadata, namespace: namespace.name }, spec: template.spec });
        } catch (error) {
          if (!(error instanceof PolicyError)) throw error;
          problems.add(`BaselinePolicy ${name}: its ${error.message}`);
        }
      }
    }
  }
  return { wanted, problems: [...problems], warnings: [...warnings] };
}

/**
 * The NetworkPolicies that a BaselinePolicy wants in a namespace, allows first, as they are on the wire. Without a UID,
 * as in a file, it cannot be their owner yet.
 */
export function childrenOf({ policy, namespace, desired }: Wanted): NetworkPolicy[] {
  return [...desired.children.values()].map(({ template }) => {
    const child = JSON.parse(serializeChild(template, namespace.name)) as NetworkPolicy;
    if (policy.metadata.uid === undefined) delete child.metadata.ownerReferences;
    return child;
  });
}

/** The addresses that rules take from the cluster, as far as the objects tell them. */
export function discoveredAddresses(set: ObjectSet): DiscoveredAddresses {
  return {
    kubeDNSClusterIPs: clusterIPsOf(set.services, 'kube-system', 'kube-dns'),
    apiServerClusterIPs: clusterIPsOf(set.services, 'default', 'kubernetes'),
    apiServerEndpoints: set.apiServerSlices.flatMap(({ endpoints, ports }) => {
      const addresses = (endpoints ?? [])
        .filter(({ conditions }) => conditions?.ready !== false)
        .flatMap((one) => one.addresses);
      const known = (ports ?? []).flatMap(({ protocol = 'TCP', port }) =>
        port === undefined ? [] : [{ protocol, port }],
      );
      return addresses.length === 0 || known.length === 0 ? [] : [{ addresses, ports: known }];
    }),
  };
}

function clusterIPsOf(services: readonly Service[], namespace: string, name: string): string[] {
  const service = services.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
  return serviceAddresses(service?.spec ?? {});
}

/** The addresses of a Service; none for a headless one. */
export function serviceAddresses({ clusterIP, clusterIPs }: NonNullable<Service['spec']>): string[] {
  const list = clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP]);
  return list.filter((ip) => ip !== 'None' && ip !== '');
}
