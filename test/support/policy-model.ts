import type { BaselinePolicy, BaselinePolicySpec, BaselineRules } from '../../src/api/baselinepolicy.ts';
import type { NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { compilePolicy } from '../../src/policy/desired.ts';
import type { DiscoveredAddresses } from '../../src/policy/discovery.ts';
import { asStored } from './fixtures.ts';

const DENY = 'default-deny';

/** Name of the child of each rule, and whether the rule is on when nothing is said of it. */
const RULES: Readonly<Record<keyof BaselineRules, readonly [child: string, byDefault: boolean]>> = {
  defaultDeny: [DENY, true],
  allowDNS: ['allow-dns', true],
  allowMonitoring: ['allow-monitoring', true],
  allowSameNamespace: ['allow-same-namespace', false],
  allowKubeAPIServer: ['allow-kube-apiserver', false],
  allowIngressController: ['allow-ingress-controller', false],
  allowExternalEgress: ['allow-external-egress', false],
};

const MONITORING = [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }];

/** What a NetworkPolicy must be like; a field that is absent may have any value. */
export interface ExpectedChild {
  /** Whether the BaselinePolicy that its name begins with is its owner. */
  readonly owned: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  /** Null: there must be none. */
  readonly description?: string | null;
  readonly spec?: NetworkPolicySpec;
}

/** What the status of a BaselinePolicy must say; `audit` has no `update`, as the model knows names only. */
export interface ExpectedStatus {
  readonly ready: 'True' | 'False';
  readonly selected: number;
  readonly failed: number;
  /** Undefined in Audit mode, where it depends on what children say. */
  readonly compliant: number | undefined;
  readonly desired: number;
  readonly current: number;
  readonly audit: { readonly create: number; readonly delete: number } | undefined;
}

/**
 * What a cluster must come to after changes of BaselinePolicies and namespaces, by the simplest account of the rules
 * that there is: it knows names of children and who owns them, and shares no code with the operator but for the specs of
 * three rules, see {@link PolicyModel.expected}. Its selectors are of matchLabels only.
 *
 * Changes of `policies` and `namespaces` are taken in by {@link settle}; in between the children are the old ones.
 */
export class PolicyModel {
  /** Labels of the namespaces that policies can select. */
  readonly namespaces: ReadonlyMap<string, Map<string, string>>;
  /** The last valid spec of each BaselinePolicy that exists. */
  readonly policies = new Map<string, BaselinePolicySpec>();
  /** How often a test has tampered with a child of a namespace. */
  readonly tampered = new Map<string, number>();
  readonly #children: ReadonlyMap<string, Map<string, 'owned' | 'foreign'>>;
  readonly #addresses: DiscoveredAddresses;

  /** @param addresses what the cluster tells of its own addresses */
  constructor(namespaces: readonly string[], addresses: DiscoveredAddresses) {
    this.namespaces = new Map(namespaces.map((name) => [name, new Map([['kubernetes.io/metadata.name', name]])]));
    this.#children = new Map(namespaces.map((name) => [name, new Map()]));
    this.#addresses = addresses;
  }

  /** Whether somebody else's object has a name that begins like that of a child. */
  get hasForeign(): boolean {
    return [...this.#children.values()].some((children) => [...children.values()].includes('foreign'));
  }

  /** Names of a policy's own children in a namespace, sorted. */
  owned(namespace: string, policy: string): string[] {
    return this.#names(namespace, policy, 'owned');
  }

  /** Names of somebody else's objects in a namespace, sorted. */
  foreign(namespace: string): string[] {
    return [...this.#of(namespace)].filter(([, owner]) => owner === 'foreign').map(([name]) => name);
  }

  /** Whether any object of that name is in a namespace. */
  has(namespace: string, name: string): boolean {
    return this.#of(namespace).has(name);
  }

  /** Takes in that a test has made an object: a child of its policy, or somebody else's. */
  put(namespace: string, name: string, owner: 'owned' | 'foreign'): void {
    this.#of(namespace).set(name, owner);
  }

  /** Takes in that a test has deleted an object. */
  delete(namespace: string, name: string): void {
    this.#of(namespace).delete(name);
  }

  /** Takes in that a policy is gone: its children go with it, or stay and are nobody's. */
  removePolicy(policy: string): void {
    const orphan = this.policies.get(policy)?.deletionPolicy === 'Orphan';
    for (const [namespace, children] of this.#children) {
      for (const name of this.owned(namespace, policy)) {
        if (orphan) children.set(name, 'foreign');
        else children.delete(name);
      }
    }
    this.policies.delete(policy);
  }

  /** Does at once what an operator must come to. */
  settle(): void {
    for (const [policy, { mode }] of this.policies) {
      if (mode === 'Audit') continue;
      for (const [namespace, children] of this.#children) {
        const wanted = this.#wanted(policy, namespace).children;
        const closable = this.#conflicts(policy, namespace).filter((name) => !name.endsWith(`.${DENY}`)).length === 0;
        for (const name of wanted.keys()) {
          // Nothing is closed as long as something that it needs to allow cannot be made.
          if (!children.has(name) && (closable || name !== `${policy}.${DENY}`)) children.set(name, 'owned');
        }
        for (const name of this.owned(namespace, policy)) if (!wanted.has(name)) children.delete(name);
      }
    }
  }

  /**
   * All NetworkPolicies that must be there, by namespace and name. What Audit mode leaves as it is may say anything, and
   * so may a default-deny that is not changed because somebody else has the name of an allow.
   *
   * The specs are put down here once more, but for those with ranges of addresses (allow-dns, allow-kube-apiserver,
   * allow-external-egress), which would be the same table twice: unit tests state it.
   */
  expected(): Record<string, Record<string, ExpectedChild>> {
    const expected: Record<string, Record<string, ExpectedChild>> = {};
    for (const [namespace, children] of this.#children) {
      expected[namespace] = {};
      for (const [name, owner] of children) expected[namespace][name] = { owned: owner === 'owned' };
      for (const [policy, { mode, description = '' }] of this.policies) {
        if (mode === 'Audit') continue;
        const conflicts = this.#conflicts(policy, namespace);
        for (const [name, spec] of this.#wanted(policy, namespace).children) {
          const rule = name.slice(policy.length + 1);
          if (children.get(name) !== 'owned' || (rule === DENY && conflicts.length > 0)) continue;
          expected[namespace][name] = {
            owned: true,
            labels: {
              'app.kubernetes.io/managed-by': 'baseline-policy-operator',
              'baselinepolicy.dev/policy': policy,
              'baselinepolicy.dev/rule': rule,
            },
            description: description === '' ? null : description,
            spec: spec(),
          };
        }
      }
    }
    return expected;
  }

  /** What the status of a policy must say once all is settled. */
  status(policy: string): ExpectedStatus {
    const { mode } = this.#spec(policy);
    const sums = { selected: 0, failed: 0, desired: 0, current: 0, create: 0, delete: 0 };
    for (const namespace of this.namespaces.keys()) {
      const { children, unresolved } = this.#wanted(policy, namespace);
      const owned = this.owned(namespace, policy);
      sums.current += owned.length;
      sums.delete += owned.filter((name) => !children.has(name)).length;
      if (!this.selects(policy, namespace)) continue;
      sums.selected++;
      sums.desired += children.size;
      if (unresolved > 0 || this.#conflicts(policy, namespace).length > 0) sums.failed++;
      sums.create += [...children.keys()].filter((name) => !this.has(namespace, name)).length;
    }
    const { selected, failed, desired, current } = sums;
    const isAudit = mode === 'Audit';
    return {
      ready: failed === 0 ? 'True' : 'False',
      selected,
      failed,
      compliant: isAudit ? undefined : selected - failed,
      desired,
      current,
      audit: isAudit ? { create: sums.create, delete: sums.delete } : undefined,
    };
  }

  /** Whether a policy selects a namespace. */
  selects(policy: string, namespace: string): boolean {
    const { namespaceSelector, excludedNamespaces = [] } = this.#spec(policy);
    const { matchLabels = {} } = namespaceSelector ?? { matchLabels: { 'baselinepolicy.dev/enforce': 'true' } };
    const labels = this.namespaces.get(namespace);
    const matches = Object.entries(matchLabels).every(([key, value]) => labels?.get(key) === value);
    return matches && !excludedNamespaces.includes(namespace);
  }

  /** Specs of the children that a policy wants in a namespace, by name, and how many cannot be made there. */
  #wanted(policy: string, namespace: string): { children: Map<string, () => NetworkPolicySpec>; unresolved: number } {
    const children = new Map<string, () => NetworkPolicySpec>();
    let unresolved = 0;
    if (!this.selects(policy, namespace)) return { children, unresolved };
    const spec = this.#spec(policy);
    for (const [rule, [child, byDefault]] of Object.entries(RULES) as [keyof BaselineRules, [string, boolean]][]) {
      const enabled = spec.rules?.[rule]?.enabled ?? byDefault;
      if (enabled) children.set(`${policy}.${child}`, () => this.#ruleSpec(policy, child));
    }
    for (const additional of spec.additionalPolicies ?? []) {
      const text = expand(JSON.stringify(additional.spec), namespace, this.namespaces.get(namespace));
      if (text === undefined) unresolved++;
      else children.set(`${policy}.${additional.name}`, () => asStored(JSON.parse(text) as NetworkPolicySpec));
    }
    return { children, unresolved };
  }

  #ruleSpec(policy: string, child: string): NetworkPolicySpec {
    const { rules = {} } = this.#spec(policy);
    switch (child) {
      case DENY:
        return { podSelector: {}, policyTypes: rules.defaultDeny?.policyTypes ?? ['Ingress', 'Egress'] };
      case 'allow-monitoring': {
        const { from = MONITORING, ports = [] } = rules.allowMonitoring ?? {};
        return asStored({ podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from, ports }] });
      }
      case 'allow-same-namespace': {
        const pods = [{ podSelector: {} }];
        return {
          podSelector: {},
          policyTypes: ['Ingress', 'Egress'],
          ingress: [{ from: pods }],
          egress: [{ to: pods }],
        };
      }
      case 'allow-ingress-controller': {
        const { from = [], ports = [] } = rules.allowIngressController ?? {};
        return asStored({ podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from, ports }] });
      }
      default:
        return this.#golden(policy, child);
    }
  }

  /** What the operator's own code says. */
  #golden(policy: string, child: string): NetworkPolicySpec {
    const object: BaselinePolicy = { metadata: { name: policy, uid: 'any' }, spec: this.#spec(policy) };
    const { children } = compilePolicy(object, this.#addresses).desiredIn({ name: 'any', labels: {} });
    return JSON.parse(children.get(`${policy}.${child}`)?.spec ?? '{}') as NetworkPolicySpec;
  }

  /** Names that a policy wants in a namespace and somebody else has. */
  #conflicts(policy: string, namespace: string): string[] {
    const { children } = this.#wanted(policy, namespace);
    return this.#names(namespace, policy, 'foreign').filter((name) => children.has(name));
  }

  #names(namespace: string, policy: string, wanted: 'owned' | 'foreign'): string[] {
    return [...this.#of(namespace)]
      .filter(([name, owner]) => owner === wanted && name.startsWith(`${policy}.`))
      .map(([name]) => name)
      .sort();
  }

  #of(namespace: string): Map<string, 'owned' | 'foreign'> {
    const children = this.#children.get(namespace);
    if (children === undefined)
      throw new Error(`Expected one of ${[...this.#children.keys()].join(', ')}, got ${namespace}`);
    return children;
  }

  #spec(policy: string): BaselinePolicySpec {
    const spec = this.policies.get(policy);
    if (spec === undefined) throw new Error(`Expected a BaselinePolicy that exists, got ${policy}`);
    return spec;
  }
}

/** The text of a spec for a namespace; undefined when a label that it needs is not there. */
function expand(text: string, namespace: string, labels: ReadonlyMap<string, string> | undefined): string | undefined {
  const keys = [...text.matchAll(/\$\(namespace\.labels\['([^']+)'\]\)/g)].map(([, key = '']) => key);
  if (keys.some((key) => labels?.get(key) === undefined)) return undefined;
  return keys
    .reduce((left, key) => left.replaceAll(`$(namespace.labels['${key}'])`, labels?.get(key) ?? ''), text)
    .replaceAll('$(namespace.name)', namespace);
}
