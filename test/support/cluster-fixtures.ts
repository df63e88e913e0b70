import type { Cluster, Workload } from '../../src/analysis/cluster.ts';
import { readModel, type Model } from '../../src/analysis/model.ts';
import type { NetworkPolicy, NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import type { Labels } from '../../src/policy/selector.ts';
import { frozen } from './fixtures.ts';

/** A workload from `namespace/name`; a Pod with the label `app: <name>`, where nothing else is said. */
export function workload(id: string, more: Partial<Workload> = {}): Workload {
  const [namespace = '', name = ''] = id.split('/');
  return { namespace, name, kind: 'Pod', labels: { app: name }, ports: [], hostNetwork: false, ...more };
}

/** A NetworkPolicy from `namespace/name` and a spec, which may be wire JSON with null where types say absent. */
export function networkPolicy(id: string, spec: NetworkPolicySpec | string): NetworkPolicy {
  const [namespace = '', name = ''] = id.split('/');
  return {
    metadata: { namespace, name },
    spec: typeof spec === 'string' ? (JSON.parse(spec) as NetworkPolicySpec) : spec,
  };
}

/** What readModel makes of a cluster, of which the parts that are not given are empty. */
export function modelOf(
  parts: Partial<Omit<Cluster, 'namespaces'>> & { readonly namespaces?: Readonly<Record<string, Labels>> },
): Model {
  const namespaces = new Map(Object.entries(parts.namespaces ?? {}));
  return readModel(frozen({ workloads: [], policies: [], ...parts, namespaces }));
}
