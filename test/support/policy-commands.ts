import assert from 'node:assert/strict';
import fc from 'fast-check';
import { API_VERSION, KIND, type BaselinePolicySpec } from '../../src/api/baselinepolicy.ts';
import type { LabelSelector, NetworkPolicy, NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { baselinePolicySpec, labelValue } from './arbitraries.ts';
import { eventually } from './await.ts';
import { INVALID, type InvalidManifest } from './crd-manifests.ts';
import { conditionOf, type Demo } from './demo.ts';
import { StatusError } from './kube.ts';
import type { Oracle } from './oracle.ts';
import type { ExpectedChild, PolicyModel } from './policy-model.ts';

/** How long the cluster may take to become what the model says; milliseconds. */
const SETTLE_TIMEOUT_MS = 60_000;
/** Tampering with one child that is still taken for chance: more than five heals a minute are a fight. */
const MAX_TAMPERINGS = 4;
const OPEN = { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] };

/** Names of the BaselinePolicies of a sequence. */
export const POLICIES = ['seq-a', 'seq-b', 'seq-c'] as const;
/** Names of the namespaces of a sequence that it labels; policies can select `default` too. */
export const NAMESPACES = ['seq-1', 'seq-2', 'seq-3', 'seq-4'] as const;

/** What commands act on. */
export interface World {
  readonly demo: Demo;
  readonly oracle: Oracle;
  /** How often each kind of command did something. */
  readonly counts: Map<string, number>;
}

/** One step of a sequence. It leaves the model as the cluster must become, which takes some time. */
abstract class Command implements fc.AsyncCommand<PolicyModel, World> {
  /** For the counts of the world. */
  abstract readonly kind: string;

  abstract check(model: Readonly<PolicyModel>): boolean;

  async run(model: PolicyModel, world: World): Promise<void> {
    if (!(await this.act(model, world))) return;
    world.counts.set(this.kind, (world.counts.get(this.kind) ?? 0) + 1);
    // What becomes of a name that somebody else has depends on what was there first.
    if (model.hasForeign) await settled(model, world);
  }

  abstract toString(): string;

  /** Does it; false when there was nothing to do. */
  protected abstract act(model: PolicyModel, world: World): Promise<boolean>;
}

/** Creates a BaselinePolicy, or replaces its spec. */
class Apply extends Command {
  readonly kind = 'apply';
  readonly #policy: string;
  readonly #spec: BaselinePolicySpec;

  constructor(policy: string, spec: BaselinePolicySpec) {
    super();
    this.#policy = policy;
    this.#spec = spec;
  }

  check(): boolean {
    return true;
  }

  protected async act(model: PolicyModel, world: World): Promise<boolean> {
    await writeSpec(this.#policy, this.#spec, model, world);
    return true;
  }

  toString(): string {
    return `apply ${this.#policy} ${JSON.stringify(this.#spec)}`;
  }
}

/** Changes some fields of a spec. */
class Change extends Command {
  readonly kind = 'change';
  readonly #policy: string;
  readonly #fields: BaselinePolicySpec;

  constructor(policy: string, fields: BaselinePolicySpec) {
    super();
    this.#policy = policy;
    this.#fields = fields;
  }

  check(model: Readonly<PolicyModel>): boolean {
    return model.policies.has(this.#policy);
  }

  protected async act(model: PolicyModel, world: World): Promise<boolean> {
    await writeSpec(this.#policy, { ...model.policies.get(this.#policy), ...this.#fields }, model, world);
    return true;
  }

  toString(): string {
    return `change ${this.#policy} ${JSON.stringify(this.#fields)}`;
  }
}

/** Tries to write what the API server refuses: nothing may come of it. */
class Refused extends Command {
  readonly kind = 'refused';
  readonly #policy: string;
  readonly #manifest: InvalidManifest;

  constructor(policy: string, manifest: InvalidManifest) {
    super();
    this.#policy = policy;
    this.#manifest = manifest;
  }

  check(): boolean {
    return true;
  }

  protected async act(model: PolicyModel, { demo }: World): Promise<boolean> {
    const { baselinePolicies } = demo.kube;
    const { name = this.#policy, spec } = this.#manifest;
    const before = await baselinePolicies.find(name);
    assert.equal(before !== undefined, model.policies.has(name), `whether ${name} exists`);
    const write =
      before === undefined
        ? baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name }, spec })
        : baselinePolicies.patch(name, [
            spec === undefined ? { op: 'remove', path: '/spec' } : { op: 'add', path: '/spec', value: spec },
          ]);
    await assert.rejects(write, (error) => error instanceof StatusError && error.status === 422, String(this));
    const after = await baselinePolicies.find(name);
    assert.deepEqual(after?.spec, before?.spec, String(this));
    return true;
  }

  toString(): string {
    return `refused ${this.#policy}: ${this.#manifest.title}`;
  }
}

/** Deletes a BaselinePolicy. A default-deny that is left without an owner is removed by a person. */
class Remove extends Command {
  readonly kind = 'remove';
  readonly #policy: string;

  constructor(policy: string) {
    super();
    this.#policy = policy;
  }

  check(model: Readonly<PolicyModel>): boolean {
    return model.policies.has(this.#policy);
  }

  protected async act(model: PolicyModel, world: World): Promise<boolean> {
    const orphan = model.policies.get(this.#policy)?.deletionPolicy === 'Orphan';
    // What stays is what is there.
    if (orphan) await settled(model, world);
    await world.demo.kube.baselinePolicies.delete(this.#policy);
    await eventually(
      async () => {
        assert.equal(await world.demo.kube.baselinePolicies.find(this.#policy), undefined, `${this.#policy} stays`);
      },
      { timeout: SETTLE_TIMEOUT_MS },
    );
    model.removePolicy(this.#policy);
    await settled(model, world);
    for (const namespace of orphan ? model.namespaces.keys() : []) {
      const deny = `${this.#policy}.default-deny`;
      if (model.has(namespace, deny)) await deleteObject(namespace, deny, model, world);
    }
    return true;
  }

  toString(): string {
    return `remove ${this.#policy}`;
  }
}

/** Sets labels of a namespace, or with null removes them. */
class Label extends Command {
  readonly kind = 'label';
  readonly #namespace: string;
  readonly #labels: Readonly<Record<string, string | null>>;

  constructor(namespace: string, labels: Readonly<Record<string, string | null>>) {
    super();
    this.#namespace = namespace;
    this.#labels = labels;
  }

  check(): boolean {
    return true;
  }

  protected async act(model: PolicyModel, { demo }: World): Promise<boolean> {
    await demo.label(this.#namespace, this.#labels);
    const labels = model.namespaces.get(this.#namespace);
    for (const [key, value] of Object.entries(this.#labels)) {
      if (value === null) labels?.delete(key);
      else labels?.set(key, value);
    }
    return true;
  }

  toString(): string {
    return `label ${this.#namespace} ${JSON.stringify(this.#labels)}`;
  }
}

const TAMPERINGS = ['delete', 'change', 'strip', 'release', 'add'] as const;

/** Does to a child of a policy what its tenant should not. */
class Tamper extends Command {
  readonly kind = 'tamper';
  readonly #policy: string;
  readonly #namespace: string;
  readonly #how: (typeof TAMPERINGS)[number];
  readonly #nth: number;

  constructor(policy: string, namespace: string, how: (typeof TAMPERINGS)[number], nth: number) {
    super();
    this.#policy = policy;
    this.#namespace = namespace;
    this.#how = how;
    this.#nth = nth;
  }

  check(model: Readonly<PolicyModel>): boolean {
    return model.policies.has(this.#policy);
  }

  protected async act(model: PolicyModel, world: World): Promise<boolean> {
    await settled(model, world);
    const audit = model.policies.get(this.#policy)?.mode === 'Audit';
    // In Audit mode it would stay without its owner, and nobody would know it again after a restart.
    if (audit && this.#how === 'release') return false;
    const owned = model.owned(this.#namespace, this.#policy);
    const name = this.#how === 'add' ? `${this.#policy}.added-by-tenant` : owned[this.#nth % Math.max(1, owned.length)];
    const child = `${this.#namespace}/${name ?? ''}`;
    const times = model.tampered.get(child) ?? 0;
    if (name === undefined || times >= MAX_TAMPERINGS) return false;
    model.tampered.set(child, times + 1);
    await this.#tamper(name, model, world);
    await settled(model, world);
    return true;
  }

  async #tamper(name: string, model: PolicyModel, world: World): Promise<void> {
    const children = world.demo.kube.networkPolicies(this.#namespace);
    switch (this.#how) {
      case 'delete':
        await deleteObject(this.#namespace, name, model, world);
        break;
      case 'change':
        if (name.endsWith('.default-deny')) {
          await world.oracle.tamper(this.#namespace, name, () => children.merge(name, { spec: { ingress: [{}] } }));
        } else {
          await children.merge(name, { spec: { podSelector: { matchLabels: { tampered: 'true' } } } });
        }
        break;
      case 'strip':
        await children.merge(name, { metadata: { labels: null, annotations: null } });
        break;
      case 'release':
        await children.merge(name, { metadata: { ownerReferences: null } });
        break;
      case 'add': {
        if (model.has(this.#namespace, name)) return;
        const { metadata } = await world.demo.kube.baselinePolicies.get(this.#policy);
        const { uid } = metadata;
        const owner = { apiVersion: API_VERSION, kind: KIND, name: this.#policy, uid, controller: true };
        await children.create({ metadata: { name, ownerReferences: [owner] }, spec: OPEN });
        model.put(this.#namespace, name, 'owned');
      }
    }
  }

  toString(): string {
    return `tamper ${this.#how} ${this.#namespace} ${this.#policy} ${this.#nth}`;
  }
}

/** A tenant takes a name that a child may need, or gives it back. */
class Foreign extends Command {
  readonly kind = 'foreign';
  readonly #policy: string;
  readonly #namespace: string;
  readonly #rule: string;

  constructor(policy: string, namespace: string, rule: string) {
    super();
    this.#policy = policy;
    this.#namespace = namespace;
    this.#rule = rule;
  }

  check(): boolean {
    return true;
  }

  protected async act(model: PolicyModel, world: World): Promise<boolean> {
    await settled(model, world);
    const [taken] = model.foreign(this.#namespace);
    if (taken !== undefined) {
      await deleteObject(this.#namespace, taken, model, world);
      await settled(model, world);
      return true;
    }
    const name = `${this.#policy}.${this.#rule}`;
    if (model.has(this.#namespace, name)) return false;
    await world.demo.kube.networkPolicies(this.#namespace).create({ metadata: { name }, spec: OPEN });
    model.put(this.#namespace, name, 'foreign');
    return true;
  }

  toString(): string {
    return `foreign ${this.#namespace} ${this.#policy}.${this.#rule}`;
  }
}

/** The operator ends, as Kubernetes ends it or by a crash, whatever it is doing, and starts again. */
class Restart extends Command {
  readonly kind = 'restart';
  readonly #crash: boolean;

  constructor(crash: boolean) {
    super();
    this.#crash = crash;
  }

  check(): boolean {
    return true;
  }

  protected async act(_model: PolicyModel, { demo }: World): Promise<boolean> {
    if (this.#crash) {
      await demo.killOperator();
      await demo.startOperator();
    } else {
      await demo.restartOperator();
    }
    return true;
  }

  toString(): string {
    return this.#crash ? 'crash' : 'restart';
  }
}

/** Waits until the cluster is what the model says, and the statuses too. */
class Check extends Command {
  readonly kind = 'check';

  check(): boolean {
    return true;
  }

  protected async act(model: PolicyModel, world: World): Promise<boolean> {
    await checked(model, world);
    return true;
  }

  toString(): string {
    return 'check';
  }
}

const selector: fc.Arbitrary<LabelSelector> = fc.constantFrom<LabelSelector>(
  {},
  { matchLabels: { team: 'blue' } },
  { matchLabels: { team: 'blue' } },
  { matchLabels: { team: 'web', app: 'db' } },
  { matchLabels: { 'baselinepolicy.dev/enforce': 'true' } },
  { matchLabels: { 'kubernetes.io/metadata.name': NAMESPACES[0] } },
  { matchLabels: { nobody: 'has-this' } },
);

const excludedNamespaces = fc.subarray<string>([...NAMESPACES, 'default'], { maxLength: 2 });

/** A spec as the API server takes it, of namespaces that are there; now and then with a variable that none can fill. */
const validSpec: fc.Arbitrary<BaselinePolicySpec> = fc
  .record({
    spec: baselinePolicySpec.filter(hasDNSServers),
    namespaceSelector: fc.option(selector, { freq: 6 }),
    excludedNamespaces: fc.option(excludedNamespaces, { freq: 2 }),
    unresolvable: fc.integer({ min: 1, max: 8 }).map((number) => number === 1),
  })
  .map(({ spec: { namespaceSelector: _any, ...spec }, unresolvable, ...where }) => ({
    ...spec,
    ...present(where),
    additionalPolicies: [
      ...(spec.additionalPolicies ?? []).map(({ name, spec: policy }) => ({ name, spec: withFittingTypes(policy) })),
      ...(unresolvable ? [UNRESOLVABLE] : []),
    ],
  }));

const UNRESOLVABLE = {
  name: 'nowhere',
  spec: { podSelector: { matchLabels: { app: "$(namespace.labels['nobody'])" } } },
};

const someFields: fc.Arbitrary<BaselinePolicySpec> = fc.oneof(
  fc.record({ mode: fc.constantFrom('Enforce' as const, 'Audit' as const) }),
  fc.record({ mode: fc.constant('Enforce' as const) }),
  fc.record({ deletionPolicy: fc.constantFrom('Delete' as const, 'Orphan' as const) }),
  fc.record({ excludedNamespaces }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ description: fc.constantFrom('', 'one', 'another') }),
);

const labels: fc.Arbitrary<Record<string, string | null>> = fc.oneof(
  fc.record({ team: fc.constantFrom('blue', 'blue', 'web', null) }),
  fc.record({ team: fc.constant('web'), app: fc.constant('db') }),
  fc.record({ 'baselinepolicy.dev/enforce': fc.constantFrom('true', 'false', null) }),
  fc.dictionary(fc.constantFrom('app', 'example.com/tier', 'constructor', 'toString'), fc.option(labelValue), {
    maxKeys: 2,
    noNullPrototype: true,
  }),
);

const policy = fc.constantFrom(...POLICIES);
const namespace = fc.constantFrom(...NAMESPACES);
/** The misspelt field is not refused but dropped, unless the client asks the API server to be strict. */
const refused = fc.constantFrom(...INVALID.filter(({ field }) => field !== ''));

const apply = fc.tuple(policy, validSpec).map(([name, spec]) => new Apply(name, spec));
const change = fc.tuple(policy, someFields).map(([name, fields]) => new Change(name, fields));
const label = fc.tuple(namespace, labels).map(([name, changed]) => new Label(name, changed));
const tamper = fc
  .tuple(policy, namespace, fc.constantFrom(...TAMPERINGS), fc.nat({ max: 9 }))
  .map(([name, where, how, nth]) => new Tamper(name, where, how, nth));

/** The commands to draw from, as `fc.commands` takes them: each is drawn as often as it is listed. */
export const COMMANDS: readonly fc.Arbitrary<fc.AsyncCommand<PolicyModel, World>>[] = [
  apply,
  apply,
  apply,
  change,
  change,
  change,
  fc.tuple(policy, refused).map(([name, manifest]) => new Refused(name, manifest)),
  fc.tuple(policy, refused).map(([name, manifest]) => new Refused(name, manifest)),
  policy.map((name) => new Remove(name)),
  label,
  label,
  label,
  tamper,
  tamper,
  fc
    .tuple(policy, namespace, fc.constantFrom('allow-dns', 'allow-monitoring', 'allow-same-namespace', 'nowhere'))
    .map(([name, where, rule]) => new Foreign(name, where, rule)),
  fc.boolean().map((crash) => new Restart(crash)),
  fc.constant(new Check()),
];

/** Resolves when the children in the cluster are what the model says once it is settled. */
export async function settled(model: PolicyModel, { demo }: Pick<World, 'demo'>): Promise<void> {
  model.settle();
  const expected = model.expected();
  await eventually(
    async () => {
      const [children, policies] = await Promise.all([
        demo.kube.networkPolicies().list(),
        demo.kube.baselinePolicies.list(),
      ]);
      const uids = new Map(policies.map(({ metadata }) => [metadata.name, metadata.uid]));
      const actual: Record<string, Record<string, ExpectedChild>> = {};
      for (const name of model.namespaces.keys()) actual[name] = {};
      for (const child of children) {
        const { name, namespace: where = '' } = child.metadata;
        if (name !== 'history-mark') (actual[where] ??= {})[name] = seen(child, uids, expected[where]?.[name]);
      }
      assert.deepEqual(actual, comparable(expected));
    },
    { timeout: SETTLE_TIMEOUT_MS, interval: 30 },
  );
}

/** Resolves when the children in the cluster, and what the statuses say of them, are what the model says. */
export async function checked(model: PolicyModel, world: Pick<World, 'demo'>): Promise<void> {
  await settled(model, world);
  await Promise.all([...model.policies.keys()].map((name) => assertStatus(name, model, world)));
}

/** What is to be compared of a child. */
function seen(
  { metadata, spec = {} }: NetworkPolicy,
  uids: ReadonlyMap<string, string | undefined>,
  expected: ExpectedChild | undefined,
): ExpectedChild {
  const { name, ownerReferences = [], labels: all, annotations } = metadata;
  const uid = uids.get(name.slice(0, name.indexOf('.')));
  const owned = ownerReferences.some((owner) => owner.uid === uid && owner.controller === true);
  if (expected?.spec === undefined) return { owned };
  return {
    owned,
    labels: all ?? {},
    description: annotations?.['baselinepolicy.dev/description'] ?? null,
    spec: ordered(spec),
  };
}

function comparable(
  expected: Readonly<Record<string, Readonly<Record<string, ExpectedChild>>>>,
): Record<string, Record<string, ExpectedChild>> {
  return Object.fromEntries(
    Object.entries(expected).map(([where, children]) => [
      where,
      Object.fromEntries(
        Object.entries(children).map(([name, child]) => [
          name,
          child.spec === undefined ? child : { ...child, spec: ordered(child.spec) },
        ]),
      ),
    ]),
  );
}

/** The spec with its policyTypes, which are a set, in one order. */
function ordered(spec: NetworkPolicySpec): NetworkPolicySpec {
  return { ...spec, policyTypes: [...(spec.policyTypes ?? [])].sort() };
}

async function assertStatus(name: string, model: PolicyModel, { demo }: Pick<World, 'demo'>): Promise<void> {
  const expected = model.status(name);
  await demo.status(
    name,
    (status) => {
      const { namespaces, networkPolicies, audit } = status;
      const actual = {
        ready: conditionOf(status, 'Ready')?.status,
        selected: namespaces?.selected,
        failed: namespaces?.failed,
        compliant: expected.compliant === undefined ? undefined : namespaces?.compliant,
        desired: networkPolicies?.desired,
        current: networkPolicies?.current,
        audit: audit && { create: audit.create, delete: audit.delete },
      };
      assert.deepEqual(actual, expected, `status of ${name}: ${JSON.stringify(status)}`);
      assert.equal(namespaces?.pending, 0);
      if (audit === undefined) assert.equal(namespaces.drifted, 0);
    },
    { timeout: SETTLE_TIMEOUT_MS },
  );
}

async function writeSpec(name: string, given: BaselinePolicySpec, model: PolicyModel, world: World): Promise<void> {
  const { baselinePolicies } = world.demo.kube;
  const spec = JSON.parse(JSON.stringify(given)) as BaselinePolicySpec;
  const before = model.policies.get(name);
  // From now on all stays as it is.
  if (before !== undefined && before.mode !== 'Audit' && spec.mode === 'Audit') await settled(model, world);
  if (before === undefined) {
    await baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name }, spec });
  } else {
    await baselinePolicies.patch(name, [{ op: 'add', path: '/spec', value: spec }]);
  }
  model.policies.set(name, spec);
}

/** Deletes an object in the role of a person. */
async function deleteObject(where: string, name: string, model: PolicyModel, { demo, oracle }: World): Promise<void> {
  await oracle.tamper(where, name, () => demo.kube.networkPolicies(where).delete(name));
  model.delete(where, name);
}

/** The CRD refuses the rule without any server. */
function hasDNSServers({ rules = {} }: BaselinePolicySpec): boolean {
  const { enabled = true, targets, custom = [] } = rules.allowDNS ?? {};
  return !enabled || targets === undefined || targets.length + custom.length > 0;
}

/** The CRD refuses an empty list of types, and rules of a direction that is not among them. */
function withFittingTypes(spec: NetworkPolicySpec): NetworkPolicySpec {
  const { policyTypes, ...rest } = spec;
  const types = policyTypes ?? [];
  const fits =
    types.length > 0 &&
    (types.includes('Ingress') || (spec.ingress ?? []).length === 0) &&
    (types.includes('Egress') || (spec.egress ?? []).length === 0);
  return fits ? { ...rest, policyTypes: types } : rest;
}

/** Without the fields that are null. */
function present<T extends object>(object: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const fields = Object.entries(object).filter(([, value]) => value !== null);
  return Object.fromEntries(fields) as { [K in keyof T]?: NonNullable<T[K]> };
}
