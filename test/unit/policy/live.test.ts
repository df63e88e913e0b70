import assert from 'node:assert/strict';
import { trimNetworkPolicy, type LiveNetworkPolicy } from '../../../src/policy/live.ts';
import { childOf, foreign, live, namespace, otherOwner, policy, type LiveBuilder } from '../../support/fixtures.ts';

const CHILD = childOf(policy('restricted').desiredIn(namespace('shop')), 'allow-dns');
const OWNER = 'uid-of-restricted';

function same(text: string): string {
  return text;
}

function trim(object: LiveBuilder, previous?: LiveNetworkPolicy): LiveNetworkPolicy | undefined {
  return trimNetworkPolicy(object.wire(), previous, same);
}

describe('trimNetworkPolicy', () => {
  it('keeps of a child what a diff needs, no more', () => {
    assert.deepEqual(trim(live(CHILD)), {
      namespace: 'shop',
      name: 'restricted.allow-dns',
      uid: 'uid-of-restricted.allow-dns',
      resourceVersion: '1',
      ownerUid: OWNER,
      lastOwnerUid: OWNER,
      identity: CHILD.identity,
      spec: CHILD.spec,
      deleting: false,
    });
  });

  it('keeps of a foreign object with a dot in its name that it is in the way', () => {
    assert.deepEqual(trim(foreign('restricted.allow-dns')), {
      namespace: 'shop',
      name: 'restricted.allow-dns',
      uid: 'uid-of-foreign-restricted.allow-dns',
      resourceVersion: '1',
      ownerUid: '',
      lastOwnerUid: '',
      identity: '',
      spec: '',
      deleting: false,
    });
  });

  it('keeps nothing of an object that can be neither a child nor in the way of one', () => {
    assert.equal(trim(foreign('allow-all')), undefined);
    assert.equal(trim(foreign('allow-all').ownedBy(otherOwner(true))), undefined);
    assert.equal(trim(foreign('allow-all').labelled({ 'baselinepolicy.dev/policy': 'restricted' })), undefined);
  });

  it('keeps an object of any name that has a BaselinePolicy as owner', () => {
    assert.equal(trim(live(CHILD).withMetadata({ name: 'nodot' }))?.ownerUid, OWNER);
  });

  it('says whether the object is being deleted', () => {
    assert.equal(trim(live(CHILD).beingDeleted())?.deleting, true);
  });

  it('normalises the spec, and takes an absent one for empty', () => {
    const opened = live(CHILD).withSpec({ podSelector: { matchLabels: {} }, ingress: [{ ports: [] }] });
    assert.equal(trim(opened)?.spec, '{"podSelector":{},"ingress":[{}],"policyTypes":["Ingress"]}');
    const { spec: _gone, ...bare } = live(CHILD).wire();
    assert.equal(trimNetworkPolicy(bare, undefined, same)?.spec, '{"podSelector":{},"policyTypes":["Ingress"]}');
  });

  it('remembers the last owner of the same object, again and again', () => {
    const first = trim(live(CHILD));
    const stripped = trim(live(CHILD).ownedBy(), first);
    assert.equal(stripped?.ownerUid, '');
    assert.equal(stripped.lastOwnerUid, OWNER);
    assert.equal(stripped.spec, CHILD.spec);
    const later = trim(live(CHILD).ownedBy().withoutLabels(), stripped);
    assert.equal(later?.lastOwnerUid, OWNER);
    assert.notEqual(later.identity, CHILD.identity);
  });

  it('remembers a stripped object whose name has no dot', () => {
    const named = live(CHILD).withMetadata({ name: 'nodot' });
    assert.equal(trim(named.ownedBy(), trim(named))?.lastOwnerUid, OWNER);
  });

  it('forgets the last owner when another object takes the name', () => {
    const recreated = live(CHILD).ownedBy().withMetadata({ uid: 'another' });
    assert.equal(trim(recreated, trim(live(CHILD)))?.lastOwnerUid, '');
  });

  it('takes the owner that the object has now before the one that it had', () => {
    const adopted = live(CHILD).ownedBy({
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      name: 'other',
      uid: 'uid-of-other',
    });
    const trimmed = trim(adopted, trim(live(CHILD)));
    assert.equal(trimmed?.ownerUid, 'uid-of-other');
    assert.equal(trimmed.lastOwnerUid, 'uid-of-other');
  });

  it('is owned by the BaselinePolicy, whatever other owners there are', () => {
    const [ours] = live(CHILD).wire().metadata.ownerReferences ?? [];
    assert.ok(ours !== undefined);
    assert.equal(trim(live(CHILD).ownedBy(otherOwner(true), { ...ours, controller: false }))?.ownerUid, OWNER);
  });

  it('is owned by the BaselinePolicy that controls it, even when somebody puts another one first', () => {
    const [ours] = live(CHILD).wire().metadata.ownerReferences ?? [];
    assert.ok(ours !== undefined);
    const other = { ...ours, name: 'other', uid: 'uid-of-other', controller: false };
    assert.equal(trim(live(CHILD).ownedBy(ours, other))?.ownerUid, OWNER);
    assert.equal(trim(live(CHILD).ownedBy(other, ours))?.ownerUid, OWNER);
  });

  it('shares equal texts between objects', () => {
    const seen = new Set<string>();
    const trimmed = trimNetworkPolicy(live(CHILD).wire(), undefined, (text) => {
      seen.add(text);
      return text;
    });
    assert.ok(trimmed !== undefined);
    for (const text of [trimmed.spec, trimmed.identity, trimmed.namespace, trimmed.name, trimmed.ownerUid]) {
      assert.ok(seen.has(text), `expected ${text} to be interned`);
    }
  });
});
