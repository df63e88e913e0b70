import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { findAsset } from '../../hack/envtest/assets.ts';
import { type AuditEvent, ControlPlane } from '../../hack/envtest/control-plane.ts';
import { openTo } from '../../src/analysis/lint/everyone.ts';
import { readPolicy } from '../../src/analysis/policy.ts';
import { API_VERSION, KIND } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import {
  childName,
  FINALIZER,
  LABEL_ENFORCE,
  LABEL_MANAGED_BY,
  LABEL_POLICY,
  LABEL_RULE,
  MANAGER,
} from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { Folder, runCLI } from '../support/cli.ts';
import { KubeClient, StatusError } from '../support/kube.ts';
import { kubectl, PROJECT } from '../support/kubectl.ts';
import { OPENINGS } from '../support/openings.ts';
import { OperatorProcess } from '../support/operator.ts';
import { OPERATOR as NAME, OPERATOR_NAMESPACE as NAMESPACE } from '../support/service-account.ts';

const BREAK_GLASS = 'baselinepolicy.dev/break-glass';
const MERGE = 'application/merge-patch+json';
/** Nothing is stored, all else happens. */
const DRY_RUN = { dryRun: 'All' };
/** Controllers try again after a pause that doubles each time. */
const RETRIED = { timeout: 120_000 };

/** A pod that every Pod Security Standard admits. */
const POD = {
  automountServiceAccountToken: false,
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [
    {
      name: 'main',
      image: 'none',
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    },
  ],
};

/** An admission policy, without the group of its name. */
type PolicyName =
  | 'protected-networkpolicies'
  | 'reserved-names'
  | 'protected-namespace-labels'
  | 'orphaning'
  | 'start-gate'
  | 'opening-guard';

interface ReplicaSet extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly object[] };
}

interface AdmissionPolicy extends KubernetesObject {
  readonly status?: {
    readonly observedGeneration?: number;
    readonly typeChecking?: { readonly expressionWarnings?: readonly object[] };
  };
}

/** What became of a request: it was allowed, or this admission policy refused it. Any other refusal is thrown. */
async function verdict(request: Promise<unknown>): Promise<'allowed' | PolicyName> {
  try {
    await request;
    return 'allowed';
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    const [, name] = /ValidatingAdmissionPolicy '([a-z-]+)\.baselinepolicy\.dev'/.exec(error.message) ?? [];
    if (name === undefined) throw error;
    return name as PolicyName;
  }
}

describe('config/admission', function () {
  this.timeout(300_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;
  let operator: OperatorProcess | undefined;
  let pods = 0;

  before(async () => {
    // With the users that controllers have in clusters, by a ServiceAccount each.
    const controllerManagerFlags = ['--use-service-account-credentials=true'];
    controlPlane = await ControlPlane.start({ auditLog: true, controllerManagerFlags });
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
  });

  after(async () => {
    await stopOperator();
    await kube.close();
    await controlPlane.stop();
  });

  async function apply(folder: string): Promise<void> {
    await kubectl(['apply', '-k', folder], controlPlane.kubeconfig);
  }

  async function remove(folder: string): Promise<void> {
    await kubectl(['delete', '-k', folder], controlPlane.kubeconfig);
  }

  /** The operator under the ServiceAccount of the manifests, as a pod would run it: nothing runs pods here. */
  async function startOperator(): Promise<void> {
    const kubeconfig = await controlPlane.kubeconfigForServiceAccount(NAMESPACE, NAME);
    operator = await OperatorProcess.start({ kubeconfig, env: { POD_NAMESPACE: NAMESPACE } });
  }

  async function stopOperator(): Promise<void> {
    operator?.signal('SIGKILL');
    await operator?.exited();
    operator = undefined;
  }

  async function createPolicy(name: string, spec: object): Promise<void> {
    const object = { apiVersion: API_VERSION, kind: KIND, metadata: { name }, spec };
    // The definition may be new: the API server takes objects of it some time after it says so.
    await eventually(() => kube.baselinePolicies.create(object), { timeout: 60_000 });
  }

  async function createNamespace(name: string, labels: Record<string, string> = {}): Promise<void> {
    await kube.namespaces.create({ metadata: { name, labels } });
  }

  /** Resolves when a namespace has the children of a policy. */
  async function hasChildren(namespace: string, policy: string): Promise<void> {
    await eventually(
      async () => {
        const names = (await kube.networkPolicies(namespace).list()).map(({ metadata }) => metadata.name);
        const expected = ['allow-dns', 'allow-monitoring', 'default-deny'].map((rule) => childName(policy, rule));
        assert.deepEqual(
          names.filter((name) => name.startsWith(`${policy}.`)),
          expected,
        );
      },
      { timeout: 60_000 },
    );
  }

  /** Resolves when the API server acts on a policy or binding that was written: a request has this verdict. */
  async function inForce(expected: 'allowed' | PolicyName, request: () => Promise<unknown>): Promise<void> {
    await eventually(
      async () => {
        assert.equal(await verdict(request()), expected);
      },
      { timeout: 60_000 },
    );
  }

  function createDry(client: KubeClient, namespace: string, object: object): Promise<unknown> {
    return client.networkPolicies(namespace).create(object, DRY_RUN);
  }

  function mergeDry(client: KubeClient, path: string, body: object): Promise<unknown> {
    return client.request('PATCH', path, { query: DRY_RUN, body, contentType: MERGE });
  }

  function pathOf(namespace: string, name = ''): string {
    return `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies${name === '' ? '' : `/${name}`}`;
  }

  /** Creates a pod, as far as the API server lets it. */
  async function createPod(namespace: string): Promise<void> {
    const pod = { metadata: { name: `pod-${++pods}` }, spec: POD };
    await kube.resource('v1', 'pods', namespace).create(pod, DRY_RUN);
  }

  /** Resolves when pods of a namespace find their ServiceAccount, which controllers make. */
  async function hasServiceAccount(namespace: string): Promise<void> {
    await eventually(() => kube.resource('v1', 'serviceaccounts', namespace).get('default'), RETRIED);
  }

  async function podsOf(namespace: string): Promise<number> {
    return (await kube.resource('v1', 'pods', namespace).list()).length;
  }

  async function deploy(namespace: string): Promise<void> {
    const labels = { app: 'web' };
    const spec = { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: POD } };
    await kube.resource('apps/v1', 'deployments', namespace).create({ metadata: { name: 'web' }, spec });
  }

  const OURS = { [LABEL_MANAGED_BY]: MANAGER, [LABEL_POLICY]: 'base', [LABEL_RULE]: 'default-deny' };

  describe('without the CustomResourceDefinition', () => {
    before(() => apply('config/admission/tamper-protection'));
    after(() => remove('config/admission/tamper-protection'));

    it('keeps nobody from writing NetworkPolicies, with any name', async () => {
      const labelled = { metadata: { name: 'mine', labels: OURS }, spec: {} };
      await inForce('protected-networkpolicies', () => createDry(kube, 'default', labelled));
      // The API server takes a second to act on all of them.
      await consistently(
        async () => {
          for (const name of ['mine', 'base.default-deny']) {
            assert.equal(await verdict(createDry(kube, 'default', { metadata: { name }, spec: {} })), 'allowed');
          }
        },
        { for: 2_500 },
      );
    });
  });

  describe('tamper protection', () => {
    const child = childName('base', 'allow-dns');
    let tenant: KubeClient;
    let namespaceAdmin: KubeClient;
    let platform: KubeClient;
    let clusterAdmin: KubeClient;
    let holder: KubeClient;

    before(async () => {
      await apply('config/default');
      await createNamespace('team', { [LABEL_ENFORCE]: 'true', 'baselinepolicy.dev/other': 'yes' });
      await startOperator();
      await createPolicy('base', {});
      await hasChildren('team', 'base');

      const bind = (name: string, kind: 'ClusterRoleBinding' | 'RoleBinding', role: string, user: string): object => ({
        metadata: { name },
        kind,
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
      });
      const rbac = 'rbac.authorization.k8s.io/v1';
      await kube.resource(rbac, 'clusterroles').create({
        metadata: { name: 'platform' },
        rules: [
          { apiGroups: [''], resources: ['namespaces', 'namespaces/status', 'namespaces/finalize'], verbs: ['*'] },
          { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: ['*'] },
        ],
      });
      const inTeam = kube.resource(rbac, 'rolebindings', 'team');
      const inCluster = kube.resource(rbac, 'clusterrolebindings');
      await inTeam.create(bind('tenant', 'RoleBinding', 'edit', 'tenant'));
      await inTeam.create(bind('namespace-admin', 'RoleBinding', 'admin', 'namespace-admin'));
      // A right in a namespace is none to break the glass.
      await inTeam.create(bind('no-break-glass', 'RoleBinding', 'baselinepolicy-break-glass', 'tenant'));
      await inCluster.create(bind('platform', 'ClusterRoleBinding', 'platform', 'platform'));
      await inCluster.create(bind('platform-holder', 'ClusterRoleBinding', 'platform', 'holder'));
      await inCluster.create(bind('break-glass', 'ClusterRoleBinding', 'baselinepolicy-break-glass', 'holder'));
      await inCluster.create(bind('opt-out', 'ClusterRoleBinding', 'baselinepolicy-opt-out', 'holder'));
      await inCluster.create(bind('the-cluster-admin', 'ClusterRoleBinding', 'cluster-admin', 'cluster-admin'));
      tenant = kube.as('tenant');
      namespaceAdmin = kube.as('namespace-admin');
      platform = kube.as('platform');
      clusterAdmin = kube.as('cluster-admin');
      holder = kube.as('holder');

      for (const client of [tenant, namespaceAdmin, platform, clusterAdmin, holder]) {
        const free = { metadata: { name: 'free' }, spec: {} };
        await eventually(() => createDry(client, 'team', free), { timeout: 60_000 });
      }
      await inForce('protected-networkpolicies', () => onChild({ spec: { egress: [{}] } })(tenant));
      const reserved = { metadata: { name: childName('base', 'mine') }, spec: {} };
      await inForce('reserved-names', () => createDry(tenant, 'team', reserved));
      const other = { metadata: { labels: { 'baselinepolicy.dev/other': null } } };
      await inForce('protected-namespace-labels', () => mergeDry(platform, '/api/v1/namespaces/team', other));
    });

    interface Case {
      readonly what: string;
      readonly run: (client: KubeClient) => Promise<unknown>;
      readonly refusedBy: PolicyName;
    }

    const onChild = (patch: object): Case['run'] => {
      return (client) => mergeDry(client, pathOf('team', child), patch);
    };
    const create = (metadata: object): Case['run'] => {
      return (client) => createDry(client, 'team', { metadata: { name: 'mine', ...metadata }, spec: {} });
    };
    const owner = { apiVersion: API_VERSION, kind: KIND, name: 'base', uid: '00000000-0000-0000-0000-000000000000' };
    const refusedBy = 'protected-networkpolicies';
    const forbidden: readonly Case[] = [
      { what: 'change the spec of a child', run: onChild({ spec: { egress: [{}] } }), refusedBy },
      { what: 'take the labels off a child', run: onChild({ metadata: { labels: null } }), refusedBy },
      { what: 'change a label of a child', run: onChild({ metadata: { labels: { [LABEL_RULE]: 'x' } } }), refusedBy },
      { what: 'take the owner off a child', run: onChild({ metadata: { ownerReferences: null } }), refusedBy },
      {
        what: 'take all marks off a child',
        run: onChild({ metadata: { labels: null, ownerReferences: null } }),
        refusedBy,
      },
      {
        what: 'set an annotation of ours on a child',
        run: onChild({ metadata: { annotations: { 'baselinepolicy.dev/description': 'x' } } }),
        refusedBy,
      },
      {
        what: 'replace a child',
        run: async (client) => {
          const live = await kube.networkPolicies('team').get(child);
          return client.request('PUT', pathOf('team', child), { query: DRY_RUN, body: { ...live, spec: {} } });
        },
        refusedBy,
      },
      {
        what: 'delete a child',
        run: (client) => client.request('DELETE', pathOf('team', child), { query: DRY_RUN }),
        refusedBy,
      },
      {
        what: 'delete all NetworkPolicies of the namespace',
        run: (client) => client.request('DELETE', pathOf('team'), { query: DRY_RUN }),
        refusedBy,
      },
      { what: 'create with the labels', run: create({ labels: OURS }), refusedBy },
      { what: 'create with one of them', run: create({ labels: { [LABEL_MANAGED_BY]: MANAGER } }), refusedBy },
      { what: 'create with the owner', run: create({ ownerReferences: [owner] }), refusedBy },
      { what: 'create a name of the baseline', run: create({ name: child }), refusedBy: 'reserved-names' },
      { what: 'create a name that may be one', run: create({ name: 'base.mine' }), refusedBy: 'reserved-names' },
      {
        what: 'create a generated name of the baseline',
        run: (client) => createDry(client, 'team', { metadata: { generateName: 'base.x-' }, spec: {} }),
        refusedBy: 'reserved-names',
      },
    ];

    it('refuses everybody but the operator what belongs to the baseline, cluster admins too', async () => {
      const message = /expected the operator to write .*, got tenant: .* annotate NetworkPolicy base\.allow-dns with/;
      await assert.rejects(tenant.networkPolicies('team').delete(child), message);
      const wrong = [];
      for (const { what, run, refusedBy: expected } of forbidden) {
        for (const [who, client] of Object.entries({ tenant, namespaceAdmin, platform, clusterAdmin, holder })) {
          const found = await verdict(run(client));
          if (found !== expected) wrong.push(`${who} may ${what}: ${found}`);
        }
      }
      assert.deepEqual(wrong, []);
    });

    it('refuses labels of the baseline on a NetworkPolicy that has none', async () => {
      await kube.networkPolicies('team').create({ metadata: { name: 'own' }, spec: {} });
      const label = { metadata: { labels: { [LABEL_RULE]: 'default-deny' } } };
      assert.equal(await verdict(mergeDry(tenant, pathOf('team', 'own'), label)), 'protected-networkpolicies');
      await tenant.networkPolicies('team').merge('own', { spec: { podSelector: { matchLabels: { app: 'web' } } } });
      await tenant.networkPolicies('team').delete('own');
    });

    it('leaves alone what is not of the baseline: names with dots, labels, annotations and finalizers of others', async () => {
      const allowed = [
        ...['own', 'a.b', 'base', 'basement.default-deny', 'team.default-deny'].map((name) => create({ name })),
        create({ labels: { [LABEL_MANAGED_BY]: 'Helm', app: 'web' } }),
        create({ annotations: { 'baselinepolicy.dev/lint-ignore': 'BPL010=public' } }),
        onChild({ metadata: { labels: { team: 'web' }, annotations: { team: 'web' } } }),
        // As the network policy controller of Amazon's VPC CNI does, without which its policies have no effect.
        onChild({ metadata: { finalizers: ['networking.k8s.aws/resources'] } }),
      ];
      for (const run of allowed) {
        for (const client of [tenant, namespaceAdmin, platform, clusterAdmin]) {
          assert.equal(await verdict(run(client)), 'allowed', run.toString());
        }
      }
    });

    it('lets the operator and the controllers of Kubernetes do their work', async () => {
      const account = (namespace: string, name: string): KubeClient =>
        kube.as(`system:serviceaccount:${namespace}:${name}`, [
          'system:authenticated',
          'system:serviceaccounts',
          `system:serviceaccounts:${namespace}`,
        ]);
      const deletes: Case['run'] = (client) => client.request('DELETE', pathOf('team', child), { query: DRY_RUN });
      const collects: Case['run'] = (client) => client.request('DELETE', pathOf('team'), { query: DRY_RUN });
      const unowns = onChild({ metadata: { ownerReferences: null } });
      const allowed: readonly (readonly [KubeClient, readonly Case['run'][]])[] = [
        [account(NAMESPACE, NAME), [deletes, unowns, create({ name: 'base.mine', labels: OURS })]],
        [account('kube-system', 'generic-garbage-collector'), [deletes, unowns]],
        [account('kube-system', 'namespace-controller'), [deletes, collects]],
        // Where controllers have no ServiceAccounts.
        [kube.as('system:kube-controller-manager', ['system:masters']), [deletes, collects, unowns]],
      ];
      for (const [client, runs] of allowed) {
        for (const run of runs) assert.equal(await verdict(run(client)), 'allowed');
      }
      // Another ServiceAccount of the same name, or of the same namespace, is somebody else.
      const others = [account('team', NAME), account(NAMESPACE, 'default')];
      await kube.resource('rbac.authorization.k8s.io/v1', 'rolebindings', 'team').create({
        metadata: { name: 'accounts' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'edit' },
        subjects: [
          { apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:serviceaccounts:team' },
          { apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: `system:serviceaccounts:${NAMESPACE}` },
        ],
      });
      for (const client of others) await inForce('protected-networkpolicies', () => deletes(client));
    });

    it('gives way to a reason from who may break the glass, and puts it into the audit log', async () => {
      const annotations = { [BREAK_GLASS]: 'incident 7' };
      const withReason = { metadata: { annotations }, spec: { egress: [{}] } };
      const reserved = create({ name: child, annotations });
      const labelled = create({ labels: OURS, annotations });
      for (const client of [tenant, namespaceAdmin, platform]) {
        assert.equal(await verdict(onChild(withReason)(client)), 'protected-networkpolicies');
        assert.equal(await verdict(labelled(client)), 'protected-networkpolicies');
        assert.equal(await verdict(create({ name: 'base.mine', annotations })(client)), 'reserved-names');
      }
      const empty = { metadata: { annotations: { [BREAK_GLASS]: '' } }, spec: { egress: [{}] } };
      assert.equal(await verdict(onChild(empty)(clusterAdmin)), 'protected-networkpolicies');
      for (const client of [clusterAdmin, holder]) {
        assert.equal(await verdict(onChild(withReason)(client)), 'allowed');
        assert.equal(await verdict(labelled(client)), 'allowed');
        assert.equal(await verdict(create({ name: 'base.mine', annotations })(client)), 'allowed');
        // It is there already: that is an answer of the storage, after admission.
        await assert.rejects(reserved(client), (error) => error instanceof StatusError && error.status === 409);
      }

      // A delete has no object of its own: the annotation goes before.
      const mark = await controlPlane.auditMark();
      const policies = holder.networkPolicies('team');
      const before = await kube.networkPolicies('team').get(child);
      await policies.merge(child, { metadata: { annotations } });
      await policies.delete(child);
      await eventually(async () => {
        const after = await kube.networkPolicies('team').get(child);
        assert.notEqual(after.metadata.uid, before.metadata.uid, 'the operator has made it again');
      });
      const reasons = (await controlPlane.auditEvents(mark)).flatMap((event) => {
        const found = (event as AuditEvent & { annotations?: Record<string, string> }).annotations;
        return found?.['protected-networkpolicies.baselinepolicy.dev/break-glass'] ?? [];
      });
      assert.deepEqual(reasons, ['incident 7', 'incident 7']);
    });

    it('lets the operator heal what was changed by breaking the glass', async () => {
      const patch = { metadata: { annotations: { [BREAK_GLASS]: 'incident 8' } }, spec: { egress: [{}] } };
      const before = await kube.networkPolicies('team').get(child);
      await clusterAdmin.networkPolicies('team').merge(child, patch);
      await eventually(async () => {
        assert.deepEqual((await kube.networkPolicies('team').get(child)).spec, before.spec);
      });
      // Who put the annotation there takes it off again.
      const off = { metadata: { annotations: { [BREAK_GLASS]: null } } };
      assert.equal(await verdict(onChild(off)(tenant)), 'protected-networkpolicies');
      await clusterAdmin.networkPolicies('team').merge(child, off);
    });

    it('lets namespaces opt in, and whoever has the right opt out', async () => {
      await createNamespace('closed', { [LABEL_ENFORCE]: 'true', team: 'web' });
      await createNamespace('free', { team: 'web' });
      const change = (namespace: string, labels: object | null, subresource = ''): Case['run'] => {
        return (client) => mergeDry(client, `/api/v1/namespaces/${namespace}${subresource}`, { metadata: { labels } });
      };
      const cases: readonly (readonly [run: Case['run'], ofPlatform: 'allowed' | PolicyName])[] = [
        [change('free', { [LABEL_ENFORCE]: 'true' }), 'allowed'],
        [change('free', { [LABEL_ENFORCE]: 'true', team: 'shop' }), 'allowed'],
        [change('free', { [LABEL_ENFORCE]: 'false' }), 'protected-namespace-labels'],
        [change('free', { 'baselinepolicy.dev/tier': 'gold' }), 'protected-namespace-labels'],
        [change('free', { [LABEL_ENFORCE]: 'true', 'baselinepolicy.dev/tier': 'gold' }), 'protected-namespace-labels'],
        [change('closed', { team: 'shop' }), 'allowed'],
        [change('closed', { [LABEL_ENFORCE]: 'true' }), 'allowed'],
        [change('closed', { [LABEL_ENFORCE]: null }), 'protected-namespace-labels'],
        [change('closed', { [LABEL_ENFORCE]: 'false' }), 'protected-namespace-labels'],
        [change('closed', null), 'protected-namespace-labels'],
        [change('closed', { [LABEL_ENFORCE]: null }, '/status'), 'protected-namespace-labels'],
      ];
      for (const [run, ofPlatform] of cases) {
        assert.equal(await verdict(run(platform)), ofPlatform, run.toString());
        for (const client of [clusterAdmin, holder]) assert.equal(await verdict(run(client)), 'allowed');
      }
      const { namespaces } = platform;
      const live = await kube.namespaces.get('closed');
      const finalized = { ...live, metadata: { ...live.metadata, labels: {} } };
      const finalize = platform.request('PUT', '/api/v1/namespaces/closed/finalize', { body: finalized });
      assert.equal(await verdict(finalize), 'protected-namespace-labels');
      for (const labels of [{}, { [LABEL_ENFORCE]: 'false' }, { [LABEL_ENFORCE]: 'true' }]) {
        await namespaces.create({ metadata: { name: 'new', labels } }, DRY_RUN);
      }
      await namespaces.delete('closed');
      await eventually(async () => {
        assert.equal(await kube.namespaces.find('closed'), undefined);
      }, RETRIED);
    });

    it('keeps no namespace from going', async () => {
      await createNamespace('going', { [LABEL_ENFORCE]: 'true' });
      await hasChildren('going', 'base');
      await platform.namespaces.delete('going');
      await eventually(async () => {
        assert.equal(await kube.namespaces.find('going'), undefined);
      }, RETRIED);
    });

    it('keeps no BaselinePolicy from going: with its children, by the garbage collector, and without them', async () => {
      const matchLabels = { 'kubernetes.io/metadata.name': 'policies' };
      const gone = async (policy: string): Promise<void> => {
        await eventually(async () => {
          assert.equal(await kube.baselinePolicies.find(policy), undefined);
        }, RETRIED);
      };
      const childrenOf = async (policy: string): Promise<string[]> =>
        (await kube.networkPolicies('policies').list())
          .map(({ metadata }) => metadata.name)
          .filter((name) => name.startsWith(`${policy}.`));
      await createNamespace('policies');
      for (const name of ['deleted', 'foreground', 'collected']) {
        await createPolicy(name, { namespaceSelector: { matchLabels } });
      }
      await createPolicy('orphaned', { namespaceSelector: { matchLabels }, deletionPolicy: 'Orphan' });
      for (const name of ['deleted', 'foreground', 'collected', 'orphaned']) await hasChildren('policies', name);

      // The garbage collector would delete the children while the operator releases them.
      const foreground = { propagationPolicy: 'Foreground' };
      assert.equal(await verdict(clusterAdmin.baselinePolicies.delete('orphaned', foreground)), 'orphaning');
      await kube.baselinePolicies.delete('deleted');
      await kube.baselinePolicies.delete('foreground', foreground);
      await kube.baselinePolicies.delete('orphaned');
      for (const name of ['deleted', 'foreground', 'orphaned']) await gone(name);
      assert.deepEqual([...(await childrenOf('deleted')), ...(await childrenOf('foreground'))], []);

      // Without owner they are in force, and protected.
      const orphan = childName('orphaned', 'default-deny');
      assert.equal((await childrenOf('orphaned')).length, 3);
      assert.deepEqual((await kube.networkPolicies('policies').get(orphan)).metadata.ownerReferences ?? [], []);
      const policies = clusterAdmin.networkPolicies('policies');
      assert.equal(await verdict(policies.delete(orphan)), 'protected-networkpolicies');
      await policies.merge(orphan, { metadata: { annotations: { [BREAK_GLASS]: 'handed over' } } });
      await policies.delete(orphan);

      // Nobody but the garbage collector is left to do it.
      await stopOperator();
      assert.deepEqual((await kube.baselinePolicies.get('collected')).metadata.finalizers, [FINALIZER]);
      await kube.baselinePolicies.merge('collected', { metadata: { finalizers: null } });
      await kube.baselinePolicies.delete('collected');
      await eventually(async () => {
        assert.deepEqual(await childrenOf('collected'), []);
      }, RETRIED);
      await startOperator();
    });
  });

  describe('start gate', () => {
    before(async () => {
      await apply('config/admission/start-gate');
      await createNamespace('gated', { [LABEL_ENFORCE]: 'true', apart: 'yes' });
      await hasChildren('gated', 'base');
      await hasServiceAccount('gated');
      await stopOperator();
      await createNamespace('waiting', { [LABEL_ENFORCE]: 'true' });
      await hasServiceAccount('waiting');
      await inForce('start-gate', () => createPod('waiting'));
    });

    it('while the operator is down, lets pods start where the baseline is, and nowhere else that opted in', async () => {
      await createPod('gated');
      assert.equal(await verdict(createPod('waiting')), 'start-gate');
      await hasServiceAccount('default');
      await createPod('default');
    });

    it('cannot be opened by people, who may not write its parameter', async () => {
      const fake = { metadata: { name: 'fake', labels: OURS }, spec: { podSelector: {} } };
      assert.equal(await verdict(kube.networkPolicies('waiting').create(fake)), 'protected-networkpolicies');
    });

    it('is not opened by a parameter that is no default-deny, whoever wrote it', async () => {
      const annotations = { [BREAK_GLASS]: 'test' };
      const policies = kube.networkPolicies('waiting');
      const selected = { matchLabels: { app: 'none' } };
      for (const spec of [
        { podSelector: {}, ingress: [{}] },
        { podSelector: selected },
        { podSelector: { matchExpressions: [{ key: 'app', operator: 'Exists' }] } },
        { podSelector: {}, policyTypes: ['Egress'], egress: [{}] },
      ]) {
        await policies.create({ metadata: { name: 'fake', labels: OURS, annotations }, spec });
        // The API server has seen it when it says what is wrong with it.
        await eventually(async () => {
          await assert.rejects(createPod('waiting'), /expected NetworkPolicy fake to select all pods/);
        });
        await policies.delete('fake');
      }
    });

    it('never touches protected namespaces, also with the label', async () => {
      for (const namespace of ['kube-system', 'kube-public', 'kube-node-lease', NAMESPACE]) {
        await kube.namespaces.merge(namespace, { metadata: { labels: { [LABEL_ENFORCE]: 'true' } } });
        await hasServiceAccount(namespace);
      }
      // The label of the last one is known when that of a namespace which is not protected is, set after it.
      await createNamespace('after', { [LABEL_ENFORCE]: 'true' });
      await hasServiceAccount('after');
      await inForce('start-gate', () => createPod('after'));
      for (const namespace of ['kube-system', 'kube-public', 'kube-node-lease', NAMESPACE]) await createPod(namespace);
    });

    it('lets a Deployment have its pods when the operator is back, without anybody doing anything', async () => {
      await deploy('waiting');
      await eventually(async () => {
        const [set] = await kube.resource<ReplicaSet>('apps/v1', 'replicasets', 'waiting').list();
        const conditions = JSON.stringify(set?.status?.conditions ?? []);
        for (const word of ['ReplicaFailure', 'start-gate']) assert.ok(conditions.includes(word), conditions);
      }, RETRIED);
      assert.equal(await podsOf('waiting'), 0);
      await startOperator();
      await eventually(async () => {
        assert.equal(await podsOf('waiting'), 2);
      }, RETRIED);
      const deny = await kube.networkPolicies('waiting').get(childName('base', 'default-deny'));
      for (const { metadata } of await kube.resource('v1', 'pods', 'waiting').list()) {
        const [pod = '', policy = ''] = [metadata.creationTimestamp, deny.metadata.creationTimestamp];
        assert.ok(pod >= policy, `the pod is of ${pod}, the default-deny of ${policy}`);
      }
    });

    it('has bindings for a selector of its own, by kubectl baseline render --admission', async () => {
      await createPolicy('apart', {
        namespaceSelector: { matchLabels: { apart: 'yes' } },
        excludedNamespaces: ['let'],
      });
      const { stdout, stderr, code } = await runCLI([
        'render',
        '--admission',
        '--guard=deny',
        '--kubeconfig',
        controlPlane.kubeconfig,
      ]);
      assert.equal(code, 0);
      assert.match(stderr, /^warning: BaselinePolicy base selects by the label baselinepolicy.dev\/enforce alone/);
      await apply('config/admission/opening-guard');
      using folder = new Folder({ 'bindings.yaml': stdout });
      await kubectl(['apply', '-f', join(folder.path, 'bindings.yaml')], controlPlane.kubeconfig);

      await hasChildren('gated', 'apart');
      await stopOperator();
      await createNamespace('held', { apart: 'yes' });
      await createNamespace('let', { apart: 'yes' });
      for (const namespace of ['held', 'let']) await hasServiceAccount(namespace);
      await inForce('start-gate', () => createPod('held'));
      await createPod('let');
      await createPod('gated');
      const open = { metadata: { name: 'open' }, spec: { podSelector: {}, ingress: [{}] } };
      await inForce('opening-guard', () => createDry(kube, 'held', open));
      assert.equal(await verdict(createDry(kube, 'let', open)), 'allowed');
      await startOperator();
      await inForce('allowed', () => createPod('held'));
      await kubectl(['delete', '-f', join(folder.path, 'bindings.yaml')], controlPlane.kubeconfig);
    });
  });

  describe('opening guard', () => {
    const documents = OPENINGS.map(({ name, spec }) =>
      JSON.stringify({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name, namespace: 'guarded' },
        spec,
      }),
    );

    before(async () => {
      await apply('config/admission');
      await createNamespace('guarded', { [LABEL_ENFORCE]: 'true' });
      await createNamespace('unguarded');
    });

    /** What kubectl says on standard error when it applies the table. */
    async function warnings(): Promise<string> {
      using folder = new Folder({ 'table.yaml': documents.join('\n---\n') });
      const { stderr } = await promisify(execFile)(
        findAsset('kubectl'),
        ['apply', '--dry-run=server', '-f', join(folder.path, 'table.yaml')],
        { env: { ...process.env, KUBECONFIG: controlPlane.kubeconfig } },
      );
      return stderr;
    }

    it('has a table that says what the analysis says', () => {
      assert.ok(OPENINGS.length >= 40);
      for (const { name, opens, spec } of OPENINGS) {
        const { rules } = readPolicy({ metadata: { name, namespace: 'guarded' }, spec });
        const open = Object.values(rules)
          .flat()
          .some((rule) => openTo(rule).length > 0);
        assert.equal(open, opens, name);
      }
    });

    it('warns in kubectl of each policy that opens, naming rules and whom they are for, and of no other', async () => {
      // The binding may be too new.
      const stderr = await eventually(
        async () => {
          const text = await warnings();
          assert.match(text, /NetworkPolicy open-ingress opens/, 'kubectl sends this one first');
          return text;
        },
        { timeout: 120_000 },
      );
      const found = stderr.split('\n').filter((line) => line.includes('opening-guard'));
      assert.equal(found.length, OPENINGS.filter(({ opens }) => opens).length, stderr);
      for (const { name, opens, spec } of OPENINGS) {
        const line = stderr.split('\n').find((one) => one.includes(`NetworkPolicy ${name} opens `));
        assert.equal(line !== undefined, opens, `${name}: ${String(line)}`);
        if (line === undefined) continue;
        const { rules } = readPolicy({ metadata: { name, namespace: 'guarded' }, spec });
        for (const rule of Object.values(rules).flat()) {
          const everyone = openTo(rule);
          if (everyone.length > 0) assert.ok(line.includes(`${rule.path} (${everyone.join(', ')}, `), line);
          else assert.ok(!line.includes(rule.path), line);
        }
      }
    });

    it('refuses the same ones with the component guard-deny, where the namespace opted in', async () => {
      const inProject = (path: string): string => relative(join(realpathSync(tmpdir()), 'folder'), join(PROJECT, path));
      using overlay = new Folder({
        'kustomization.yaml': [
          'apiVersion: kustomize.config.k8s.io/v1beta1',
          'kind: Kustomization',
          `resources: [${inProject('config/admission/opening-guard')}]`,
          `components: [${inProject('config/components/guard-deny')}]`,
        ].join('\n'),
      });
      await apply(overlay.path);
      const open = { metadata: { name: 'open' }, spec: { podSelector: {}, ingress: [{}] } };
      await inForce('opening-guard', () => createDry(kube, 'guarded', open));
      for (const { name, opens, spec } of OPENINGS) {
        const object = { metadata: { name }, spec };
        assert.equal(await verdict(createDry(kube, 'guarded', object)), opens ? 'opening-guard' : 'allowed', name);
      }
      assert.equal(await verdict(createDry(kube, 'unguarded', open)), 'allowed');
      const withReason = { ...open, metadata: { name: 'open', annotations: { [BREAK_GLASS]: 'test' } } };
      assert.equal(await verdict(createDry(kube, 'guarded', withReason)), 'allowed');
    });

    it('lets one that is open already keep its spec and change the rest', async () => {
      const annotations = { [BREAK_GLASS]: 'test' };
      const policies = kube.networkPolicies('guarded');
      await policies.create({ metadata: { name: 'open', annotations }, spec: { podSelector: {}, ingress: [{}] } });
      await policies.merge('open', { metadata: { annotations: { [BREAK_GLASS]: null } } });
      await policies.merge('open', { metadata: { finalizers: ['example.com/held'] } });
      await policies.merge('open', { metadata: { finalizers: null } });
      assert.equal(
        await verdict(policies.merge('open', { spec: { policyTypes: ['Egress'], egress: [{}] } })),
        'opening-guard',
      );
      await policies.merge('open', { spec: { ingress: null } });
    });

    it('says nothing of what a BaselinePolicy opens', async () => {
      await createPolicy('public', {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'guarded' } },
        additionalPolicies: [{ name: 'web', spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] } }],
      });
      await eventually(() => kube.networkPolicies('guarded').get(childName('public', 'web')), { timeout: 60_000 });
    });
  });

  describe('all of it', () => {
    it('has expressions whose types the API server has checked, and finds nothing to warn of', async () => {
      // They are checked when they are written; BaselinePolicies are known only now.
      await remove('config/admission');
      await apply('config/admission');
      await eventually(async () => {
        const policies = await kube
          .resource<AdmissionPolicy>('admissionregistration.k8s.io/v1', 'validatingadmissionpolicies')
          .list();
        const ours = policies.filter(({ metadata }) => metadata.name.endsWith('.baselinepolicy.dev'));
        assert.equal(ours.length, 6);
        for (const { metadata, status } of ours) {
          assert.equal(status?.observedGeneration, metadata.generation, metadata.name);
          assert.deepEqual(status?.typeChecking, {}, metadata.name);
        }
      }, RETRIED);
    });

    it('keeps nobody from anything after the CustomResourceDefinition has gone, but for what the baseline left', async () => {
      await inForce('protected-networkpolicies', () =>
        createDry(kube, 'team', { metadata: { name: 'x', labels: OURS } }),
      );
      const reserved = { metadata: { name: 'base.mine' }, spec: {} };
      await inForce('reserved-names', () => createDry(kube, 'team', reserved));
      await kubectl(['delete', '-f', 'crds/', '--timeout=60s'], controlPlane.kubeconfig);
      await inForce('allowed', () => createDry(kube, 'team', reserved));
      const left = kube.networkPolicies('team');
      assert.equal(await verdict(left.delete(childName('base', 'default-deny'))), 'protected-networkpolicies');
      // Pods still start behind what is there.
      await hasServiceAccount('team');
      await createPod('team');
    });

    it('leaves nothing behind that refuses anything', async () => {
      await stopOperator();
      await createNamespace('last', { [LABEL_ENFORCE]: 'true' });
      await hasServiceAccount('last');
      await inForce('start-gate', () => createPod('last'));
      await remove('config/admission');
      await inForce('allowed', () => createPod('last'));
      await inForce('allowed', () =>
        createDry(kube, 'last', { metadata: { name: 'open', labels: OURS }, spec: { podSelector: {}, ingress: [{}] } }),
      );
      const optOut = { metadata: { labels: { [LABEL_ENFORCE]: null } } };
      await inForce('allowed', () => mergeDry(kube, '/api/v1/namespaces/last', optOut));
      await kube.networkPolicies('team').delete(childName('base', 'default-deny'));
    });
  });
});
