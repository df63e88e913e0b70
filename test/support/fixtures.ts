import {
  API_VERSION,
  KIND,
  type BaselinePolicy,
  type BaselinePolicySpec,
  type BaselinePolicyStatus,
} from '../../src/api/baselinepolicy.ts';
import type { OwnerReference } from '../../src/api/metadata.ts';
import type { NetworkPolicy, NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { serializeChild } from '../../src/policy/child.ts';
import { compilePolicy, type DesiredChild, type DesiredSet } from '../../src/policy/desired.ts';
import { NO_ADDRESSES, type DiscoveredAddresses } from '../../src/policy/discovery.ts';
import { trimNetworkPolicy, type LiveNetworkPolicy } from '../../src/policy/live.ts';
import type { SelectableNamespace } from '../../src/policy/select.ts';
import type { Labels } from '../../src/policy/selector.ts';

/** The value and all that is in it, frozen: a pure function that changes what it is given then throws. */
export function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) frozen<unknown>(item);
    Object.freeze(value);
  }
  return value;
}

/** A BaselinePolicy of generation 1 with `spec: {}`, and the UID `uid-of-<name>`. */
export function policy(name: string): PolicyBuilder {
  return new PolicyBuilder({
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: { name, uid: `uid-of-${name}`, generation: 1 },
    spec: {},
  });
}

/** Makes a BaselinePolicy. Every method returns another builder. */
export class PolicyBuilder {
  readonly #policy: BaselinePolicy;

  constructor(start: BaselinePolicy) {
    this.#policy = start;
  }

  /** Sets fields of the spec. */
  with(spec: BaselinePolicySpec): PolicyBuilder {
    return new PolicyBuilder({ ...this.#policy, spec: { ...this.#policy.spec, ...spec } });
  }

  /** Sets fields of the metadata. */
  withMetadata(metadata: Partial<BaselinePolicy['metadata']>): PolicyBuilder {
    return new PolicyBuilder({ ...this.#policy, metadata: { ...this.#policy.metadata, ...metadata } });
  }

  /** Sets the status that the API server has. */
  withStatus(status: BaselinePolicyStatus): PolicyBuilder {
    return new PolicyBuilder({ ...this.#policy, status });
  }

  /** Marks it as being deleted. */
  beingDeleted(): PolicyBuilder {
    return this.withMetadata({ deletionTimestamp: '2026-01-01T00:00:00Z' });
  }

  /** The object, frozen. */
  build(): BaselinePolicy {
    return frozen(structuredClone(this.#policy));
  }

  /** What it wants in a namespace. */
  desiredIn(where: SelectableNamespace | NamespaceBuilder, addresses: DiscoveredAddresses = NO_ADDRESSES): DesiredSet {
    const target = where instanceof NamespaceBuilder ? where.build() : where;
    return compilePolicy(this.build(), addresses).desiredIn(target);
  }
}

/** A namespace without labels. */
export function namespace(name: string): NamespaceBuilder {
  return new NamespaceBuilder({ name, labels: {} });
}

/** Makes a namespace as selection sees it. Every method returns another builder. */
export class NamespaceBuilder {
  readonly #namespace: SelectableNamespace;

  constructor(start: SelectableNamespace) {
    this.#namespace = start;
  }

  /** Adds labels. */
  labelled(labels: Labels): NamespaceBuilder {
    return new NamespaceBuilder({ ...this.#namespace, labels: { ...this.#namespace.labels, ...labels } });
  }

  /** The namespace, frozen. */
  build(): SelectableNamespace {
    return frozen(this.#namespace);
  }
}

/** The child of that rule; throws when the set has none. */
export function childOf(desired: DesiredSet, rule: string): DesiredChild {
  const found = [...desired.children.values()].find((child) => child.rule === rule);
  if (found === undefined)
    throw new Error(`expected a child of rule ${rule}, found ${[...desired.children.keys()].join(', ')}`);
  return found;
}

/** A child as the operator created it in the namespace `shop`, with the UID `uid-of-<name>` and resourceVersion 1. */
export function live(child: DesiredChild): LiveBuilder {
  const wire = JSON.parse(serializeChild(child.template, 'shop')) as NetworkPolicy;
  const { metadata } = wire;
  return new LiveBuilder({ ...wire, metadata: { ...metadata, uid: `uid-of-${metadata.name}`, resourceVersion: '1' } });
}

/** A NetworkPolicy of somebody else in the namespace `shop`, that allows everyone. */
export function foreign(name: string): LiveBuilder {
  return new LiveBuilder({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: 'shop', uid: `uid-of-foreign-${name}`, resourceVersion: '1' },
    spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] },
  });
}

/** Makes a live NetworkPolicy. Every method is one write of somebody, and returns another builder. */
export class LiveBuilder {
  readonly #object: NetworkPolicy;
  /** What the cache kept of it before the last write. */
  readonly #previous: LiveNetworkPolicy | undefined;

  constructor(object: NetworkPolicy, previous?: LiveNetworkPolicy) {
    this.#object = object;
    this.#previous = previous;
  }

  /** Sets fields of the metadata. */
  withMetadata(metadata: Partial<NetworkPolicy['metadata']>): LiveBuilder {
    const object = { ...this.#object, metadata: { ...this.#object.metadata, ...metadata } };
    return new LiveBuilder(object, this.#trim());
  }

  /** Replaces the spec. */
  withSpec(spec: NetworkPolicySpec): LiveBuilder {
    return new LiveBuilder({ ...this.#object, spec }, this.#trim());
  }

  /** Adds labels. */
  labelled(labels: Labels): LiveBuilder {
    return this.withMetadata({ labels: { ...this.#object.metadata.labels, ...labels } });
  }

  /** Adds annotations. */
  annotated(annotations: Labels): LiveBuilder {
    return this.withMetadata({ annotations: { ...this.#object.metadata.annotations, ...annotations } });
  }

  /** Replaces the owners. */
  ownedBy(...ownerReferences: OwnerReference[]): LiveBuilder {
    return this.withMetadata({ ownerReferences });
  }

  /** Removes all labels. */
  withoutLabels(): LiveBuilder {
    return this.withMetadata({ labels: {} });
  }

  /** Marks it as being deleted, while a finalizer keeps it. */
  beingDeleted(): LiveBuilder {
    return this.withMetadata({ deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['example.com/keep'] });
  }

  /** The object as it is on the wire, frozen. */
  wire(): NetworkPolicy {
    return frozen(structuredClone(this.#object));
  }

  /** What the cache keeps of it. Throws when the cache keeps nothing. */
  build(): LiveNetworkPolicy {
    const trimmed = this.#trim();
    if (trimmed === undefined) throw new Error(`expected the cache to keep ${this.#object.metadata.name}`);
    return trimmed;
  }

  #trim(): LiveNetworkPolicy | undefined {
    return trimNetworkPolicy(this.#object, this.#previous, (text) => text);
  }
}

/** An ownerReference to something that is not a BaselinePolicy. */
export function otherOwner(controller: boolean): OwnerReference {
  return { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', uid: 'uid-of-web', controller };
}

/** Live objects by name, as a diff takes them. */
export function liveByName(...objects: readonly LiveBuilder[]): Map<string, LiveNetworkPolicy> {
  return new Map(objects.map((object) => object.build()).map((object) => [object.name, object]));
}

/**
 * The spec as the API server gives it back: nulls, empty lists and empty maps are gone (`omitempty`), protocols and
 * policyTypes have their defaults (pkg/apis/networking/v1/defaults.go), and the keys are in the order of the Go types.
 * Written apart from the code under test, to measure it by.
 */
export function asStored(spec: NetworkPolicySpec): NetworkPolicySpec {
  const { podSelector = {}, ingress, egress, policyTypes = [] } = withoutEmpty(spec) as NetworkPolicySpec;
  const hasEgress = egress !== undefined;
  return {
    podSelector,
    ...(ingress !== undefined && { ingress: ingress.map(withProtocols) }),
    ...(egress !== undefined && { egress: egress.map(withProtocols) }),
    policyTypes: policyTypes.length > 0 ? policyTypes : hasEgress ? ['Ingress', 'Egress'] : ['Ingress'],
  };
}

/** Without nulls, empty lists and empty maps of labels. Empty selectors and rules stay: they mean everything. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== 'object' || value === null) return value;
  const isEmpty = (key: string, item: unknown): boolean =>
    item === null ||
    item === undefined ||
    (Array.isArray(item) && item.length === 0) ||
    (key === 'matchLabels' && Object.keys(item).length === 0);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => !isEmpty(key, item))
      .map(([key, item]) => [key, withoutEmpty(item)]),
  );
}

function withProtocols<T extends { ports?: NonNullable<NetworkPolicySpec['ingress']>[number]['ports'] }>(rule: T): T {
  if (rule.ports === undefined) return rule;
  return { ...rule, ports: rule.ports.map((port) => ({ ...port, protocol: port.protocol ?? 'TCP' })) };
}
