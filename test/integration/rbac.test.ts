import assert from 'node:assert/strict';
import type { AuditEvent } from '../../hack/envtest/control-plane.ts';
import { childName } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { conditionOf, Demo } from '../support/demo.ts';
import { allows, describeGrant, grantsOf, type Grant, type Role } from '../support/grants.ts';
import { scrape, tokenOf } from '../support/scrape.ts';
import {
  allowed,
  operatorRoles,
  OPERATOR as NAME,
  OPERATOR_NAMESPACE as NAMESPACE,
  OPERATOR_USER as USER,
} from '../support/service-account.ts';

/** Longer than an event that happens again waits for its count to be written; milliseconds. */
const EVENT_SERIES_MS = 60_000;

/** Every rule there is, and an additional policy. */
const ALL_RULES = [
  'additional',
  'allow-dns',
  'allow-external-egress',
  'allow-ingress-controller',
  'allow-kube-apiserver',
  'allow-monitoring',
  'allow-same-namespace',
  'default-deny',
];

describe('The operator with the rights of config/rbac', function () {
  this.timeout(240_000);
  let demo: Demo;
  let roles: Role[];

  before(async () => {
    // As on OpenShift: who sets blockOwnerDeletion must be allowed to set finalizers of the owner.
    const apiServerFlags = ['--enable-admission-plugins=OwnerReferencesPermissionEnforcement'];
    demo = await Demo.start({
      controlPlane: { auditLog: true, controllerManager: true, apiServerFlags },
      // As in the Deployment.
      flags: ['--leader-elect', '--metrics-secure'],
      env: { POD_NAMESPACE: NAMESPACE },
    });
    roles = await operatorRoles();
    assert.equal(roles.length, 5);
  });

  after(async () => {
    await demo.stop();
  });

  /** What the operator has asked for: each request once, a watch when it starts. Nothing of it is left out. */
  async function requests(): Promise<AuditEvent[]> {
    return (await demo.controlPlane.auditEvents()).filter(
      ({ user, verb, stage }) =>
        user.username === USER && stage === (verb === 'watch' ? 'ResponseStarted' : 'ResponseComplete'),
    );
  }

  async function refused(): Promise<string[]> {
    return (await requests())
      .filter(({ responseStatus }) => [401, 403].includes(responseStatus?.code ?? 0))
      .map(({ verb, requestURI, responseStatus }) => `${verb} ${requestURI}: ${responseStatus?.message ?? ''}`);
  }

  /** The grants that no request of the operator has used. */
  async function unused(): Promise<Grant[]> {
    const asked = await requests();
    return grantsOf(roles).filter((grant) => !asked.some((event) => allows(grant, event)));
  }

  /** Resolves when the authorizer knows whether the operator may set finalizers of BaselinePolicies. */
  async function maySetFinalizers(expected: boolean): Promise<void> {
    const resource = { apiGroup: 'baselinepolicy.dev', resource: 'baselinepolicies/finalizers' };
    const grant = { verb: 'update', ...resource, namespace: undefined, name: undefined };
    await allowed(demo.kube, USER, grant, expected);
  }

  it('is elected, fills, is restarted, heals, changes, audits, holds, is scraped, releases and deletes', async () => {
    const [first = '', second = '', left = ''] = await demo.createNamespaces('life', 3);
    await demo.policy('life', {
      rules: {
        allowSameNamespace: { enabled: true },
        allowKubeAPIServer: { enabled: true },
        allowIngressController: { enabled: true, from: [{ namespaceSelector: { matchLabels: { ingress: 'yes' } } }] },
        allowExternalEgress: { enabled: true },
      },
      additionalPolicies: [
        {
          name: 'additional',
          spec: { podSelector: { matchLabels: { in: '$(namespace.name)' } }, policyTypes: ['Egress'] },
        },
      ],
    });
    await demo.compliant('life', 3);
    for (const namespace of [first, second, left]) await demo.holds(namespace, 'life', ALL_RULES);

    const dns = childName('life', 'allow-dns');
    const inFirst = demo.kube.networkPolicies(first);
    assert.equal(await demo.operator.stop(), 0);
    await inFirst.delete(dns);
    await demo.startOperator();
    await demo.operator.logged('Became leader', 30_000);
    for (const namespace of [first, second, left]) await demo.holds(namespace, 'life', ALL_RULES);

    const heals = async (damage: () => Promise<unknown>, name = dns): Promise<void> => {
      const before = await inFirst.get(name);
      await damage();
      await eventually(async () => {
        const after = await inFirst.get(name);
        assert.notEqual(after.metadata.resourceVersion, before.metadata.resourceVersion);
        assert.deepEqual(
          [after.spec, after.metadata.labels, after.metadata.ownerReferences],
          [before.spec, before.metadata.labels, before.metadata.ownerReferences],
        );
      });
    };
    const edit = (): Promise<unknown> => inFirst.merge(dns, { spec: { egress: [{}] } });
    // The second one is the same event once more: it is counted half a minute later, unless the operator ends before.
    await heals(edit);
    await heals(edit);
    // Another child, as six heals of one within a minute would be a fight.
    const deny = childName('life', 'default-deny');
    await heals(() => inFirst.merge(deny, { metadata: { labels: null } }), deny);
    await heals(() => inFirst.merge(deny, { metadata: { ownerReferences: null } }), deny);
    await heals(() => inFirst.delete(deny), deny);

    await demo.change('life', { rules: { allowMonitoring: { ports: [{ port: 9090 }] } } });
    await demo.compliant('life', 3);
    await demo.optOut(left);
    await demo.holds(left, 'life', []);
    await demo.change('life', { rules: { allowSameNamespace: { enabled: false } } });
    const without = ALL_RULES.filter((rule) => rule !== 'allow-same-namespace');
    await demo.holds(first, 'life', without);

    const foreign = await demo.namespace('conflict');
    const { spec } = await inFirst.get(dns);
    await demo.kube.networkPolicies(foreign).create({ metadata: { name: childName('conflict', 'allow-dns') }, spec });
    await demo.policy('conflict');
    await demo.status('conflict', ({ failures }) => {
      assert.deepEqual(
        failures?.map(({ reason }) => reason).filter((reason) => reason === 'NameConflict'),
        ['NameConflict'],
      );
    });

    await demo.namespace('audit');
    await demo.policy('audit', { mode: 'Audit' });
    await demo.status('audit', ({ audit }) => {
      assert.equal(audit?.create, 3);
    });

    const kept = await demo.namespace('orphan');
    await demo.policy('orphan', { deletionPolicy: 'Orphan' });
    await demo.compliant('orphan', 1);
    await demo.remove('orphan');
    await demo.holds(kept, 'orphan');

    // Deny-first removal, by the finalizer.
    await demo.remove('conflict', 'audit');

    await demo.createNamespaces('brake', 5);
    await demo.policy('brake');
    await demo.compliant('brake', 5);
    await demo.change('brake', { namespaceSelector: { matchLabels: { no: 'such' } } });
    await demo.status('brake', (status) => {
      assert.equal(conditionOf(status, 'DeletionHeld')?.status, 'True');
    });

    // Known, but without the right to read: both reviews are needed to tell.
    const token = await tokenOf(demo.kube, NAMESPACE, NAME);
    assert.equal((await scrape(new URL(demo.operator.url('metrics')).port, { token })).status, 403);

    await demo.remove('life', 'brake');
    for (const namespace of [first, second]) await demo.holds(namespace, 'life', []);

    assert.deepEqual(await refused(), []);
  });

  it('is never refused, and uses each right', async () => {
    // OwnerReferencesPermissionEnforcement asks the authorizer; that is no request of the operator.
    const byAdmission = 'update baselinepolicies/finalizers.baselinepolicy.dev everywhere';
    await eventually(
      async () => {
        assert.deepEqual((await unused()).map(describeGrant), [byAdmission]);
      },
      { timeout: EVENT_SERIES_MS, interval: 1_000 },
    );
    assert.deepEqual(await refused(), []);
  });

  it('could not own children without the right to finalizers, where the API server enforces it', async () => {
    const clusterRoles = demo.kube.resource('rbac.authorization.k8s.io/v1', 'clusterroles');
    const role = (await clusterRoles.get(NAME)) as Role;
    const index = role.rules.findIndex(({ resources }) => resources?.includes('baselinepolicies/finalizers'));
    const { [index]: rule } = role.rules;
    await clusterRoles.patch(NAME, [{ op: 'remove', path: `/rules/${index}` }]);
    await maySetFinalizers(false);
    const namespace = await demo.namespace('finalizers');
    await demo.policy('finalizers');
    await demo.status('finalizers', ({ failures = [] }) => {
      const forbidden = failures.find(({ reason }) => reason === 'Forbidden');
      assert.match(forbidden?.message ?? JSON.stringify(failures), /blockOwnerDeletion/);
    });
    assert.deepEqual(await demo.kube.networkPolicies(namespace).list(), []);
    await clusterRoles.patch(NAME, [{ op: 'add', path: '/rules/-', value: rule }]);
    await maySetFinalizers(true);
    // Else it waits about as long as it was refused.
    await demo.label(namespace, { again: 'now' });
    await demo.holds(namespace, 'finalizers');
  });
});
