import assert from 'node:assert/strict';
import { eventually } from '../support/await.ts';
import { ClientPod } from '../support/client-pod.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { OWN_NODE, type RealCluster } from '../support/real-cluster.ts';

const PORT = 8080;
const SERVER = `import { createServer } from 'node:http';
  createServer((_, answer) => answer.end('reached')).listen(${PORT});`;

// What a network plugin does that enforces NetworkPolicies is not for us to test; what none does, users must know.
if (OWN_NODE) {
  describe('Where nothing enforces NetworkPolicies', function () {
    this.timeout(300_000);
    let cluster: RealCluster;
    let baseline: OwnBaseline;

    before(async () => {
      cluster = await installedOperator();
      baseline = await OwnBaseline.create(cluster);
    });

    after(() => baseline[Symbol.asyncDispose]());

    it('a connection that default-deny forbids is made all the same, and nothing tells', async () => {
      const outside = await baseline.namespace('outside');
      const inside = await baseline.optedIn('inside');
      const server = await ClientPod.start(cluster, { namespace: outside, name: 'server', script: SERVER });
      const client = await ClientPod.start(cluster, { namespace: inside, name: 'client' });

      const { code, stdout } = await cluster.kubectlBaseline(
        ...['can', `${inside}/client`, `${outside}/server`, `--port=${PORT}`],
      );
      assert.match(stdout, /^deny: /);
      assert.equal(code, 1);
      // The server's pod is ready a moment before it listens.
      await eventually(async () => {
        const answer = client.run(`export default (await fetch('http://${server.ip}:${PORT}')).text();`);
        assert.equal(await answer, 'reached');
      });
      const { stdout: status } = await cluster.kubectlBaseline('status', `--namespace=${inside}`);
      assert.match(status, new RegExp(`^${inside} +${baseline.name} +compliant`, 'm'));
    });
  });
}
