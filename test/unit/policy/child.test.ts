import assert from 'node:assert/strict';
import type { OwnerReference } from '../../../src/api/metadata.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import {
  childIdentity,
  identityOf,
  isBaselinePolicyReference,
  mendChild,
  orphanChild,
  ownerReference,
  serializeChild,
} from '../../../src/policy/child.ts';
import { canonicalSpec } from '../../../src/policy/normalize.ts';
import { childOf, live, namespace, otherOwner, policy } from '../../support/fixtures.ts';

const RESTRICTED = policy('restricted').with({ description: 'Base of all' });
const CHILD = childOf(RESTRICTED.desiredIn(namespace('shop')), 'allow-dns');
const OURS: OwnerReference = {
  apiVersion: 'baselinepolicy.dev/v1alpha1',
  kind: 'BaselinePolicy',
  name: 'restricted',
  uid: 'uid-of-restricted',
  controller: true,
  blockOwnerDeletion: true,
};

function written(target: string, from = RESTRICTED, rule = 'allow-dns'): NetworkPolicy {
  const { template } = childOf(from.desiredIn(namespace(target)), rule);
  return JSON.parse(serializeChild(template, target)) as NetworkPolicy;
}

describe('ownerReference', () => {
  it('makes the BaselinePolicy the controller, and blocks its deletion in the foreground', () => {
    assert.deepEqual(ownerReference(RESTRICTED.build()), OURS);
  });
});

describe('isBaselinePolicyReference', () => {
  it('knows the kind in any version of our group, and no other', () => {
    assert.equal(isBaselinePolicyReference(OURS), true);
    assert.equal(isBaselinePolicyReference({ ...OURS, apiVersion: 'baselinepolicy.dev/v1' }), true);
    assert.equal(isBaselinePolicyReference({ ...OURS, apiVersion: 'example.com/v1' }), false);
    assert.equal(isBaselinePolicyReference({ ...OURS, apiVersion: 'baselinepolicy.dev.example.com/v1' }), false);
    assert.equal(isBaselinePolicyReference({ ...OURS, kind: 'Other' }), false);
  });
});

describe('serializeChild', () => {
  it('writes our metadata and the whole spec, and nothing else', () => {
    assert.deepEqual(written('shop'), {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: {
        name: 'restricted.allow-dns',
        namespace: 'shop',
        labels: {
          'app.kubernetes.io/managed-by': 'baseline-policy-operator',
          'baselinepolicy.dev/policy': 'restricted',
          'baselinepolicy.dev/rule': 'allow-dns',
        },
        annotations: { 'baselinepolicy.dev/description': 'Base of all' },
        ownerReferences: [OURS],
      },
      spec: JSON.parse(CHILD.spec) as unknown,
    });
  });

  it('copies no label and no annotation of the BaselinePolicy', () => {
    const tracked = RESTRICTED.withMetadata({
      labels: { 'app.kubernetes.io/instance': 'argo' },
      annotations: { 'argocd.argoproj.io/tracking-id': 'x' },
      generation: 7,
    });
    assert.deepEqual(written('shop', tracked), written('shop'));
  });

  for (const description of [undefined, '']) {
    it(`writes no annotation for ${description === undefined ? 'no' : 'an empty'} description`, () => {
      const plain = description === undefined ? policy('restricted') : policy('restricted').with({ description });
      assert.ok(!('annotations' in written('shop', plain).metadata));
    });
  }

  const ODD = ['', 'a"b', 'a\\b', '$&', '$1', '"namespace":""', '\u2028', 'ü'];
  for (const name of ODD) {
    it(`keeps the JSON whole for the namespace ${JSON.stringify(name)}`, () => {
      const object = written(name);
      assert.equal(object.metadata.namespace, name);
      assert.equal(canonicalSpec(object.spec ?? {}), CHILD.spec);
      assert.equal(identityOf(object.metadata), CHILD.identity);
    });
  }

  it('puts the namespace in its place, whatever names and descriptions say', () => {
    const text = 'x","namespace":"","y';
    const odd = policy(text).with({
      description: text,
      additionalPolicies: [{ name: text, spec: { podSelector: { matchLabels: { namespace: '' } } } }],
    });
    const { metadata, spec } = written('shop', odd, text);
    assert.equal(metadata.namespace, 'shop');
    assert.equal(metadata.name, `${text}.${text}`);
    assert.equal(metadata.annotations?.['baselinepolicy.dev/description'], text);
    assert.deepEqual(spec?.podSelector, { matchLabels: { namespace: '' } });
  });
});

describe('identity', () => {
  const right = live(CHILD);

  it('of a child as it was written is the one that is wanted', () => {
    assert.equal(identityOf(right.wire().metadata), CHILD.identity);
    assert.equal(childIdentity(RESTRICTED.build(), 'allow-dns'), CHILD.identity);
  });

  const KEEP: readonly (readonly [what: string, typeof right])[] = [
    ['labels of others', right.labelled({ 'example.com/team': 'blue' })],
    ['annotations of others', right.annotated({ 'example.com/note': 'x' })],
    ['owners of others', right.ownedBy(otherOwner(false), OURS)],
    [
      'order of the keys',
      right.withMetadata({ labels: Object.fromEntries(Object.entries(right.wire().metadata.labels ?? {}).reverse()) }),
    ],
    ['other metadata', right.withMetadata({ resourceVersion: '99', finalizers: ['example.com/keep'], generation: 4 })],
    ['spec', right.withSpec({ ingress: [{}] })],
  ];
  for (const [what, object] of KEEP) {
    it(`does not depend on the ${what}`, () => {
      assert.equal(identityOf(object.wire().metadata), CHILD.identity);
    });
  }

  const DIFFER: readonly (readonly [what: string, typeof right])[] = [
    ['a changed label', right.labelled({ 'baselinepolicy.dev/rule': 'other' })],
    ['a changed managed-by label', right.labelled({ 'app.kubernetes.io/managed-by': 'Helm' })],
    ['a label of another policy', right.labelled({ 'baselinepolicy.dev/policy': 'other' })],
    ['stripped labels', right.withoutLabels()],
    ['a changed description', right.annotated({ 'baselinepolicy.dev/description': 'mine' })],
    ['a removed description', right.withMetadata({ annotations: {} })],
    ['no owner', right.ownedBy()],
    ['an owner that does not block deletion', right.ownedBy({ ...OURS, blockOwnerDeletion: false })],
    ['an owner that is no controller', right.ownedBy({ ...OURS, controller: false })],
    ['another UID of the owner', right.ownedBy({ ...OURS, uid: 'other' })],
    ['a second BaselinePolicy as owner', right.ownedBy(OURS, { ...OURS, controller: false, name: 'b', uid: 'other' })],
  ];
  for (const [what, object] of DIFFER) {
    it(`differs with ${what}`, () => {
      assert.notEqual(identityOf(object.wire().metadata), CHILD.identity);
    });
  }

  it('of a policy without description differs from a live one with it', () => {
    assert.notEqual(childIdentity(policy('restricted').build(), 'allow-dns'), CHILD.identity);
  });
});

describe('mendChild', () => {
  it('replaces the whole spec', () => {
    const opened = live(CHILD).withSpec({ podSelector: { matchLabels: { app: 'x' } }, ingress: [{}], egress: [{}] });
    assert.deepEqual(mendChild(CHILD.template, opened.wire()).spec, JSON.parse(CHILD.spec));
  });

  it('puts our metadata right and keeps what is of others', () => {
    const changed = live(CHILD)
      .withoutLabels()
      .labelled({ 'example.com/team': 'blue', 'baselinepolicy.dev/rule': 'wrong' })
      .annotated({ 'example.com/note': 'x', 'baselinepolicy.dev/description': 'mine' })
      .ownedBy(otherOwner(false))
      .withMetadata({ resourceVersion: '17', finalizers: ['example.com/keep'] });
    const { metadata } = mendChild(CHILD.template, changed.wire());
    assert.deepEqual(metadata, {
      name: 'restricted.allow-dns',
      namespace: 'shop',
      uid: 'uid-of-restricted.allow-dns',
      resourceVersion: '17',
      finalizers: ['example.com/keep'],
      labels: {
        'example.com/team': 'blue',
        'app.kubernetes.io/managed-by': 'baseline-policy-operator',
        'baselinepolicy.dev/policy': 'restricted',
        'baselinepolicy.dev/rule': 'allow-dns',
      },
      annotations: { 'example.com/note': 'x', 'baselinepolicy.dev/description': 'Base of all' },
      ownerReferences: [otherOwner(false), OURS],
    });
    assert.equal(identityOf(metadata), CHILD.identity);
  });

  it('takes control from another controller, which stays an owner', () => {
    const taken = live(CHILD).ownedBy(otherOwner(true));
    const { ownerReferences } = mendChild(CHILD.template, taken.wire()).metadata;
    assert.deepEqual(ownerReferences, [{ ...otherOwner(true), controller: false }, OURS]);
  });

  it('removes other BaselinePolicies from the owners', () => {
    const shared = live(CHILD).ownedBy({ ...OURS, controller: false, name: 'b', uid: 'other' }, OURS);
    assert.deepEqual(mendChild(CHILD.template, shared.wire()).metadata.ownerReferences, [OURS]);
  });

  it('removes a description that the policy has no more', () => {
    const { template } = childOf(policy('restricted').desiredIn(namespace('shop')), 'allow-dns');
    const { annotations } = mendChild(template, live(CHILD).annotated({ 'example.com/note': 'x' }).wire()).metadata;
    assert.deepEqual(annotations, { 'example.com/note': 'x' });
  });

  it('works on an object without labels, annotations and owners', () => {
    const bare: NetworkPolicy = { metadata: { name: CHILD.name, namespace: 'shop', uid: 'u', resourceVersion: '3' } };
    const mended = mendChild(CHILD.template, bare);
    assert.equal(identityOf(mended.metadata), CHILD.identity);
    assert.equal(canonicalSpec(mended.spec ?? {}), CHILD.spec);
    assert.equal(mended.metadata.uid, 'u');
  });

  it('changes nothing on a child that is right', () => {
    const right = live(CHILD).labelled({ 'example.com/team': 'blue' }).wire();
    assert.deepEqual(mendChild(CHILD.template, right), right);
  });
});

describe('orphanChild', () => {
  it('takes off our owner and keeps all else', () => {
    const object = live(CHILD).ownedBy(otherOwner(true), OURS).labelled({ 'example.com/team': 'blue' }).wire();
    assert.deepEqual(orphanChild(object), {
      ...object,
      metadata: { ...object.metadata, ownerReferences: [otherOwner(true)] },
    });
  });
});
