import assert from 'node:assert/strict';
import { eventually } from '../support/await.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { OWN_NODE, type RealCluster } from '../support/real-cluster.ts';
import { OPERATOR_NAMESPACE } from '../support/service-account.ts';

/** The Lease lasts 15 s; the others look at it every 2 s or a little more. */
const TAKEOVER_MS = 20_000;

describe('When the pod of the leader ends', function () {
  this.timeout(300_000);
  let cluster: RealCluster;
  let baseline: OwnBaseline;
  let namespace: string;

  before(async () => {
    cluster = await installedOperator();
    baseline = await OwnBaseline.create(cluster);
    namespace = await baseline.optedIn('takeover');
  });

  after(() => baseline[Symbol.asyncDispose]());

  it('by a delete, another leads in less than 20 s, and heals', () =>
    takesOver(async (leader) => {
      await cluster.kubectl('delete', 'pod', leader, `--namespace=${OPERATOR_NAMESPACE}`, '--wait=false');
    }));

  it('by a forced delete, another leads in less than 20 s, and heals', () =>
    takesOver(async (leader) => {
      const force = ['--wait=false', '--grace-period=0', '--force'];
      await cluster.kubectl('delete', 'pod', leader, `--namespace=${OPERATOR_NAMESPACE}`, ...force);
    }));

  // Kubelet asks before it kills, also then; only who has the node can do it without.
  if (OWN_NODE) {
    it('by a crash, another leads in less than 20 s, when the Lease has run out, and heals', () =>
      takesOver(async (leader) => {
        const pod = (await cluster.operatorPods()).find(({ metadata }) => metadata.name === leader);
        await cluster.node.crashPod(pod?.metadata.uid ?? '');
      }));
  }

  /** Lets the leader's pod go, waits until another leads, and then lets that one heal. */
  async function takesOver(letGo: (leader: string) => Promise<void>): Promise<void> {
    await cluster.operatorReady();
    const leader = await eventually(async () => {
      const name = await cluster.leader();
      assert.ok(name !== undefined, 'nobody leads');
      return name;
    });
    const versions = await baseline.versions(namespace);
    await letGo(leader);
    await eventually(
      async () => {
        const name = await cluster.leader();
        assert.ok(name !== undefined && name !== leader, `${String(name)} leads`);
      },
      { timeout: TAKEOVER_MS, interval: 100 },
    );
    assert.deepEqual(await baseline.versions(namespace), versions);
    await baseline.deleteAndAwaitHealing(namespace, 'allow-dns');
    await cluster.operatorReady();
  }
});
