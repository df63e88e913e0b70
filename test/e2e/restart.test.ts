import assert from 'node:assert/strict';
import { eventually } from '../support/await.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { OWN_NODE, type Pod, type RealCluster } from '../support/real-cluster.ts';

// Only a node of one's own can be restarted.
if (OWN_NODE) {
  describe('When the node restarts', function () {
    this.timeout(600_000);
    let cluster: RealCluster;
    let baseline: OwnBaseline;

    before(async () => {
      cluster = await installedOperator();
      baseline = await OwnBaseline.create(cluster);
    });

    after(() => baseline[Symbol.asyncDispose]());

    it('all pods come back, one of the operator leads, and no NetworkPolicy is written', async () => {
      const namespace = await baseline.optedIn('before');
      const versions = await baseline.versions(namespace);
      const containers = new Set((await systemPods(cluster)).flatMap(containersOf));
      assert.ok(containers.size >= 3, [...containers].join());

      await cluster.node.restart();
      await eventually(
        async () => {
          for (const pod of await systemPods(cluster)) {
            const { metadata, status } = pod;
            assert.ok(!containersOf(pod).some((id) => containers.has(id)), `${metadata.name} has its old container`);
            assert.ok(
              status.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
              `${metadata.name} is not ready: ${JSON.stringify(status)}`,
            );
          }
        },
        { timeout: 180_000, interval: 500 },
      );
      // By the time that another namespace has its children, the operator knows all of them.
      await baseline.optedIn('after');
      assert.deepEqual(await baseline.versions(namespace), versions);
      await baseline.deleteAndAwaitHealing(namespace, 'default-deny');
    });
  });
}

/** The operator's pods and those of DNS. */
async function systemPods(cluster: RealCluster): Promise<Pod[]> {
  return [
    ...(await cluster.operatorPods()),
    ...(await cluster.kube.resource<Pod>('v1', 'pods', 'kube-system').list({ labelSelector: 'k8s-app=kube-dns' })),
  ];
}

function containersOf({ status }: Pod): string[] {
  return (status.containerStatuses ?? []).flatMap(({ containerID }) => containerID ?? []);
}
