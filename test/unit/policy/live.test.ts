import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { recognizeCreated, trimNetworkPolicy, type LiveNetworkPolicy } from '../../../src/policy/live.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
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

describe('recognizeCreated', () => {
  /** The answer to a create, as the API server writes it: in the order of Go's types, with a new line at the end. */
  function answer(edit: (text: string) => string = same): string {
    const { labels, ownerReferences } = CHILD.template.metadata;
    const metadata = {
      name: CHILD.name,
      namespace: 'shop',
      uid: 'a-uid',
      resourceVersion: '7',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels,
      ownerReferences,
      managedFields: [{ manager: 'baseline-policy-operator' }],
    };
    const object = { kind: 'NetworkPolicy', apiVersion: 'networking.k8s.io/v1', metadata, spec: CHILD.template.spec };
    return edit(`${JSON.stringify(object)}\n`);
  }

  const recognized = (text: string) => recognizeCreated(text, CHILD, 'shop', OWNER);

  it('makes of an answer what trimming it would make', () => {
    assert.deepEqual(recognized(answer()), trimNetworkPolicy(JSON.parse(answer()) as NetworkPolicy, undefined, same));
    assert.equal(recognized(answer())?.resourceVersion, '7');
  });

  it('keeps nothing of the answer alive but what it tells', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const uid = '0dd1b32b-79a1-4f5e-b9d3-8e2b0d5a1f00';
    const large = (): string =>
      answer((text) =>
        text.replace('a-uid', uid).replace('"manager":', `"subresource":"${'x'.repeat(1e6)}","manager":`),
      );
    collect();
    const before = process.memoryUsage().heapUsed;
    const records = Array.from({ length: 30 }, () => recognized(large()));
    collect();
    const grown = process.memoryUsage().heapUsed - before;
    assert.equal(records.filter((record) => record?.uid === uid).length, 30);
    assert.ok(grown < 5e6, `30 records of answers of 1 MB hold ${grown} bytes`);
  });

  for (const [what, edit] of [
    ['a changed spec', (text: string) => text.replace('"port":53', '"port":54')],
    ['a field after the spec', (text: string) => text.replace(/}\n$/, ',"status":{}}\n')],
    ['another label', (text: string) => text.replace('"labels":{', '"labels":{"a":"b",')],
    [
      'an annotation',
      (text: string) => text.replace(',"ownerReferences"', ',"annotations":{"a":"b"},"ownerReferences"'),
    ],
    ['a finalizer', (text: string) => text.replace(',"managedFields"', ',"finalizers":["a"],"managedFields"')],
    ['another owner', (text: string) => text.replace('"controller":true', '"controller":false')],
    ['no UID', (text: string) => text.replace('"uid":"a-uid",', '')],
    ['half of the text', (text: string) => text.slice(0, text.length / 2)],
  ] as const) {
    it(`leaves an answer with ${what} to be read as a whole`, () => {
      assert.notEqual(answer(edit), answer());
      assert.equal(recognized(answer(edit)), undefined);
    });
  }
});
