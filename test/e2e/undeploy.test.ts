import assert from 'node:assert/strict';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { OWN_NODE } from '../support/real-cluster.ts';
import { OPERATOR_NAMESPACE } from '../support/service-account.ts';

// The last file by name: no test after it has an operator. A cluster of somebody else may have had one before.
if (OWN_NODE) {
  describe('Removing the operator', function () {
    this.timeout(300_000);

    it('takes BaselinePolicies and their NetworkPolicies along, then all that config/default made', async () => {
      const cluster = await installedOperator();
      const baseline = await OwnBaseline.create(cluster);
      const namespace = await baseline.optedIn('undeploy');
      await cluster.undeploy();
      assert.deepEqual(await baseline.versions(namespace), {});
      assert.equal(await cluster.kube.namespaces.find(OPERATOR_NAMESPACE), undefined);
      const definitions = cluster.kube.resource('apiextensions.k8s.io/v1', 'customresourcedefinitions');
      assert.equal(await definitions.find('baselinepolicies.baselinepolicy.dev'), undefined);
    });
  });
}
