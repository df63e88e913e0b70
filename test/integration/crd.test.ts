import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { ControlPlane } from '../../hack/envtest/control-plane.ts';
import { API_VERSION, CRD_NAME, KIND } from '../../src/api/baselinepolicy.ts';
import { eventually } from '../support/await.ts';
import { INVALID, VALID } from '../support/crd-manifests.ts';
import { KubeClient, type Manifest, StatusError } from '../support/kube.ts';

const CRD_FILE = new URL('../../crds/baselinepolicy.dev_baselinepolicies.yaml', import.meta.url);

/** The part of `metav1.Status` that says what is wrong with an object. */
interface StatusBody {
  details?: { causes?: { field?: string; message: string }[] };
}

function manifest(name: string, spec?: unknown): Manifest {
  return { apiVersion: API_VERSION, kind: KIND, metadata: { name }, ...(spec !== undefined && { spec }) };
}

describe('The CustomResourceDefinition', function () {
  this.timeout(60_000);
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let crd: Manifest;

  before(async () => {
    controlPlane = await ControlPlane.start({ controllerManager: false });
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    crd = parse(await readFile(CRD_FILE, 'utf8')) as Manifest;
    await definitions().apply(crd);
    await eventually(() => client.baselinePolicies.list());
  });

  after(async () => {
    await client.close();
    await controlPlane.stop();
  });

  const definitions = () => client.resource('apiextensions.k8s.io/v1', 'customresourcedefinitions');
  const dryRun = (object: Manifest) =>
    client.baselinePolicies.create(object, { dryRun: 'All', fieldValidation: 'Strict' });

  it('is installed again over itself without a change', async () => {
    // The API server itself may still write the status of a definition that is new.
    await eventually(async () => {
      const before = await definitions().get(CRD_NAME);
      await definitions().apply(crd);
      const after = await definitions().get(CRD_NAME);
      assert.equal(after.metadata.generation, before.metadata.generation);
      assert.equal(after.metadata.resourceVersion, before.metadata.resourceVersion);
    });
  });

  it('is a structural schema whose names the API server accepts', async () => {
    const { status } = (await definitions().get(CRD_NAME)) as Manifest & {
      status: { conditions: { type: string; status: string }[]; acceptedNames: { shortNames: string[] } };
    };
    const conditions = Object.fromEntries(status.conditions.map(({ type, status: value }) => [type, value]));
    assert.deepEqual(conditions, { NamesAccepted: 'True', Established: 'True' });
    assert.deepEqual(status.acceptedNames.shortNames, ['blp']);
  });

  it('fills an empty spec with every default', async () => {
    const created = await client.baselinePolicies.create(manifest('defaults', {}));
    assert.deepEqual((await client.baselinePolicies.get('defaults')).spec, created.spec);
    assert.deepEqual(created.spec, {
      mode: 'Enforce',
      namespaceSelector: { matchLabels: { 'baselinepolicy.dev/enforce': 'true' } },
      rules: {
        defaultDeny: { enabled: true, policyTypes: ['Ingress', 'Egress'] },
        allowDNS: { enabled: true, targets: ['KubeDNS', 'NodeLocalDNS'] },
        allowMonitoring: {
          enabled: true,
          from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
        },
        allowSameNamespace: { enabled: false },
        allowKubeAPIServer: { enabled: false },
        allowIngressController: { enabled: false },
        allowExternalEgress: { enabled: false },
      },
      deletionPolicy: 'Delete',
    });
  });

  it('keeps an explicit empty selector, and fills a rule that is given in part', async () => {
    const { spec } = await client.baselinePolicies.create(
      manifest('partial', { namespaceSelector: {}, rules: { defaultDeny: { policyTypes: ['Ingress'] } } }),
    );
    assert.deepEqual(spec.namespaceSelector, {});
    assert.deepEqual(spec.rules?.defaultDeny, { enabled: true, policyTypes: ['Ingress'] });
    assert.equal(spec.rules.allowDNS?.enabled, true);
  });

  it('lets server-side apply replace a default as a whole', async () => {
    await client.baselinePolicies.apply(manifest('applied', {}));
    const selector = { matchLabels: { team: 'a' } };
    const from = [{ podSelector: {} }];
    const { spec } = await client.baselinePolicies.apply(
      manifest('applied', {
        namespaceSelector: selector,
        rules: {
          defaultDeny: { policyTypes: ['Ingress'] },
          allowDNS: { targets: ['OpenShiftDNS'] },
          allowMonitoring: { from },
        },
      }),
    );
    assert.deepEqual(spec.namespaceSelector, selector);
    assert.deepEqual(spec.rules?.defaultDeny?.policyTypes, ['Ingress']);
    assert.deepEqual(spec.rules.allowDNS?.targets, ['OpenShiftDNS']);
    assert.deepEqual(spec.rules.allowMonitoring?.from, from);
  });

  it('counts a generation for a new spec, and none for a new status', async () => {
    await client.baselinePolicies.create(manifest('generations', {}));
    const status = {
      observedGeneration: 1,
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          observedGeneration: 1,
          lastTransitionTime: '2026-01-02T03:04:05Z',
          reason: 'Compliant',
          message: '',
        },
      ],
      namespaces: { selected: 3, compliant: 2, drifted: 1, failed: 0, pending: 0 },
      networkPolicies: { desired: 9, current: 8 },
      drift: { detectedTotal: 1, healedTotal: 0, lastDetectedTime: '2026-01-02T03:04:05Z' },
      audit: { create: 1, update: 0, delete: 0 },
      failures: [{ namespace: 'a', rule: 'allow-dns', reason: 'Forbidden', message: 'exceeded quota' }],
      moreFailures: 0,
    };
    const reported = await client.baselinePolicies.merge('generations', { status }, 'status');
    assert.deepEqual(reported.status, status);
    assert.equal(reported.metadata.generation, 1);
    const changed = await client.baselinePolicies.merge('generations', { spec: { mode: 'Audit' }, status: null });
    assert.equal(changed.metadata.generation, 2);
    assert.deepEqual(changed.status, status);
  });

  it('refuses a status with more failures than it may list', async () => {
    await client.baselinePolicies.create(manifest('failing', {}));
    const failure = { namespace: 'a', rule: 'allow-dns', reason: 'Forbidden', message: 'exceeded quota' };
    await assert.rejects(
      client.baselinePolicies.merge('failing', { status: { failures: Array(21).fill(failure) } }, 'status'),
      /status\.failures: .*must have at most 20 items/,
    );
  });

  it('has the columns that kubectl get prints', async () => {
    const { spec } = (await definitions().get(CRD_NAME)) as Manifest & {
      spec: { versions: { additionalPrinterColumns: { name: string; jsonPath: string }[] }[] };
    };
    assert.deepEqual(
      spec.versions[0]?.additionalPrinterColumns.map(({ name, jsonPath }) => `${name} ${jsonPath}`),
      [
        'Mode .spec.mode',
        'Selected .status.namespaces.selected',
        'Compliant .status.namespaces.compliant',
        'Drifted .status.namespaces.drifted',
        'Ready .status.conditions[?(@.type=="Ready")].status',
        'Age .metadata.creationTimestamp',
      ],
    );
  });

  describe('accepts', () => {
    for (const { title, name = 'valid', spec } of VALID) {
      it(title, () => dryRun(manifest(name, spec)));
    }
  });

  describe('refuses', () => {
    for (const { title, name = 'invalid', spec, field, message } of INVALID) {
      it(title, async () => {
        const error = await dryRun(manifest(name, spec)).then(
          () => assert.fail('Expected the API server to refuse the manifest, but it accepted it'),
          (thrown: unknown) => thrown,
        );
        assert.ok(error instanceof StatusError, String(error));
        assert.ok(error.message.includes(message), `Expected "${message}" in: ${error.message}`);
        const causes = ((error.body as StatusBody).details?.causes ?? []).filter(
          // Said beside an error of the OpenAPI schema, as CEL rules do not run then.
          (cause) => !cause.message.includes('some validation rules were not checked'),
        );
        assert.deepEqual(
          causes.map((cause) => cause.field ?? ''),
          field === '' ? [] : [field],
          error.message,
        );
      });
    }
  });
});
