import { OWN_NODE, RealCluster } from './real-cluster.ts';
import { OPERATOR_NAMESPACE } from './service-account.ts';

let installed: Promise<RealCluster> | undefined;
let wasThere = false;

/** The cluster of all tests of `test/e2e`, with the operator installed by its manifests; the first to ask starts it. */
export function installedOperator(): Promise<RealCluster> {
  return (installed ??= install());
}

async function install(): Promise<RealCluster> {
  const cluster = await RealCluster.start();
  try {
    wasThere = (await cluster.kube.namespaces.find(OPERATOR_NAMESPACE)) !== undefined;
    await cluster.installOperator();
    return cluster;
  } catch (error) {
    console.error(await cluster.describe());
    await cluster.stop();
    throw error;
  }
}

afterEach(async function () {
  this.timeout(60_000);
  if (this.currentTest?.state === 'failed' && installed) console.error(await (await installed).describe());
});

after(async function () {
  this.timeout(180_000);
  const cluster = await installed?.catch(() => undefined);
  if (!cluster) return;
  try {
    // A cluster of somebody else is left as it was; a node of its own goes as a whole.
    if (!OWN_NODE && !wasThere) await cluster.undeploy();
  } finally {
    await cluster.stop();
  }
});
