import { BENCH_LABEL, type WireObject } from './cluster.ts';

/** Path of Kyverno's GeneratingPolicies. */
export const GENERATING_POLICIES = '/apis/policies.kyverno.io/v1/generatingpolicies';

/** A NetworkPolicy that each namespace gets. */
export interface GeneratedChild {
  readonly name: string;
  readonly spec: object;
}

/**
 * Kyverno's policy that keeps these NetworkPolicies in every namespace that a BaselinePolicy of its name would select:
 * in those that exist, in new ones, and after changes of the policy or of what it made.
 */
export function generatingPolicy(name: string, children: readonly GeneratedChild[]): WireObject {
  const resources = children.map(({ name, spec }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name },
    spec,
  }));
  return {
    apiVersion: 'policies.kyverno.io/v1',
    kind: 'GeneratingPolicy',
    metadata: { name },
    spec: {
      evaluation: { synchronize: { enabled: true }, generateExisting: { enabled: true } },
      matchConstraints: {
        resourceRules: [
          { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['namespaces'] },
        ],
        objectSelector: { matchLabels: { [BENCH_LABEL]: name } },
      },
      variables: [{ name: 'networkPolicies', expression: `[${resources.map(celMap).join(', ')}]` }],
      generate: [{ expression: 'generator.apply(object.metadata.name, variables.networkPolicies)' }],
    },
  };
}

/** A map literal of CEL, whose values may be of any types. */
function celMap(value: object): string {
  const entries = Object.entries(value).map(([key, field]) => `${JSON.stringify(key)}: ${celDynamic(field)}`);
  return `{${entries.join(', ')}}`;
}

/** A JSON value as CEL; `dyn` lets a list or a map have values of more than one type. */
function celDynamic(value: unknown): string {
  if (Array.isArray(value)) return `dyn([${value.map(celDynamic).join(', ')}])`;
  return `dyn(${typeof value === 'object' && value !== null ? celMap(value) : JSON.stringify(value)})`;
}
