import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LuaFactory } from 'wasmoon';
import { findAsset } from '../../hack/envtest/assets.ts';
import { API_VERSION, KIND, type BaselinePolicy, type BaselinePolicySpec } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE, LABEL_MANAGED_BY, LABEL_POLICY, LABEL_RULE, MANAGER } from '../../src/api/names.ts';
import type { KubernetesObject, ObjectMeta } from '../../src/api/metadata.ts';
import { eventually } from '../support/await.ts';
import { conditionOf, Demo, versions } from '../support/demo.ts';
import type { Manifest } from '../support/kube.ts';
import { PROJECT } from '../support/kubectl.ts';

/** How a GitOps tool writes: under which name, with which marks on what it applies, and how it deletes. */
interface Tool {
  readonly name: string;
  readonly manager: string;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
  readonly propagationPolicy: 'Background' | 'Foreground';
}

/** Of Flux the names are in its package ssa; of Argo CD in common/common.go and its pages on tracking and pruning. */
const TOOLS: readonly Tool[] = [
  {
    name: 'Argo CD',
    manager: 'argocd-controller',
    labels: { 'app.kubernetes.io/instance': 'platform', 'argocd.argoproj.io/instance': 'platform' },
    annotations: { 'argocd.argoproj.io/tracking-id': 'platform:baselinepolicy.dev/BaselinePolicy:/baseline' },
    propagationPolicy: 'Foreground',
  },
  {
    name: 'Flux',
    manager: 'kustomize-controller',
    labels: { 'kustomize.toolkit.fluxcd.io/name': 'platform', 'kustomize.toolkit.fluxcd.io/namespace': 'flux-system' },
    annotations: {},
    propagationPolicy: 'Background',
  },
];

interface ManagedFields {
  readonly manager: string;
  readonly operation: string;
  readonly subresource?: string;
  readonly fieldsV1: Record<string, object>;
}

/** Who owns which top-level fields, and which of the metadata: `manager operation/subresource`, then the fields. */
function ownership(policy: BaselinePolicy): Record<string, string[]> {
  const { managedFields = [] } = policy.metadata as ObjectMeta & { managedFields?: readonly ManagedFields[] };
  const entries = managedFields.map(({ manager, operation, subresource = '', fieldsV1 }) => {
    const { 'f:metadata': metadata = {}, ...others } = fieldsV1;
    const fields = [...Object.keys(others), ...Object.keys(metadata).map((field) => `f:metadata/${field}`)];
    return [`${manager} ${operation}/${subresource}`, fields.sort()];
  });
  return Object.fromEntries(entries) as Record<string, string[]>;
}

/** A BaselinePolicy as it is in Git, with what the tool adds. */
function inGit(tool: Tool, name: string, spec: BaselinePolicySpec): Manifest {
  const { labels, annotations } = tool;
  const metadata = { name, labels, ...(Object.keys(annotations).length > 0 && { annotations }) };
  return { apiVersion: API_VERSION, kind: KIND, metadata, spec };
}

/** All tracking labels and annotations. */
const MARKS = TOOLS.flatMap(({ labels, annotations }) => Object.keys({ ...labels, ...annotations }));

type Health = readonly [kstatus: string, argoCD: string];

/**
 * The status of a custom resource by kstatus, which Flux, Helm and others wait by.
 *
 * Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
 */
function kstatus({ metadata, status }: BaselinePolicy): string {
  if (metadata.deletionTimestamp !== undefined) return 'Terminating';
  const { observedGeneration } = status ?? {};
  if (observedGeneration !== undefined && observedGeneration !== metadata.generation) return 'InProgress';
  if (conditionOf(status, 'Reconciling')?.status === 'True') return 'InProgress';
  if (conditionOf(status, 'Stalled')?.status === 'True') return 'Failed';
  return (conditionOf(status, 'Ready')?.status ?? 'True') === 'True' ? 'Current' : 'InProgress';
}

const ARGO_CD_HEALTH = 'config/gitops/argocd-health.lua';
const argoCDScript = readFileSync(join(PROJECT, ARGO_CD_HEALTH), 'utf8');

/** The health that our script for Argo CD gives, by which the object is the variable `obj`, and its message. */
async function argoCDHealth(object: object): Promise<{ status: string; message: string }> {
  const lua = await new LuaFactory().createEngine();
  try {
    return (await lua.doString(`obj = ${luaLiteral(object)}\n${argoCDScript}`)) as { status: string; message: string };
  } finally {
    lua.global.close();
  }
}

/** JSON as a Lua table; null is nil, as it is for Argo CD. */
function luaLiteral(value: unknown): string {
  if (value === null || value === undefined) return 'nil';
  if (Array.isArray(value)) return `{${value.map(luaLiteral).join(', ')}}`;
  if (typeof value !== 'object') return JSON.stringify(value);
  const fields = Object.entries(value).map(([key, item]) => `[${JSON.stringify(key)}] = ${luaLiteral(item)}`);
  return `{${fields.join(', ')}}`;
}

describe('GitOps', function () {
  this.timeout(180_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start({
      controlPlane: { controllerManager: true, apiServerFlags: ['--endpoint-reconciler-type=none'] },
    });
  });
  after(() => demo.stop());

  /** What a tool would see as different if it applied this: server-side apply without persisting it. */
  const dryRun = async (object: Manifest, { manager }: Tool): Promise<BaselinePolicy> =>
    (await demo.kube.request('PATCH', `/apis/${API_VERSION}/baselinepolicies/${object.metadata.name}`, {
      query: { fieldManager: manager, force: true, dryRun: 'All' },
      body: object,
      contentType: 'application/apply-patch+yaml',
    })) as BaselinePolicy;

  for (const tool of TOOLS) {
    it(`by ${tool.name}: applies, applies again, prunes and applies anew, and nobody fights`, async () => {
      const policy = demo.name(tool.manager);
      const namespaces = await demo.createNamespaces(policy, 3);
      const spec = { namespaceSelector: { matchLabels: { scenario: policy } } };
      const object = inGit(tool, policy, spec);
      await demo.kube.baselinePolicies.apply(object, tool.manager);
      await demo.compliant(policy, namespaces.length);
      // Spec, labels and annotations are the tool's alone; the finalizer and the status are the operator's.
      const live = await demo.kube.baselinePolicies.get(policy);
      assert.deepEqual(ownership(live), {
        [`${tool.manager} Apply/`]: [
          ...(Object.keys(tool.annotations).length > 0 ? ['f:metadata/f:annotations'] : []),
          'f:metadata/f:labels',
          'f:spec',
        ],
        [`${MANAGER} Update/`]: ['f:metadata/f:finalizers'],
        [`${MANAGER} Update/status`]: ['f:status'],
      });
      // So there is nothing to apply, and an apply changes nothing.
      for (const answer of [await dryRun(object, tool), await demo.kube.baselinePolicies.apply(object, tool.manager)]) {
        assert.deepEqual(answer, live);
      }
      // What the operator makes is not taken for what is in Git.
      for (const namespace of namespaces) {
        for (const { metadata } of (await demo.children(namespace)).values()) {
          assert.deepEqual(Object.keys(metadata.labels ?? {}).sort(), [LABEL_MANAGED_BY, LABEL_POLICY, LABEL_RULE]);
          assert.deepEqual(
            Object.keys({ ...metadata.labels, ...metadata.annotations }).filter((key) => MARKS.includes(key)),
            [],
          );
        }
      }

      // A field that comes and goes in Git comes and goes in the cluster.
      const [namespace = ''] = namespaces;
      const before = versions(await demo.children(namespace));
      const changed = inGit(tool, policy, { ...spec, rules: { allowSameNamespace: { enabled: true } } });
      await demo.kube.baselinePolicies.apply(changed, tool.manager);
      await demo.holds(namespace, policy, ['allow-dns', 'allow-monitoring', 'allow-same-namespace', 'default-deny']);
      await demo.kube.baselinePolicies.apply(object, tool.manager);
      await demo.holds(namespace, policy);
      assert.deepEqual(versions(await demo.children(namespace)), before);
      await demo.compliant(policy, namespaces.length);

      await demo.kube.baselinePolicies.delete(policy, { propagationPolicy: tool.propagationPolicy });
      for (const name of namespaces) await demo.holds(name, policy, []);
      await eventually(
        async () => {
          assert.equal(await demo.kube.baselinePolicies.find(policy), undefined);
        },
        { timeout: 60_000 },
      );
      await demo.kube.baselinePolicies.apply(object, tool.manager);
      await demo.compliant(policy, namespaces.length);
      for (const name of namespaces) await demo.holds(name, policy);
      assert.deepEqual(await demo.drift(policy), {});
      await demo.remove(policy);
    });
  }

  it('of namespaces: a label in Git opts in, and without it the namespace is left', async () => {
    const [, flux] = TOOLS;
    assert.ok(flux);
    const policy = demo.name('label');
    await demo.kube.baselinePolicies.apply(inGit(flux, policy, {}), flux.manager);
    const name = demo.name('shop');
    const namespace = (labels: Record<string, string>): Manifest => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { ...flux.labels, ...labels } },
    });
    await demo.kube.namespaces.apply(namespace({ [LABEL_ENFORCE]: 'true' }), flux.manager);
    await demo.holds(name, policy);
    const live = await demo.kube.namespaces.get(name);
    assert.deepEqual(await demo.kube.namespaces.apply(namespace({ [LABEL_ENFORCE]: 'true' }), flux.manager), live);
    await demo.kube.namespaces.apply(namespace({}), flux.manager);
    await demo.holds(name, policy, []);
    await demo.remove(policy);
  });

  it('reads health right, in each state', async () => {
    const healthOf = async (policy: BaselinePolicy): Promise<Health> => {
      const { status, message } = await argoCDHealth(policy);
      assert.notEqual(message, '');
      return [kstatus(policy), status];
    };
    /** The health of a policy when the operator has told it in this way of its current generation. */
    const told = async (name: string, reason: string): Promise<Health> => {
      const policy = await demo.status(
        name,
        (status) => {
          assert.equal(conditionOf(status, 'Ready')?.reason, reason, JSON.stringify(status));
        },
        { timeout: 30_000 },
      );
      const { message } = await argoCDHealth(policy);
      assert.equal(message, conditionOf(policy.status, 'Ready')?.message);
      return healthOf(policy);
    };
    const found: Record<string, Health> = {};

    const ready = demo.name('ready');
    await demo.settled(ready, 1);
    found['Enforced'] = await told(ready, 'Enforced');
    const audited = demo.name('audited');
    await demo.createNamespaces(audited, 1);
    await demo.policy(audited, { mode: 'Audit' });
    found['Audited'] = await told(audited, 'Audited');

    // No EndpointSlice says where the API server is.
    const unknown = demo.name('unknown');
    await demo.createNamespaces(unknown, 1);
    await demo.policy(unknown, { rules: { allowKubeAPIServer: { enabled: true } } });
    found['AddressesUnknown'] = await told(unknown, 'AddressesUnknown');

    const conflict = demo.name('conflict');
    const [taken = ''] = await demo.createNamespaces(conflict, 1);
    await demo.kube.networkPolicies(taken).create({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `${conflict}.default-deny` },
      spec: { podSelector: {} },
    });
    await demo.policy(conflict);
    found['NamespacesFailed'] = await told(conflict, 'NamespacesFailed');

    const held = demo.name('held');
    await demo.settled(held, 4);
    await demo.change(held, { namespaceSelector: { matchLabels: { scenario: 'nobody' } } });
    found['DeletionHeld'] = await told(held, 'DeletionHeld');

    // As long as somebody else's finalizer keeps it.
    const leaving = demo.name('leaving');
    const [left = ''] = await demo.settled(leaving, 1);
    const finalizer = 'example.com/keep';
    await demo.kube.baselinePolicies.patch(leaving, [{ op: 'add', path: '/metadata/finalizers/-', value: finalizer }]);
    await demo.kube.baselinePolicies.delete(leaving);
    await demo.holds(left, leaving, []);
    found['deleted'] = await healthOf(await demo.kube.baselinePolicies.get(leaving));
    await demo.kube.baselinePolicies.merge(leaving, { metadata: { finalizers: null } });

    assert.equal(await demo.operator.stop(), 0);
    await demo.change(ready, { description: 'changed' });
    found['changed'] = await healthOf(await demo.kube.baselinePolicies.get(ready));
    found['new'] = await healthOf(await demo.policy(demo.name('new')));
    await demo.startOperator();
    await demo.remove();

    assert.deepEqual(found, {
      Enforced: ['Current', 'Healthy'],
      Audited: ['Current', 'Healthy'],
      AddressesUnknown: ['InProgress', 'Progressing'],
      NamespacesFailed: ['Failed', 'Degraded'],
      DeletionHeld: ['Failed', 'Degraded'],
      deleted: ['Terminating', 'Progressing'],
      changed: ['InProgress', 'Progressing'],
      // kstatus takes an object without a status for ready: so the definition has one to begin with.
      new: ['InProgress', 'Progressing'],
    });
  });

  it('has a health check that the command of the page adds to the settings of Argo CD', async () => {
    const page = readFileSync(join(PROJECT, 'docs/gitops.md'), 'utf8');
    const command = /```sh\n(kubectl create configmap argocd-cm [^`]*)```/.exec(page)?.[1];
    assert.ok(command);
    await demo.kube.namespaces.create({ metadata: { name: 'argocd' } });
    const settings = demo.kube.resource<KubernetesObject & { data: object }>('v1', 'configmaps', 'argocd');
    await settings.create({ metadata: { name: 'argocd-cm' }, data: { url: 'https://argocd.example.com' } });
    await promisify(execFile)('sh', ['-c', `kubectl() { "$KUBECTL" "$@"; }\n${command}`], {
      cwd: PROJECT,
      env: { ...process.env, KUBECTL: findAsset('kubectl'), KUBECONFIG: demo.controlPlane.kubeconfig },
    });
    assert.deepEqual((await settings.get('argocd-cm')).data, {
      url: 'https://argocd.example.com',
      'resource.customizations.health.baselinepolicy.dev_BaselinePolicy': argoCDScript,
    });
  });
});
