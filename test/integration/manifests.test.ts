import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { findAsset } from '../../hack/envtest/assets.ts';
import { ControlPlane } from '../../hack/envtest/control-plane.ts';
import manifest from '../../package.json' with { type: 'json' };
import { API_VERSION, KIND } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import { parseFlags, type Options } from '../../src/config.ts';
import { eventually } from '../support/await.ts';
import { Folder } from '../support/cli.ts';
import { readCRD } from '../support/crd.ts';
import { describeGrant, grantsOf, type Role } from '../support/grants.ts';
import { KubeClient, StatusError } from '../support/kube.ts';
import { kubectl, kustomize, PROJECT, type ManifestObject } from '../support/kubectl.ts';
import { OperatorProcess } from '../support/operator.ts';
import { OPERATOR as NAME, OPERATOR_NAMESPACE as NAMESPACE } from '../support/service-account.ts';

/** The role by which the operator tells who may read metrics, and that of those who may. */
const METRICS_AUTH = `${NAME}-metrics-auth`;
const METRICS_READER = `${NAME}-metrics-reader`;
const DEFAULT = 'config/default';

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
}

interface PodTemplate {
  readonly metadata: { readonly labels: Record<string, string> };
  readonly spec: {
    readonly containers: readonly [Container];
    readonly priorityClassName?: string;
    readonly serviceAccountName: string;
    readonly terminationGracePeriodSeconds: number;
  };
}

interface Deployment extends ManifestObject {
  readonly spec: { readonly selector: object; readonly template: PodTemplate };
}

function deploymentOf(objects: readonly ManifestObject[]): Deployment {
  const deployment = objects.find((object): object is Deployment => object.kind === 'Deployment');
  assert.ok(deployment);
  return deployment;
}

/** A Role or ClusterRole of the operator itself, or of people. */
function rolesOf(objects: readonly ManifestObject[], whose: 'operator' | 'people'): Role[] {
  const roles = objects.filter((object): object is Role => ['Role', 'ClusterRole'].includes(object.kind));
  return roles.filter(({ metadata }) => [NAME, METRICS_AUTH].includes(metadata.name) === (whose === 'operator'));
}

/** A copy of config/default with the component that gives the operator a priority class. */
function withPriorityClass(): Folder {
  return new Folder({
    'kustomization.yaml': [
      'apiVersion: kustomize.config.k8s.io/v1beta1',
      'kind: Kustomization',
      `resources: [${fromTestFolder('config/default')}]`,
      `components: [${fromTestFolder('config/components/priority-class')}]`,
    ].join('\n'),
  });
}

/** The path from a folder of a test: kustomize takes no absolute one. */
function fromTestFolder(path: string): string {
  return relative(join(realpathSync(tmpdir()), 'folder'), join(PROJECT, path));
}

describe('config/default', () => {
  let objects: ManifestObject[];
  let options: Options;
  let template: PodTemplate;
  let container: Container;

  before(async () => {
    objects = await kustomize(DEFAULT);
    ({ template } = deploymentOf(objects).spec);
    [container] = template.spec.containers;
    const commandLine = parseFlags(container.args, { POD_NAMESPACE: NAMESPACE });
    assert.equal(commandLine.kind, 'run');
    ({ options } = commandLine);
  });

  it('is the same each time it is built: namespaces and definitions first, each object labelled, in one namespace', async () => {
    assert.deepEqual(await kustomize(DEFAULT), objects);
    assert.deepEqual(
      objects.slice(0, 2).map(({ kind }) => kind),
      ['Namespace', 'CustomResourceDefinition'],
    );
    const identities = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
    assert.deepEqual([...new Set(identities)], identities);
    for (const { kind, metadata } of objects) {
      assert.equal(metadata.labels?.['app.kubernetes.io/name'], NAME, `${kind} ${metadata.name}`);
      // That label is for what the operator makes; it must not be taken for that.
      assert.equal(metadata.labels['app.kubernetes.io/managed-by'], undefined, `${kind} ${metadata.name}`);
    }
    const elsewhere = objects.filter(({ metadata }) => ![undefined, NAMESPACE].includes(metadata.namespace));
    assert.deepEqual(elsewhere.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}`).sort(), [
      'Role default',
      'Role kube-system',
      'RoleBinding default',
      'RoleBinding kube-system',
    ]);
  });

  it('has the definition of crds/', () => {
    const crd = objects.find(({ kind }) => kind === 'CustomResourceDefinition') as unknown as { spec: object };
    assert.deepEqual(crd.spec, readCRD()['spec']);
  });

  it('has the parts that can be applied by themselves, and no more', async () => {
    const parts = await Promise.all(
      ['crd', 'rbac', 'manager', 'network-policy', 'admission/tamper-protection'].map((part) =>
        kustomize(`config/${part}`),
      ),
    );
    const identities = (list: readonly ManifestObject[]): string[] =>
      list.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`).sort();
    assert.deepEqual(identities(parts.flat()), identities(objects));
  });

  it('starts the operator with flags that it has, for several replicas', () => {
    assert.equal(options.leaderElect, true);
    assert.equal(options.namespace, NAMESPACE);
    assert.ok(template.spec.terminationGracePeriodSeconds * 1000 > options.shutdownTimeoutMs);
  });

  it('serves metrics by HTTPS, for whom the API server lets', () => {
    assert.equal(options.metricsSecure, true);
    const reader = rolesOf(objects, 'people').find(({ metadata }) => metadata.name === METRICS_READER);
    assert.deepEqual(reader?.rules, [{ nonResourceURLs: ['/metrics'], verbs: ['get'] }]);
  });

  it('probes the port of --health-probe-bind-address, and has that of --metrics-bind-address scraped', () => {
    const ports = new Map(container.ports.map(({ name, containerPort }) => [name, containerPort]));
    assert.equal(ports.get('health'), options.healthProbeBindAddress?.port);
    assert.equal(ports.get('metrics'), options.metricsBindAddress?.port);
    assert.deepEqual(
      [container.startupProbe, container.livenessProbe, container.readinessProbe].map(({ httpGet }) => httpGet),
      ['/livez', '/livez', '/readyz'].map((path) => ({ path, port: 'health' })),
    );
    const service = objects.find(({ kind }) => kind === 'Service') as unknown as { spec: { ports: object[] } };
    assert.deepEqual(service.spec.ports, [
      { name: 'https', port: options.metricsBindAddress?.port, targetPort: 'metrics' },
    ]);
  });

  it('limits the heap by an option that Node takes from the environment', async () => {
    const { value } = container.env.find(({ name }) => name === 'NODE_OPTIONS') ?? {};
    const heapLimit = async (nodeOptions: string): Promise<number> => {
      const env = { ...process.env, NODE_OPTIONS: nodeOptions };
      const print = 'console.log(require("node:v8").getHeapStatistics().heap_size_limit)';
      return Number((await promisify(execFile)(process.execPath, ['-e', print], { env })).stdout);
    };
    assert.match(value ?? '', /=75$/);
    // A share of the memory of the machine, or of the control group if that has less.
    const ratio = (await heapLimit(value ?? '')) / (await heapLimit(value?.replace('75', '25') ?? ''));
    assert.ok(ratio > 2.5 && ratio < 3.5, String(ratio));
  });

  it('selects the pods of the Deployment by one set of labels', () => {
    const { selector } = deploymentOf(objects).spec;
    const found = objects.flatMap(({ kind, spec }: ManifestObject & { spec?: Record<string, unknown> }) => {
      if (kind === 'Service') return [{ matchLabels: spec?.['selector'] }];
      if (kind === 'NetworkPolicy') return [spec?.['podSelector']];
      return kind === 'PodDisruptionBudget' ? [spec?.['selector']] : [];
    });
    assert.deepEqual(found, [selector, selector, selector]);
    assert.deepEqual(selector, { matchLabels: template.metadata.labels });
  });

  it('has the image of this version, by default', () => {
    assert.equal(container.image, `${NAME}:${manifest.version}`);
  });

  it('grants by name: nothing to all, no secrets, no way to more rights, no write where none is needed', () => {
    const grants = grantsOf([...rolesOf(objects, 'operator'), ...rolesOf(objects, 'people')]);
    assert.ok(grants.length > 0);
    for (const grant of grants) {
      const text = describeGrant(grant);
      assert.doesNotMatch(text, /\*/);
      assert.doesNotMatch(
        text,
        /^(escalate|bind|impersonate) | (secrets|serviceaccounts|pods|[a-z]*roles?(bindings)?)\b/,
      );
    }
    const writes = grants.filter(({ verb }) => !['get', 'list', 'watch'].includes(verb));
    assert.deepEqual(
      [...new Set(writes.map(({ resource, namespace = '' }) => `${resource} ${namespace}`.trim()))].sort(),
      [
        'baselinepolicies',
        'baselinepolicies/finalizers',
        'baselinepolicies/status',
        'events default',
        `leases ${NAMESPACE}`,
        'networkpolicies',
        'subjectaccessreviews',
        'tokenreviews',
      ],
    );
  });

  it('lets the operator renew the Lease that it uses by default', () => {
    const grant = grantsOf(rolesOf(objects, 'operator')).find(
      ({ verb, resource }) => verb === 'update' && resource === 'leases',
    );
    assert.equal(grant?.name, options.leaderElectionId);
    assert.equal(grant.namespace, options.leaderElectionNamespace ?? options.namespace);
  });

  it('binds each role of the operator to its ServiceAccount', () => {
    const bindings = objects.filter(({ kind }) => kind.endsWith('RoleBinding'));
    const subject = { kind: 'ServiceAccount', name: NAME, namespace: NAMESPACE };
    assert.equal(template.spec.serviceAccountName, NAME);
    assert.deepEqual(
      bindings
        .map((binding) => {
          const { metadata, roleRef, subjects } = binding as ManifestObject & {
            roleRef: { kind: string; name: string };
            subjects: object[];
          };
          assert.deepEqual(subjects, [subject]);
          return `${roleRef.kind} ${metadata.namespace ?? ''}/${roleRef.name}`;
        })
        .sort(),
      rolesOf(objects, 'operator')
        .map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`)
        .sort(),
    );
  });

  it('gives the operator a priority class by a component', async () => {
    using overlay = withPriorityClass();
    const deployment = deploymentOf(await kustomize(overlay.path));
    assert.equal(deployment.spec.template.spec.priorityClassName, 'system-cluster-critical');
    assert.equal(template.spec.priorityClassName, undefined);
  });
});

describe('config/default on a cluster', function () {
  this.timeout(240_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;

  before(async () => {
    controlPlane = await ControlPlane.start();
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
  });

  after(async () => {
    await kube.close();
    await controlPlane.stop();
  });

  /** Runs a target of make against the cluster; rejects with what it printed when it fails. */
  async function make(...args: readonly string[]): Promise<string> {
    const env = { ...process.env, KUBECONFIG: controlPlane.kubeconfig, KUBECTL: findAsset('kubectl') };
    return (await promisify(execFile)('make', args, { cwd: PROJECT, env })).stdout;
  }

  /** The operator as a pod of the Deployment would run it: nothing runs pods here. */
  async function startOperator(): Promise<OperatorProcess> {
    const kubeconfig = await controlPlane.kubeconfigForServiceAccount(NAMESPACE, NAME);
    return OperatorProcess.start({ kubeconfig, flags: ['--leader-elect'], env: { POD_NAMESPACE: NAMESPACE } });
  }

  /** Resolves when a namespace with a baseline has these children. */
  async function fill(namespace: string): Promise<string[]> {
    const { baselinePolicies, namespaces } = kube;
    await namespaces.create({ metadata: { name: namespace, labels: { [LABEL_ENFORCE]: 'true' } } });
    await baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name: namespace }, spec: {} });
    return eventually(async () => {
      const names = (await kube.networkPolicies(namespace).list()).map(({ metadata }) => metadata.name);
      assert.equal(names.length, 3);
      return names;
    });
  }

  /** Asserts that nothing of config/default is left. */
  async function isGone(objects: readonly ManifestObject[]): Promise<void> {
    const left = [];
    for (const { kind, metadata } of objects) {
      const where = metadata.namespace === undefined ? [] : ['-n', metadata.namespace];
      const resource = kind === 'CustomResourceDefinition' ? 'crd' : kind;
      const found = await kubectl(
        ['get', resource, metadata.name, ...where, '--ignore-not-found', '-o', 'name'],
        controlPlane.kubeconfig,
      );
      if (found !== '') left.push(found.trim());
    }
    assert.deepEqual(left, []);
  }

  it('is applied by kubectl apply -k, and then is what the manifests say', async () => {
    const objects = await kustomize(DEFAULT);
    const first = await kubectl(['apply', '-k', DEFAULT], controlPlane.kubeconfig);
    assert.equal(
      first
        .trim()
        .split('\n')
        .filter((line) => line.endsWith(' created')).length,
      objects.length,
      first,
    );
    assert.equal(await kubectl(['diff', '-k', DEFAULT], controlPlane.kubeconfig), '');
  });

  it('has pods that its namespace admits, which is restricted, also with a priority class', async () => {
    using overlay = withPriorityClass();
    const pods = kube.resource('v1', 'pods', NAMESPACE);
    for (const folder of [DEFAULT, overlay.path]) {
      const { metadata, spec } = deploymentOf(await kustomize(folder)).spec.template;
      const pod = { metadata: { ...metadata, name: 'pod' }, spec };
      await pods.create(pod, { dryRun: 'All' });
      const [{ securityContext, ...container }] = spec.containers as unknown as [{ securityContext: object }];
      assert.ok(securityContext);
      await assert.rejects(
        pods.create({ ...pod, spec: { ...spec, containers: [container] } }, { dryRun: 'All' }),
        (error) => error instanceof StatusError && error.message.includes('violates PodSecurity "restricted:latest"'),
      );
    }
    await eventually(async () => {
      assert.equal((await pods.list()).length, 2, 'the Deployment makes its pods');
    });
  });

  it('adds BaselinePolicies to what view, edit and admin may do in the whole cluster', async () => {
    const verbs = async (name: string): Promise<string[]> => {
      const role = (await kube.resource('rbac.authorization.k8s.io/v1', 'clusterroles').get(name)) as Role;
      const grants = grantsOf([role]).filter(({ resource }) => resource === 'baselinepolicies');
      return [...new Set(grants.map(({ verb }) => verb))].sort();
    };
    await eventually(async () => {
      assert.deepEqual(await verbs('view'), ['get', 'list', 'watch']);
      const edit = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];
      assert.deepEqual(await verbs('edit'), edit);
      assert.deepEqual(await verbs('admin'), [...edit, 'deletecollection'].sort());
    });
  });

  it('is removed by make undeploy: namespaces stay closed, by children without owner', async () => {
    const objects = await kustomize(DEFAULT);
    const operator = await startOperator();
    try {
      const children = await fill('kept');
      const output = await make('undeploy');
      assert.match(output, /3 NetworkPolicies of the operator stay in force/);
      const left = await kube.networkPolicies('kept').list();
      assert.deepEqual(
        left.map(({ metadata }) => metadata.name),
        children,
      );
      assert.deepEqual(
        left.flatMap(({ metadata }) => metadata.ownerReferences ?? []),
        [],
      );
      await isGone(objects);
      // As it says itself.
      const [, command = ''] = /^ {2}kubectl (delete .*)$/m.exec(output) ?? [];
      await kubectl(command.split(' '), controlPlane.kubeconfig);
      assert.deepEqual(await kube.networkPolicies('kept').list(), []);
    } finally {
      operator.signal('SIGKILL');
      await operator.exited();
    }
  });

  it('is installed by make deploy with another image, and removed with all children if asked', async () => {
    await make('deploy', 'IMG=registry.example/team/operator@sha256:0123');
    const deployment = (await kube.resource('apps/v1', 'deployments', NAMESPACE).get(NAME)) as Deployment;
    assert.equal(deployment.spec.template.spec.containers[0].image, 'registry.example/team/operator@sha256:0123');
    const operator = await startOperator();
    try {
      await fill('opened');
      await make('undeploy', 'CHILDREN=delete');
      assert.deepEqual(await kube.networkPolicies('opened').list(), []);
      await isGone(await kustomize(DEFAULT));
    } finally {
      operator.signal('SIGKILL');
      await operator.exited();
    }
  });

  it('keeps everything when the operator does not run to release the children', async () => {
    await make('deploy');
    const operator = await startOperator();
    const children = await fill('waiting').finally(async () => {
      operator.signal('SIGKILL');
      await operator.exited();
    });
    const failure = await make('undeploy', 'TIMEOUT=1s').then(
      () => assert.fail('expected undeploy to fail'),
      (error: unknown) => error as { stderr: string },
    );
    assert.match(failure.stderr, /undeploy: does the operator run\?/);
    assert.ok(await kube.resource('apps/v1', 'deployments', NAMESPACE).get(NAME));
    assert.equal((await kube.networkPolicies('waiting').list()).length, children.length);

    // It does what is left to do when it runs again.
    const again = await startOperator();
    try {
      await make('undeploy');
      const left = await kube.networkPolicies('waiting').list();
      assert.equal(left.length, children.length);
      assert.deepEqual(
        left.flatMap(({ metadata }) => metadata.ownerReferences ?? []),
        [],
      );
    } finally {
      again.signal('SIGKILL');
      await again.exited();
    }
  });

  it('tells what is missing to build an image', async () => {
    await assert.rejects(
      make('image', 'CONTAINER_TOOL='),
      /expected docker or podman to build the image, found neither/,
    );
  });
});
