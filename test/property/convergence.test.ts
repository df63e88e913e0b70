import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { NetworkPolicy, NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { mendChild, orphanChild, serializeChild } from '../../src/policy/child.ts';
import { DEFAULT_DENY, type DesiredSet } from '../../src/policy/desired.ts';
import { diffChildren, ruleOfName, stepOf, type Change } from '../../src/policy/diff.ts';
import { trimNetworkPolicy, type LiveNetworkPolicy } from '../../src/policy/live.ts';
import { baselinePolicySpec, discoveredAddresses, namespaces, networkPolicySpec } from '../support/arbitraries.ts';
import { asStored, foreign, otherOwner, policy } from '../support/fixtures.ts';

const UID = 'uid-of-restricted';
const NOTHING: DesiredSet = { children: new Map(), withheld: [], unresolved: [] };

/** The NetworkPolicies of one namespace, and what the cache of the operator keeps of them. */
class Model {
  readonly objects = new Map<string, NetworkPolicy>();
  readonly cache = new Map<string, LiveNetworkPolicy>();
  #writes = 0;

  /** Stores an object as the API server would: with a UID of its own when it is new. */
  put(object: NetworkPolicy): void {
    const { name } = object.metadata;
    this.#writes++;
    const uid = this.objects.get(name)?.metadata.uid ?? `uid-${this.#writes}`;
    const stored: NetworkPolicy = {
      ...object,
      metadata: { ...object.metadata, uid, resourceVersion: String(this.#writes) },
      spec: asStored(object.spec ?? {}),
    };
    this.objects.set(name, stored);
    const trimmed = trimNetworkPolicy(stored, this.cache.get(name), (text) => text);
    if (trimmed === undefined) this.cache.delete(name);
    else this.cache.set(name, trimmed);
  }

  /** Deletes an object. */
  remove(name: string): void {
    this.objects.delete(name);
    this.cache.delete(name);
  }

  /** What a policy has to change. */
  diff(desired: DesiredSet): Change[] {
    return diffChildren(desired, this.cache, UID);
  }

  /** Makes one change as the operator does. */
  apply(change: Change, namespace: string): void {
    switch (change.kind) {
      case 'create':
        assert.ok(!this.objects.has(change.name), `${change.name} exists`);
        this.put(JSON.parse(serializeChild(change.child.template, namespace)) as NetworkPolicy);
        break;
      case 'update': {
        const object = this.objects.get(change.name);
        assert.ok(object !== undefined, `${change.name} does not exist`);
        const { template } = change.child;
        this.put(change.identityDiffers ? mendChild(template, object) : { ...object, spec: template.spec });
        break;
      }
      case 'delete':
        this.remove(change.name);
        break;
      case 'conflict':
        break;
    }
  }
}

/** What somebody does to the object number `at` of the namespace, or to the namespace. */
type Edit = (objects: Model, at: number) => void;

function onObject(change: (object: NetworkPolicy) => NetworkPolicy): Edit {
  return (model, at) => {
    const object = [...model.objects.values()][at % Math.max(1, model.objects.size)];
    if (object !== undefined) model.put(change(object));
  };
}

function withMetadata(change: (metadata: NetworkPolicy['metadata']) => Partial<NetworkPolicy['metadata']>): Edit {
  return onObject((object) => ({ ...object, metadata: { ...object.metadata, ...change(object.metadata) } }));
}

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.constantFrom<Edit>(
    (model, at) => {
      const name = [...model.objects.keys()][at % Math.max(1, model.objects.size)];
      if (name !== undefined) model.remove(name);
    },
    onObject((object) => ({ ...object, spec: { ...object.spec, ingress: [{}] } })),
    withMetadata(() => ({ labels: {} })),
    withMetadata(({ labels }) => ({ labels: { ...labels, 'example.com/team': 'blue' } })),
    withMetadata(({ labels }) => ({ labels: { ...labels, 'baselinepolicy.dev/rule': 'wrong' } })),
    withMetadata(({ annotations }) => ({ annotations: { ...annotations, 'example.com/note': 'x' } })),
    withMetadata(() => ({ annotations: { 'baselinepolicy.dev/description': 'mine' } })),
    withMetadata(() => ({ ownerReferences: [] })),
    withMetadata(() => ({ ownerReferences: [otherOwner(true)] })),
    withMetadata(({ ownerReferences = [] }) => ({ ownerReferences: [...ownerReferences, otherOwner(false)] })),
    onObject((object) => orphanChild(object)),
    // Somebody copies a child, with its owner.
    onObject((object) => ({ ...object, metadata: { ...object.metadata, name: 'copied' } })),
    // Somebody replaces a child by an object of the same name.
    (model, at) => {
      const name = [...model.objects.keys()][at % Math.max(1, model.objects.size)];
      if (name === undefined) return;
      model.remove(name);
      model.put(foreign(name).wire());
    },
    (model) => {
      model.put(foreign('theirs').wire());
    },
  ),
  networkPolicySpec.map((spec: NetworkPolicySpec) => onObject((object) => ({ ...object, spec }))),
);

const edits = fc.array(fc.tuple(edit, fc.nat({ max: 20 })), { maxLength: 8 });
const world = fc.record({ namespace: namespaces, addresses: discoveredAddresses });
/** A policy that closes the namespace, so that order matters. */
const closing = baselinePolicySpec.map((spec) => ({
  ...spec,
  rules: { ...spec.rules, defaultDeny: { enabled: true } },
}));

/** The changes in the order of their steps, and in the order of `shuffle` within one, as they run at the same time. */
function inSteps(changes: readonly Change[], shuffle: readonly number[]): Change[] {
  const rank = (index: number): number => shuffle[index % shuffle.length] ?? 0;
  return changes
    .map((change, index) => ({ change, rank: rank(index) }))
    .sort((a, b) => stepOf(a.change) - stepOf(b.change) || a.rank - b.rank)
    .map(({ change }) => change);
}

const shuffle = fc.array(fc.nat(), { minLength: 12, maxLength: 12 });

function isForeign(live: LiveNetworkPolicy | undefined): boolean {
  return live?.lastOwnerUid !== UID;
}

describe('the differences, once applied', () => {
  it('are gone, whatever was changed, and nothing foreign is touched', () => {
    fc.assert(
      fc.property(
        baselinePolicySpec,
        baselinePolicySpec,
        world,
        edits,
        (before, after, { namespace, addresses }, list) => {
          const model = new Model();
          for (const change of model.diff(policy('restricted').with(before).desiredIn(namespace, addresses))) {
            model.apply(change, namespace.name);
          }
          for (const [change, at] of list) change(model, at);
          const found = new Map(model.objects);
          const cached = new Map(model.cache);
          const desired = policy('restricted').with(after).desiredIn(namespace, addresses);

          const changes = model.diff(desired);
          for (const change of changes) model.apply(change, namespace.name);

          assert.deepEqual(
            model.diff(desired).filter(({ kind }) => kind !== 'conflict'),
            [],
          );
          for (const [name, object] of found) {
            const now = model.objects.get(name);
            if (isForeign(cached.get(name))) assert.equal(now, object, `${name} is foreign`);
            else if (now !== undefined) {
              assert.equal(now.metadata.uid, object.metadata.uid, `${name} was made anew`);
              assertOthersKept(object, now);
            }
          }
          // A child that is there is right, or it is foreign and reported.
          const conflicts = new Set(changes.filter(({ kind }) => kind === 'conflict').map(({ name }) => name));
          for (const child of desired.children.values()) {
            assert.equal(isForeign(model.cache.get(child.name)), conflicts.has(child.name));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('are none for what was just written', () => {
    fc.assert(
      fc.property(baselinePolicySpec, world, (spec, { namespace, addresses }) => {
        const model = new Model();
        const desired = policy('restricted').with(spec).desiredIn(namespace, addresses);
        for (const change of model.diff(desired)) model.apply(change, namespace.name);
        assert.deepEqual(model.diff(desired), []);
        assert.equal(model.objects.size, desired.children.size);
      }),
    );
  });

  it('touch only the children that differ', () => {
    fc.assert(
      fc.property(baselinePolicySpec, baselinePolicySpec, world, (before, after, { namespace, addresses }) => {
        const first = policy('restricted').with(before).desiredIn(namespace, addresses);
        const second = policy('restricted').with(after).desiredIn(namespace, addresses);
        const model = new Model();
        for (const change of model.diff(first)) model.apply(change, namespace.name);
        for (const { name } of model.diff(second)) {
          const [one, other] = [first.children.get(name), second.children.get(name)];
          assert.ok(one?.spec !== other?.spec || one?.identity !== other?.identity, `${name} did not change`);
        }
      }),
    );
  });
});

/** Labels, annotations, owners and finalizers of others are as they were. */
function assertOthersKept(before: NetworkPolicy, after: NetworkPolicy): void {
  const others = ({ metadata }: NetworkPolicy): unknown => {
    const notOurs = (fields: Record<string, string> = {}): unknown =>
      Object.fromEntries(
        Object.entries(fields).filter(
          ([key]) => !key.startsWith('baselinepolicy.dev/') && key !== 'app.kubernetes.io/managed-by',
        ),
      );
    return {
      labels: notOurs(metadata.labels),
      annotations: notOurs(metadata.annotations),
      owners: (metadata.ownerReferences ?? []).filter(({ kind }) => kind !== 'BaselinePolicy').map(({ uid }) => uid),
    };
  };
  assert.deepEqual(others(after), others(before));
}

describe('the steps of a rollout', () => {
  it('never leave default-deny without all the allows that are wanted', () => {
    fc.assert(
      fc.property(closing, world, shuffle, (spec, { namespace, addresses }, order) => {
        const model = new Model();
        const desired = policy('restricted').with(spec).desiredIn(namespace, addresses);
        for (const change of inSteps(model.diff(desired), order)) {
          model.apply(change, namespace.name);
          if (!model.objects.has('restricted.default-deny')) continue;
          assert.deepEqual([...model.objects.keys()].sort(), [...desired.children.keys()].sort());
        }
        assert.ok(model.objects.has('restricted.default-deny'));
      }),
    );
  });

  it('never leave default-deny without all the allows that were there when everything goes', () => {
    fc.assert(
      fc.property(closing, world, shuffle, (spec, { namespace, addresses }, order) => {
        const model = new Model();
        const desired = policy('restricted').with(spec).desiredIn(namespace, addresses);
        for (const change of model.diff(desired)) model.apply(change, namespace.name);
        for (const change of inSteps(model.diff(NOTHING), order)) {
          model.apply(change, namespace.name);
          assert.ok(!model.objects.has('restricted.default-deny'), 'default-deny was not the first to go');
        }
        assert.equal(model.objects.size, 0);
      }),
    );
  });

  it('make new allows before default-deny changes, and remove old ones after', () => {
    fc.assert(
      fc.property(closing, closing, world, shuffle, (before, after, { namespace, addresses }, order) => {
        const model = new Model();
        const first = policy('restricted').with(before).desiredIn(namespace, addresses);
        const second = policy('restricted')
          .with({ ...after, description: 'second' })
          .desiredIn(namespace, addresses);
        for (const change of model.diff(first)) model.apply(change, namespace.name);
        let isDenyNew = false;
        for (const change of inSteps(model.diff(second), order)) {
          const isDeny = ruleOfName(change.name) === DEFAULT_DENY;
          if (change.kind === 'delete') assert.ok(isDenyNew, `${change.name} went before default-deny changed`);
          else if (!isDeny) assert.ok(!isDenyNew, `${change.name} came after default-deny changed`);
          isDenyNew ||= isDeny;
        }
      }),
    );
  });
});
