import assert from 'node:assert/strict';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import type { RealCluster } from '../support/real-cluster.ts';

describe('A namespace in a cluster with the operator as pods', function () {
  this.timeout(300_000);
  let cluster: RealCluster;
  let baseline: OwnBaseline;

  before(async () => {
    cluster = await installedOperator();
    baseline = await OwnBaseline.create(cluster);
  });

  after(() => baseline[Symbol.asyncDispose]());

  it('gets its children when it opts in, and loses them when it opts out', async () => {
    const namespace = await baseline.namespace('opts');
    await cluster.kube.namespaces.merge(namespace, { metadata: { labels: baseline.optIn } });
    await baseline.awaitChildren(namespace);
    await cluster.kube.namespaces.merge(namespace, { metadata: { labels: { [LABEL_ENFORCE]: null } } });
    await baseline.awaitChildren(namespace, []);
  });

  it('has a child healed in place that somebody edits, and made again that somebody deletes', async () => {
    const namespace = await baseline.optedIn('heals');
    const before = await baseline.child(namespace, 'default-deny');
    await baseline.edit(namespace, 'default-deny', { ingress: [{}] });
    await eventually(async () => {
      const { metadata, spec } = await baseline.child(namespace, 'default-deny');
      assert.deepEqual(spec, before.spec);
      assert.equal(metadata.uid, before.metadata.uid);
    });
    await baseline.deleteAndAwaitHealing(namespace, 'default-deny');
    assert.deepEqual((await baseline.child(namespace, 'default-deny')).spec, before.spec);
  });
});
