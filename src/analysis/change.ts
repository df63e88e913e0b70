import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../api/networkpolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../api/names.ts';
import { normalizeSpec } from '../policy/normalize.ts';
import { policyNamespace, workloadName, type Cluster, type Workload } from './cluster.ts';
import type { Direction } from './policy.ts';

/** A label that people take for the name of a namespace. */
export const LABEL_NAME = 'name';

/** Labels to set and to take away. */
export interface LabelChange {
  readonly set: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
}

/** A change of a cluster, for machines and, in `message`, as a sentence for people. */
export type Change = { readonly message: string } & (
  | ({ readonly kind: 'LabelPods'; readonly workload: Workload } & LabelChange)
  | ({ readonly kind: 'LabelNamespace'; readonly namespace: string } & LabelChange)
  | {
      /** A policy means a namespace by its name, but asks for a label `name`. */
      readonly kind: 'SelectByName';
      readonly policy: string;
      /** Field of the peer, such as `spec.egress[0].to[0]`. */
      readonly path: string;
      readonly namespace: string;
    }
  | {
      readonly kind: 'AddPorts';
      readonly policy: string;
      /** Field of the rule, such as `spec.ingress[0]`. */
      readonly path: string;
      readonly ports: readonly NetworkPolicyPort[];
    }
  | {
      readonly kind: 'AddRule';
      readonly policy: string;
      readonly direction: Direction;
      /** Other end of the new rule. */
      readonly peers: readonly NetworkPolicyPeer[];
      /** Empty: all ports. */
      readonly ports: readonly NetworkPolicyPort[];
    }
  | { readonly kind: 'RemoveRules'; readonly policy: string; readonly paths: readonly string[] }
  | { readonly kind: 'AddPolicy'; readonly policy: NetworkPolicy }
);

/** The cluster after changes. What they name must be there; the cluster that is given stays as it is. */
export function applyChanges(cluster: Cluster, changes: readonly Change[]): Cluster {
  return changes.reduce(applyChange, cluster);
}

function applyChange(cluster: Cluster, change: Change): Cluster {
  switch (change.kind) {
    case 'LabelPods': {
      const name = workloadName(change.workload);
      const workloads = cluster.workloads.map((workload) =>
        workloadName(workload) === name ? { ...workload, labels: relabel(workload.labels, change) } : workload,
      );
      return { ...cluster, workloads };
    }
    case 'LabelNamespace': {
      const labels = relabel(cluster.namespaces.get(change.namespace) ?? {}, change);
      return { ...cluster, namespaces: new Map(cluster.namespaces).set(change.namespace, labels) };
    }
    case 'SelectByName':
      return withSpec(cluster, change.policy, (spec) => {
        const select = (peers: readonly NetworkPolicyPeer[], path: string): NetworkPolicyPeer[] =>
          peers.map((peer, index) =>
            `${path}[${index}]` === change.path
              ? { ...peer, namespaceSelector: selectByName(peer.namespaceSelector, change.namespace) }
              : peer,
          );
        return {
          ...spec,
          ...(spec.ingress && {
            ingress: spec.ingress.map((rule, index) =>
              rule.from ? { ...rule, from: select(rule.from, `spec.ingress[${index}].from`) } : rule,
            ),
          }),
          ...(spec.egress && {
            egress: spec.egress.map((rule, index) =>
              rule.to ? { ...rule, to: select(rule.to, `spec.egress[${index}].to`) } : rule,
            ),
          }),
        };
      });
    case 'AddPorts':
      return withSpec(cluster, change.policy, (spec) => {
        const add =
          <T extends { ports?: NetworkPolicyPort[] }>(field: string) =>
          (rule: T, index: number): T =>
            change.path === `spec.${field}[${index}]`
              ? { ...rule, ports: [...(rule.ports ?? []), ...change.ports] }
              : rule;
        return {
          ...spec,
          ...(spec.ingress && { ingress: spec.ingress.map(add('ingress')) }),
          ...(spec.egress && { egress: spec.egress.map(add('egress')) }),
        };
      });
    case 'AddRule':
      return withSpec(cluster, change.policy, (spec) => {
        const [peers, ports] = [[...change.peers], [...change.ports]];
        return change.direction === 'Ingress'
          ? { ...spec, ingress: [...(spec.ingress ?? []), { from: peers, ports }] }
          : { ...spec, egress: [...(spec.egress ?? []), { to: peers, ports }] };
      });
    case 'RemoveRules':
      return withSpec(cluster, change.policy, (spec) => ({
        ...spec,
        ...(spec.ingress && { ingress: spec.ingress.filter((_, at) => !change.paths.includes(`spec.ingress[${at}]`)) }),
        ...(spec.egress && { egress: spec.egress.filter((_, at) => !change.paths.includes(`spec.egress[${at}]`)) }),
      }));
    case 'AddPolicy':
      return { ...cluster, policies: [...cluster.policies, change.policy] };
  }
}

function relabel(labels: Readonly<Record<string, string>>, { set, remove }: LabelChange): Record<string, string> {
  const kept = Object.entries(labels).filter(([key]) => !remove.includes(key));
  return { ...Object.fromEntries(kept), ...set };
}

/** A selector with the label that the API server sets in place of the label `name`. */
function selectByName(selector: LabelSelector = {}, namespace: string): LabelSelector {
  const labels = Object.entries(selector.matchLabels ?? {}).filter(([key]) => key !== LABEL_NAME);
  const matchExpressions = (selector.matchExpressions ?? []).filter(({ key }) => key !== LABEL_NAME);
  return {
    matchLabels: { ...Object.fromEntries(labels), [LABEL_NAMESPACE_NAME]: namespace },
    ...(matchExpressions.length > 0 && { matchExpressions }),
  };
}

/** Changes the spec of one policy; its defaults are written out first, so that policyTypes do not change with rules. */
function withSpec(cluster: Cluster, name: string, change: (spec: NetworkPolicySpec) => NetworkPolicySpec): Cluster {
  const policies = cluster.policies.map((policy) =>
    `${policyNamespace(policy)}/${policy.metadata.name}` === name
      ? { ...policy, spec: change(normalizeSpec(policy.spec ?? {})) }
      : policy,
  );
  return { ...cluster, policies };
}
