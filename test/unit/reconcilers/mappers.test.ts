import assert from 'node:assert/strict';
import { API_VERSION, KIND } from '../../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { createCaches, type Caches } from '../../../src/reconcilers/caches.ts';
import { mapChanges } from '../../../src/reconcilers/mappers.ts';

const OWNER = { apiVersion: API_VERSION, kind: KIND, name: 'a', uid: 'a', controller: true };

describe('mapChanges', () => {
  let caches: Caches;
  /** What was enqueued since the last look. */
  let enqueued: string[];

  beforeEach(() => {
    caches = createCaches();
    enqueued = [];
    mapChanges(caches, {
      enqueueNamespace: (name, afterMs = 0) => enqueued.push(`namespace ${name} ${afterMs > 0 ? 'soon' : 'now'}`),
      enqueuePolicy: (name) => enqueued.push(`policy ${name}`),
    });
  });

  function taken(): string[] {
    return enqueued.splice(0);
  }

  function namespace(resourceVersion: number, metadata: object = {}): KubernetesObject {
    return { metadata: { name: 'shop', uid: 'first', resourceVersion: String(resourceVersion), ...metadata } };
  }

  function networkPolicy(resourceVersion: number, { metadata = {}, spec = {} } = {}): KubernetesObject {
    const identity = { namespace: 'shop', name: 'a.default-deny', uid: 'child', ownerReferences: [OWNER] };
    const policy = {
      metadata: { ...identity, resourceVersion: String(resourceVersion), ...metadata },
      spec: { podSelector: {}, policyTypes: ['Ingress'], ...spec },
    };
    return policy;
  }

  it('lets a new namespace wait until admission knows it, also one that follows another of its name', () => {
    caches.namespaces.observe(namespace(1));
    assert.deepEqual(taken(), ['namespace shop soon']);
    caches.namespaces.observe(namespace(2, { uid: 'second' }));
    assert.deepEqual(taken(), ['namespace shop soon']);
  });

  for (const [change, metadata] of [
    ['labels', { labels: { team: 'a' } }],
    ['end', { deletionTimestamp: '2026-01-01T00:00:00Z' }],
  ] as const) {
    it(`looks at a namespace at once when its ${change} comes`, () => {
      caches.namespaces.observe(namespace(1));
      taken();
      caches.namespaces.observe(namespace(2, metadata));
      assert.deepEqual(taken(), ['namespace shop now']);
    });
  }

  it('looks at a namespace that is gone at once', () => {
    caches.namespaces.observe(namespace(1));
    taken();
    caches.namespaces.observeDeletion(namespace(2));
    assert.deepEqual(taken(), ['namespace shop now']);
  });

  it('does nothing for annotations of a namespace', () => {
    caches.namespaces.observe(namespace(1, { labels: { team: 'a' } }));
    taken();
    caches.namespaces.observe(namespace(2, { labels: { team: 'a' }, annotations: { seen: 'yes' } }));
    assert.deepEqual(taken(), []);
  });

  it('looks at the namespace of a NetworkPolicy that came, changed or went, not at that of one that was only touched', () => {
    caches.networkPolicies.observe(networkPolicy(1));
    assert.deepEqual(taken(), ['namespace shop now']);
    caches.networkPolicies.observe(networkPolicy(2, { metadata: { annotations: { seen: 'yes' } } }));
    assert.deepEqual(taken(), []);
    caches.networkPolicies.observe(networkPolicy(3, { spec: { ingress: [{}] } }));
    assert.deepEqual(taken(), ['namespace shop now']);
    caches.networkPolicies.observeDeletion(networkPolicy(4));
    assert.deepEqual(taken(), ['namespace shop now']);
  });

  it('looks at a BaselinePolicy at every change of it', () => {
    const policy = (resourceVersion: number): KubernetesObject => ({
      metadata: { name: 'a', uid: 'a', resourceVersion: String(resourceVersion) },
    });
    caches.policies.observe(policy(1));
    caches.policies.observe(policy(2));
    caches.policies.observeDeletion(policy(3));
    assert.deepEqual(taken(), ['policy a', 'policy a', 'policy a']);
  });
});
