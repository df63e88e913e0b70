import assert from 'node:assert/strict';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { eventually } from '../../support/await.ts';
import { Demo, versions } from '../../support/demo.ts';

describe('Removal', function () {
  this.timeout(90_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start({ controlPlane: { controllerManager: true } });
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  /** Plays the end of the garbage collector's part: it learns of a new kind only within 30 seconds. */
  async function removeOrphanFinalizer(policy: string): Promise<void> {
    await eventually(async () => {
      const finalizers = (await demo.kube.baselinePolicies.find(policy))?.metadata.finalizers ?? [];
      const index = finalizers.indexOf('orphan');
      if (index < 0) return;
      const path = `/metadata/finalizers/${index}`;
      await demo.kube.baselinePolicies.patch(policy, [
        { op: 'test', path, value: 'orphan' },
        { op: 'remove', path },
      ]);
    });
  }

  /** Asserts that a namespace has the children that it had before, but without an owner. */
  async function released(namespace: string, before: ReadonlyMap<string, NetworkPolicy>): Promise<void> {
    const after = await demo.children(namespace);
    assert.deepEqual([...after.keys()], [...before.keys()]);
    for (const [name, { metadata, spec }] of after) {
      const was = before.get(name);
      assert.equal(metadata.ownerReferences, undefined);
      assert.equal(metadata.uid, was?.metadata.uid);
      assert.deepEqual(metadata.labels, was?.metadata.labels);
      assert.deepEqual(metadata.annotations, was?.metadata.annotations);
      assert.deepEqual(spec, was?.spec);
    }
  }

  it('of a BaselinePolicy takes default-deny, then the allows, then releases the policy', async () => {
    const policy = demo.name('deleted');
    const namespaces = await demo.settled(policy, 5);
    const bystander = demo.name('bystander');
    const [kept = ''] = await demo.settled(bystander, 1);
    const before = versions(await demo.children(kept));
    const { metadata } = await demo.kube.networkPolicies().page();
    const from = { resourceVersion: metadata.resourceVersion };
    using children = await demo.kube.networkPolicies().watch(from);
    using policies = await demo.kube.baselinePolicies.watch(from);
    await demo.remove(policy);

    const released = await eventually(() => {
      const found = policies.events.find(({ type, object }) => type === 'DELETED' && object.metadata.name === policy);
      assert.ok(found);
      return BigInt(found.object.metadata.resourceVersion ?? '');
    });
    await eventually(() => {
      assert.equal(children.events.length, 3 * namespaces.length);
    });
    for (const namespace of namespaces) {
      const events = children.events.filter(({ object }) => object.metadata.namespace === namespace);
      assert.deepEqual(
        events.map(({ type }) => type),
        ['DELETED', 'DELETED', 'DELETED'],
      );
      assert.equal(events[0]?.object.metadata.name, `${policy}.default-deny`);
      for (const { object } of events) assert.ok(BigInt(object.metadata.resourceVersion ?? '') < released);
    }
    assert.deepEqual(versions(await demo.children(kept)), before);
    assert.equal([...(await demo.operator.metrics()).keys()].filter((name) => name.includes(`"${policy}"`)).length, 0);
  });

  it('of a BaselinePolicy with deletionPolicy Orphan leaves its children, without an owner', async () => {
    const policy = demo.name('orphan');
    const namespaces = await demo.settled(policy, 3, { deletionPolicy: 'Orphan', description: 'stays' });
    const before = await demo.children(namespaces[0] ?? '');
    await demo.remove(policy);
    await released(namespaces[0] ?? '', before);
    for (const namespace of namespaces) await demo.holds(namespace, policy);
    // They are nobody's from now on: the operator does not care when they change.
    await demo.kube.networkPolicies(namespaces[0] ?? '').delete(`${policy}.allow-dns`);
    const later = demo.name('later');
    const [another = ''] = await demo.settled(later, 1);
    await demo.holds(another, later);
    await demo.holds(namespaces[0] ?? '', policy, ['allow-monitoring', 'default-deny']);
  });

  it('of a namespace is left to Kubernetes; created again under its name it gets its children again', async () => {
    const policy = demo.name('reborn');
    const [namespace = '', other = ''] = await demo.settled(policy, 2);
    const { metadata } = await demo.kube.namespaces.get(namespace);
    const others = versions(await demo.children(other));
    const logged = demo.operator.log.length;
    await demo.kube.namespaces.delete(namespace);
    await eventually(
      async () => {
        assert.equal(await demo.kube.namespaces.find(namespace), undefined);
      },
      { timeout: 30_000 },
    );
    await demo.reconciled(policy, 1);
    await demo.kube.namespaces.create({ metadata: { name: namespace, labels: metadata.labels ?? {} } });
    await demo.holds(namespace, policy);
    await demo.reconciled(policy, 2);
    assert.deepEqual(versions(await demo.children(other)), others);
    assert.deepEqual(await demo.drift(policy), {});
    const complaints = demo.operator.log.slice(logged).filter(({ level }) => level !== 'info');
    assert.deepEqual(complaints, []);
  });

  it('with kubectl delete --cascade=orphan leaves the children too', async () => {
    const policy = demo.name('cascade');
    const [namespace = ''] = await demo.settled(policy, 1);
    const before = await demo.children(namespace);
    await demo.kube.baselinePolicies.delete(policy, { propagationPolicy: 'Orphan' });
    await eventually(async () => {
      const finalizers = (await demo.kube.baselinePolicies.find(policy))?.metadata.finalizers ?? [];
      assert.equal(finalizers.includes('baselinepolicy.dev/children'), false);
    });
    await released(namespace, before);
    await removeOrphanFinalizer(policy);
    await demo.gone([policy]);
    await released(namespace, before);
  });

  it('with --cascade=orphan leaves them also when the garbage collector has done its part first', async () => {
    const policy = demo.name('collected');
    const [namespace = ''] = await demo.settled(policy, 1);
    const before = await demo.children(namespace);
    demo.operator.signal('SIGSTOP');
    await demo.kube.baselinePolicies.delete(policy, { propagationPolicy: 'Orphan' });
    for (const name of before.keys()) {
      await demo.kube.networkPolicies(namespace).merge(name, { metadata: { ownerReferences: null } });
    }
    await removeOrphanFinalizer(policy);
    demo.operator.signal('SIGCONT');
    await demo.gone([policy]);
    await released(namespace, before);
  });
});
