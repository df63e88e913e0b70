import assert from 'node:assert/strict';
import { readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parse } from 'yaml';
import { chartValues } from '../../hack/chart/values.ts';
import { ControlPlane } from '../../hack/envtest/control-plane.ts';
import manifest from '../../package.json' with { type: 'json' };
import { API_VERSION, KIND } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import { parseFlags } from '../../src/config.ts';
import { eventually } from '../support/await.ts';
import { Folder } from '../support/cli.ts';
import { KubeClient, StatusError } from '../support/kube.ts';
import { kubectl, kustomize, type ManifestObject, PROJECT } from '../support/kubectl.ts';
import { OperatorProcess } from '../support/operator.ts';
import { byIdentity, changesOf } from './changes.ts';
import { CHART, helm, NAMESPACE, render, template, type Values } from './helm.ts';

const NAME = 'baseline-policy-operator';
const CRD = 'CustomResourceDefinition baselinepolicies.baselinepolicy.dev';
const DEPLOYMENT = `Deployment ${NAMESPACE}/${NAME}`;
const POD = `${DEPLOYMENT} spec.template.spec`;
const CONTAINER = `${POD}.containers[0]`;
const SERVICE_MONITOR = `ServiceMonitor ${NAMESPACE}/${NAME}`;
const RULES = `PrometheusRule ${NAMESPACE}/${NAME}`;
const START_GATE = 'start-gate.baselinepolicy.dev';
const OPENING_GUARD = 'opening-guard.baselinepolicy.dev';
const DIGEST = `sha256:${'0a'.repeat(32)}`;
const TOLERATION = { key: 'dedicated', operator: 'Exists' };
const AFFINITY = { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } };

/** All that is off by default is on. */
const ALL = {
  monitoring: { serviceMonitor: true, rules: true, dashboard: true },
  admission: { startGate: true, openingGuard: 'deny' },
};

/** A policy and its binding, both removed or both added. */
function policyAndBinding(name: string, change: 'added' | 'removed'): Record<string, unknown> {
  return {
    [`ValidatingAdmissionPolicy ${name}`]: change,
    [`ValidatingAdmissionPolicyBinding ${name}`]: change,
  };
}

/** What a value changes, by its path: in the objects that the chart makes, with the values `beside` already there. */
const EFFECTS: Readonly<Record<string, { value: unknown; beside?: object; changes: Record<string, unknown> }>> = {
  'image.repository': {
    value: 'registry.example/team/operator',
    changes: { [`${CONTAINER}.image`]: `registry.example/team/operator:${manifest.version}` },
  },
  'image.tag': { value: 'v9', changes: { [`${CONTAINER}.image`]: `${NAME}:v9` } },
  'image.digest': {
    value: DIGEST,
    beside: { image: { tag: 'v9' } },
    changes: { [`${CONTAINER}.image`]: `${NAME}@${DIGEST}` },
  },
  'image.pullPolicy': { value: 'Always', changes: { [`${CONTAINER}.imagePullPolicy`]: 'Always' } },
  imagePullSecrets: { value: [{ name: 'pull' }], changes: { [`${POD}.imagePullSecrets`]: [{ name: 'pull' }] } },
  replicas: { value: 3, changes: { [`${DEPLOYMENT} spec.replicas`]: 3 } },
  'operator.logLevel': { value: 'debug', changes: { [`${CONTAINER}.args[+]`]: ['--log-level=debug'] } },
  'operator.logFormat': { value: 'text', changes: { [`${CONTAINER}.args[+]`]: ['--log-format=text'] } },
  'operator.concurrency': { value: 4, changes: { [`${CONTAINER}.args[+]`]: ['--concurrency=4'] } },
  'operator.resyncPeriod': { value: '0', changes: { [`${CONTAINER}.args[+]`]: ['--resync-period=0'] } },
  'operator.protectedNamespaces': {
    value: ['vault', 'kube-system'],
    beside: { admission: { startGate: true, openingGuard: 'warn' } },
    changes: {
      [`${CONTAINER}.args[+]`]: ['--protected-namespaces=vault,kube-system'],
      ...Object.fromEntries(
        [START_GATE, OPENING_GUARD].map((name) => [
          `ValidatingAdmissionPolicyBinding ${name} spec.matchResources.namespaceSelector.matchExpressions[0].values`,
          [NAMESPACE, 'kube-system', 'vault'],
        ]),
      ),
    },
  },
  'operator.deletionBrakeCount': { value: 0, changes: { [`${CONTAINER}.args[+]`]: ['--deletion-brake-count=0'] } },
  'operator.deletionBrakePercent': { value: 0, changes: { [`${CONTAINER}.args[+]`]: ['--deletion-brake-percent=0'] } },
  'operator.extraArgs': {
    value: ['--kube-api-timeout=1m', '--list-page-size=100'],
    changes: { [`${CONTAINER}.args[+]`]: ['--kube-api-timeout=1m', '--list-page-size=100'] },
  },
  'serviceAccount.annotations': {
    value: { team: 'platform' },
    changes: { [`ServiceAccount ${NAMESPACE}/${NAME} metadata.annotations`]: { team: 'platform' } },
  },
  'rbac.aggregate': {
    value: false,
    changes: Object.fromEntries(
      Object.entries({ viewer: ['view', 'edit', 'admin'], editor: ['edit', 'admin'], admin: ['admin'] }).flatMap(
        ([role, into]) =>
          into.map((name) => [
            `ClusterRole baselinepolicy-${role} metadata.labels.rbac.authorization.k8s.io/aggregate-to-${name}`,
            undefined,
          ]),
      ),
    ),
  },
  'crds.install': { value: false, changes: { [CRD]: 'removed' } },
  'crds.keep': { value: false, changes: { [`${CRD} metadata.annotations`]: undefined } },
  'networkPolicy.install': { value: false, changes: { [`NetworkPolicy ${NAMESPACE}/${NAME}`]: 'removed' } },
  'networkPolicy.monitoringNamespace': {
    value: 'observability',
    changes: {
      [`NetworkPolicy ${NAMESPACE}/${NAME} spec.ingress[0].from[0].namespaceSelector.matchLabels.kubernetes.io/metadata.name`]:
        'observability',
    },
  },
  'networkPolicy.apiServerPorts': {
    value: [443, 16443],
    changes: { [`NetworkPolicy ${NAMESPACE}/${NAME} spec.egress[0].ports[1].port`]: 16443 },
  },
  'podDisruptionBudget.install': { value: false, changes: { [`PodDisruptionBudget ${NAMESPACE}/${NAME}`]: 'removed' } },
  resources: {
    value: { limits: { memory: '1Gi' } },
    changes: { [`${CONTAINER}.resources.limits.memory`]: '1Gi' },
  },
  priorityClassName: {
    value: 'system-cluster-critical',
    changes: { [`${POD}.priorityClassName`]: 'system-cluster-critical' },
  },
  podAnnotations: {
    value: { team: 'platform' },
    changes: { [`${DEPLOYMENT} spec.template.metadata.annotations.team`]: 'platform' },
  },
  podLabels: {
    // What the Deployment selects by stays.
    value: { team: 'platform', 'app.kubernetes.io/name': 'other' },
    changes: { [`${DEPLOYMENT} spec.template.metadata.labels.team`]: 'platform' },
  },
  nodeSelector: { value: { pool: 'system' }, changes: { [`${POD}.nodeSelector`]: { pool: 'system' } } },
  tolerations: { value: [TOLERATION], changes: { [`${POD}.tolerations`]: [TOLERATION] } },
  affinity: { value: AFFINITY, changes: { [`${POD}.affinity`]: AFFINITY } },
  'metrics.certificateSecret': {
    value: 'metrics-certificate',
    beside: { monitoring: { serviceMonitor: true } },
    changes: {
      [`${CONTAINER}.args[+]`]: ['--metrics-cert-path=/etc/metrics'],
      [`${CONTAINER}.volumeMounts`]: [{ name: 'metrics', mountPath: '/etc/metrics', readOnly: true }],
      [`${POD}.volumes`]: [{ name: 'metrics', secret: { secretName: 'metrics-certificate' } }],
      [`${SERVICE_MONITOR} spec.endpoints[0].tlsConfig.insecureSkipVerify`]: undefined,
      [`${SERVICE_MONITOR} spec.endpoints[0].tlsConfig.serverName`]: `${NAME}-metrics.${NAMESPACE}.svc`,
      [`${SERVICE_MONITOR} spec.endpoints[0].tlsConfig.ca`]: {
        secret: { name: 'metrics-certificate', key: 'ca.crt' },
      },
    },
  },
  'monitoring.serviceMonitor': { value: true, changes: { [SERVICE_MONITOR]: 'added' } },
  'monitoring.rules': { value: true, changes: { [RULES]: 'added' } },
  'monitoring.dashboard': { value: true, changes: { [`ConfigMap ${NAMESPACE}/${NAME}-dashboard`]: 'added' } },
  'monitoring.labels': {
    value: { release: 'kube-prometheus-stack' },
    beside: { monitoring: { serviceMonitor: true, rules: true } },
    changes: {
      [`${SERVICE_MONITOR} metadata.labels.release`]: 'kube-prometheus-stack',
      [`${RULES} metadata.labels.release`]: 'kube-prometheus-stack',
    },
  },
  'admission.tamperProtection': {
    value: false,
    changes: {
      ...policyAndBinding('protected-networkpolicies.baselinepolicy.dev', 'removed'),
      ...policyAndBinding('reserved-names.baselinepolicy.dev', 'removed'),
      ...policyAndBinding('orphaning.baselinepolicy.dev', 'removed'),
      ...policyAndBinding('protected-namespace-labels.baselinepolicy.dev', 'removed'),
      'ClusterRole baselinepolicy-break-glass': 'removed',
      'ClusterRole baselinepolicy-opt-out': 'removed',
    },
  },
  'admission.startGate': { value: true, changes: policyAndBinding(START_GATE, 'added') },
  'admission.openingGuard': { value: 'warn', changes: policyAndBinding(OPENING_GUARD, 'added') },
};

/** Values that the schema refuses, each with what Helm says about it. */
const REFUSED: readonly (readonly [Values, RegExp])[] = [
  [{ replica: 3 }, /additional properties 'replica' not allowed/],
  [{ image: { version: 'v9' } }, /'\/image'.*'version' not allowed/],
  [{ image: { repository: '' } }, /'\/image\/repository'/],
  [{ image: { tag: 9 } }, /'\/image\/tag'.*got number, want string/],
  [{ image: { digest: '0a0a' } }, /'\/image\/digest'/],
  [{ image: { pullPolicy: 'Sometimes' } }, /'\/image\/pullPolicy'.*'IfNotPresent'/],
  [{ imagePullSecrets: ['pull'] }, /'\/imagePullSecrets\/0'.*got string, want object/],
  [{ replicas: 1.5 }, /'\/replicas'.*want integer/],
  [{ replicas: -1 }, /'\/replicas'/],
  [{ operator: { logLevel: 'trace' } }, /'\/operator\/logLevel'/],
  [{ operator: { logFormat: 'xml' } }, /'\/operator\/logFormat'/],
  [{ operator: { concurrency: 0 } }, /'\/operator\/concurrency'/],
  [{ operator: { resyncPeriod: '1 hour' } }, /'\/operator\/resyncPeriod'/],
  [{ operator: { protectedNamespaces: 'kube-system,vault' } }, /'\/operator\/protectedNamespaces'/],
  [{ operator: { protectedNamespaces: ['Vault'] } }, /'\/operator\/protectedNamespaces\/0'/],
  [{ operator: { deletionBrakeCount: -1 } }, /'\/operator\/deletionBrakeCount'/],
  [{ operator: { deletionBrakePercent: 101 } }, /'\/operator\/deletionBrakePercent'/],
  [{ operator: { extraArgs: ['kube-api-timeout=1m'] } }, /'\/operator\/extraArgs\/0'/],
  [{ serviceAccount: { annotations: { team: 7 } } }, /'\/serviceAccount\/annotations\/team'/],
  [{ rbac: { aggregate: 'no' } }, /'\/rbac\/aggregate'/],
  [{ crds: { keep: 'yes' } }, /'\/crds\/keep'/],
  [{ networkPolicy: { monitoringNamespace: '' } }, /'\/networkPolicy\/monitoringNamespace'/],
  [{ networkPolicy: { apiServerPorts: ['https'] } }, /'\/networkPolicy\/apiServerPorts\/0'/],
  [{ networkPolicy: { apiServerPorts: [] } }, /'\/networkPolicy\/apiServerPorts'/],
  [{ resources: '1Gi' }, /'\/resources'/],
  [{ podLabels: { version: 9 } }, /'\/podLabels\/version'/],
  [{ tolerations: { key: 'dedicated' } }, /'\/tolerations'/],
  [{ metrics: { certificateSecret: true } }, /'\/metrics\/certificateSecret'/],
  [{ monitoring: { dashboards: true } }, /'\/monitoring'.*'dashboards' not allowed/],
  [{ admission: { openingGuard: 'refuse' } }, /'\/admission\/openingGuard'/],
  // Without quotes, on is true in YAML 1.1, which Helm reads.
  ['admission: { openingGuard: on }', /'\/admission\/openingGuard'/],
];

/** A value at a path such as `image.tag`, as values. */
function valuesAt(path: string, value: unknown): object {
  return path.split('.').reduceRight((inner: unknown, key) => ({ [key]: inner }), value) as object;
}

/** Both values, those of the second where both have one. */
function merged(first: object, second: object): object {
  const result: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second) as [string, unknown][]) {
    const old = result[key];
    const both = [old, value].every((part) => typeof part === 'object' && part !== null && !Array.isArray(part));
    result[key] = both ? merged(old as object, value as object) : value;
  }
  return result;
}

/** The objects of config/default with more folders and components of config/. */
async function configWith(folders: readonly string[], components: readonly string[] = []): Promise<ManifestObject[]> {
  // kustomize takes no absolute path.
  const path = (name: string): string =>
    relative(join(realpathSync(tmpdir()), 'folder'), join(PROJECT, 'config', name));
  using folder = new Folder({
    'kustomization.yaml': JSON.stringify({
      apiVersion: 'kustomize.config.k8s.io/v1beta1',
      kind: 'Kustomization',
      resources: ['default', ...folders].map(path),
      components: components.map(path),
      labels: [{ pairs: { 'app.kubernetes.io/name': NAME, 'app.kubernetes.io/part-of': NAME } }],
    }),
  });
  return await kustomize(folder.path);
}

/** Objects of chart or config/ by identity, but for the two things in which they differ on purpose. */
function withoutDifferences(objects: readonly ManifestObject[]): Record<string, ManifestObject> {
  const { [`Namespace ${NAMESPACE}`]: _namespace, ...others } = byIdentity(objects.map(refolded));
  const { [CRD]: definition } = others;
  assert.ok(definition);
  const { annotations: _keep, ...metadata } = definition.metadata;
  return { ...others, [CRD]: { ...definition, metadata } };
}

/**
 * An admission policy without the blank lines that kustomize puts before indented lines when it writes folded text (`>-`)
 * again; to CEL they mean nothing.
 */
function refolded(object: ManifestObject): ManifestObject {
  if (object.kind !== 'ValidatingAdmissionPolicy') return object;
  return JSON.parse(JSON.stringify(object).replaceAll('\\n\\n  ', '\\n  ')) as ManifestObject;
}

describe('The Helm chart', function () {
  this.timeout(120_000);
  let defaults: ManifestObject[];

  before(async () => {
    defaults = await render();
  });

  it('makes what config/default makes, but for the Namespace and the annotation that keeps the definition', async () => {
    const config = await kustomize('config/default');
    assert.deepEqual(withoutDifferences(defaults), withoutDifferences(config));
    const [ours, theirs] = [byIdentity(defaults), byIdentity(config)];
    assert.deepEqual(
      Object.keys(theirs).filter((name) => ours[name] === undefined),
      [`Namespace ${NAMESPACE}`],
    );
    assert.deepEqual(ours[CRD]?.metadata.annotations, { 'helm.sh/resource-policy': 'keep' });
    assert.equal(theirs[CRD]?.metadata.annotations, undefined);
  });

  it('makes what the optional parts of config/ make', async () => {
    const priorityClassName = 'system-cluster-critical';
    const { monitoring } = ALL;
    const values = { priorityClassName, monitoring: { ...monitoring, dashboard: false }, admission: ALL.admission };
    const parts = ['admission/start-gate', 'admission/opening-guard', 'prometheus'];
    assert.deepEqual(
      withoutDifferences(await render(values)),
      withoutDifferences(await configWith(parts, ['components/priority-class', 'components/guard-deny'])),
    );
    assert.deepEqual(
      withoutDifferences(await render({ admission: { openingGuard: 'warn' } })),
      withoutDifferences(await configWith(['admission/opening-guard'])),
    );
  });

  it('has the dashboard of config/grafana, for the sidecar of Grafana', async () => {
    const objects = byIdentity(await render({ monitoring: { dashboard: true } }));
    const dashboard = objects[`ConfigMap ${NAMESPACE}/${NAME}-dashboard`] as
      (ManifestObject & { data: Record<string, string> }) | undefined;
    assert.equal(dashboard?.metadata.labels?.['grafana_dashboard'], '1');
    const [[name, text] = []] = Object.entries(dashboard.data);
    assert.equal(name, 'baseline-policy-operator.json');
    assert.deepEqual(
      JSON.parse(text ?? ''),
      JSON.parse(readFileSync(join(PROJECT, 'config/grafana/dashboard.json'), 'utf8')),
    );
  });

  it('has the version of package.json', () => {
    const { version, appVersion } = parse(readFileSync(join(PROJECT, CHART, 'Chart.yaml'), 'utf8')) as Record<
      string,
      unknown
    >;
    assert.deepEqual({ version, appVersion }, { version: manifest.version, appVersion: manifest.version });
  });

  it('is without fault for helm lint', async () => {
    const output = await helm(['lint', CHART, '--strict', `--namespace=${NAMESPACE}`]);
    assert.match(output, /1 chart\(s\) linted, 0 chart\(s\) failed/);
    assert.doesNotMatch(output, /WARNING|ERROR/);
  });

  for (const [path, { value, beside = {}, changes }] of Object.entries(EFFECTS)) {
    it(`changes by ${path} what it is for, and nothing else`, async () => {
      const [before, after] = [await render(beside), await render(merged(beside, valuesAt(path, value)))];
      assert.deepEqual(changesOf(before, after), changes);
    });
  }

  it('documents each value, describes it in the schema, and has the effect of each tested', () => {
    const documented = chartValues(readFileSync(join(PROJECT, CHART, 'values.yaml'), 'utf8')).map(({ path }) => path);
    assert.deepEqual(documented.toSorted(), Object.keys(EFFECTS).toSorted());
    interface Schema {
      readonly type?: unknown;
      readonly additionalProperties?: unknown;
      readonly properties?: Readonly<Record<string, Schema>>;
    }
    const leaves = (schema: Schema, path: readonly string[]): string[] => {
      if (schema.properties === undefined) return [path.join('.')];
      assert.equal(schema.additionalProperties, false, path.join('.'));
      return Object.entries(schema.properties).flatMap(([key, part]) => leaves(part, [...path, key]));
    };
    const schema = JSON.parse(readFileSync(join(PROJECT, CHART, 'values.schema.json'), 'utf8')) as Schema;
    assert.deepEqual(leaves(schema, []).toSorted(), [...documented, 'global'].toSorted());
  });

  for (const [values, message] of REFUSED) {
    it(`refuses ${typeof values === 'string' ? values : JSON.stringify(values)}`, async () => {
      await assert.rejects(template(values), (error) => error instanceof Error && message.test(error.message));
    });
  }

  it('takes off without quotes, which is false in YAML 1.1', async () => {
    assert.deepEqual(changesOf(defaults, await render('admission: { openingGuard: off }')), {});
  });

  it('writes large numbers as the operator reads them, also from a file of values', async () => {
    const objects = await render('operator: { deletionBrakeCount: 1000000, deletionBrakePercent: 100 }');
    assert.deepEqual(changesOf(defaults, objects), {
      [`${CONTAINER}.args[+]`]: ['--deletion-brake-count=1000000', '--deletion-brake-percent=100'],
    });
  });

  it('starts the operator with flags that it has', async () => {
    const values = Object.entries(EFFECTS)
      .filter(([path]) => path.startsWith('operator.') || path.startsWith('metrics.'))
      .map(([path, { value }]) => valuesAt(path, value))
      .reduce(merged, {});
    const deployment = byIdentity(await render(values))[DEPLOYMENT] as unknown as {
      spec: { template: { spec: { containers: [{ args: string[] }] } } };
    };
    const commandLine = parseFlags(deployment.spec.template.spec.containers[0].args, { POD_NAMESPACE: NAMESPACE });
    assert.equal(commandLine.kind, 'run');
    const { options } = commandLine;
    assert.equal(options.metricsCertPath, '/etc/metrics');
    assert.deepEqual(options.protectedNamespaces, ['vault', 'kube-system']);
    assert.equal(options.listPageSize, 100);
    assert.equal(options.resyncPeriodMs, 0);
  });

  it('leaves no trace of the namespace of config/default in another one', async () => {
    const other = 'network-baseline';
    const text = await template({ ...ALL, metrics: { certificateSecret: 'certificate' } }, other);
    assert.doesNotMatch(text, new RegExp(NAMESPACE));
    assert.match(text, /'system:serviceaccount:network-baseline:baseline-policy-operator'/);
    const objects = await render(ALL, other);
    const bindings = objects.filter(({ metadata }) =>
      [START_GATE, OPENING_GUARD].includes(metadata.name),
    ) as unknown as {
      kind: string;
      spec: { matchResources?: { namespaceSelector: { matchExpressions: [{ values: string[] }] } } };
    }[];
    assert.deepEqual(
      bindings
        .filter(({ kind }) => kind === 'ValidatingAdmissionPolicyBinding')
        .map(({ spec }) => spec.matchResources?.namespaceSelector.matchExpressions[0].values),
      [1, 2].map(() => ['kube-node-lease', 'kube-public', 'kube-system', other]),
    );
    assert.deepEqual([...new Set(objects.map(({ metadata }) => metadata.namespace))].toSorted(), [
      'default',
      'kube-system',
      other,
      undefined,
    ]);
  });

  for (const namespace of ['default', 'kube-system']) {
    it(`refuses the namespace ${namespace}`, async () => {
      await assert.rejects(template({}, namespace), {
        message: new RegExp(`expected a namespace for the operator alone, got ${namespace}: use --namespace=`),
      });
    });
  }
});

describe('The values of a chart', () => {
  it('are keys below a comment, in groups', () => {
    const text = [
      '# About the file, which is no value.',
      'image:',
      '  # -- Of the image;',
      '  # on two lines.',
      '  tag: v1',
      '# -- All of it.',
      'resources:',
      '  limits:',
      '    cpu: 1',
      '# -- A list.',
      'ports: [1, 2]',
    ].join('\n');
    assert.deepEqual(chartValues(text), [
      { path: 'image.tag', value: 'v1', description: 'Of the image; on two lines.' },
      { path: 'resources', value: { limits: { cpu: 1 } }, description: 'All of it.' },
      { path: 'ports', value: [1, 2], description: 'A list.' },
    ]);
  });

  it('are documented, each', () => {
    assert.throws(() => chartValues('image:\n  # -- Of the image.\n  tag: v1\n  digest: none\n'), {
      message: 'Expected a comment that begins with "# --" above the value image.digest, found none',
    });
  });

  it('are YAML', () => {
    assert.throws(() => chartValues('image: {'), /^Error: Expected values in YAML, got: /);
  });
});

describe('The Helm chart on a cluster', function () {
  this.timeout(240_000);
  const namespace = 'network-baseline';
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

  async function release(command: string, ...args: readonly string[]): Promise<string> {
    const { kubeconfig } = controlPlane;
    return helm([command, NAME, ...args, `--namespace=${namespace}`], { kubeconfig });
  }

  /** Names of the objects that are there, of those that these values make. */
  async function present(values: object): Promise<string[]> {
    using folder = new Folder({ 'objects.yaml': await template(values, namespace) });
    const file = join(folder.path, 'objects.yaml');
    const found = await kubectl(['get', '-f', file, '--ignore-not-found', '-o', 'name'], controlPlane.kubeconfig);
    return found.trim().split('\n');
  }

  interface Deployment extends ManifestObject {
    readonly spec: { readonly replicas: number; readonly template: { spec: { containers: [{ args: string[] }] } } };
  }

  async function deployment(): Promise<Deployment> {
    return kube.resource<Deployment>('apps/v1', 'deployments', namespace).get(NAME);
  }

  async function pods(): Promise<number> {
    return (await kube.resource('v1', 'pods', namespace).list()).length;
  }

  it('installs everything in a namespace of its own, and says what comes next', async () => {
    const output = await release('install', CHART, '--create-namespace', '--set=admission.startGate=true');
    assert.match(output, /kubectl -n network-baseline rollout status deployment\/baseline-policy-operator/);
    assert.match(output, /kubectl label namespace SOME-NAMESPACE baselinepolicy\.dev\/enforce=true/);
    assert.match(
      output,
      /helm uninstall keeps the CustomResourceDefinition, the BaselinePolicies and all NetworkPolicies/,
    );
    const values = { admission: { startGate: true } };
    assert.equal((await present(values)).length, (await render(values, namespace)).length);
    await eventually(async () => {
      assert.equal(await pods(), 2);
    });
  });

  it('upgrades to other values, under Pod Security restricted too, and keeps what it is not about', async () => {
    await kube.namespaces.merge(namespace, {
      metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    });
    const policies = kube.baselinePolicies;
    const { metadata } = await policies.create({
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name: 'kept' },
      spec: {},
    });

    await release('upgrade', CHART, '--set=replicas=3', '--set=operator.logLevel=debug');

    const { spec } = await deployment();
    assert.equal(spec.replicas, 3);
    assert.equal(spec.template.spec.containers[0].args.at(-1), '--log-level=debug');
    assert.equal((await policies.get('kept')).metadata.uid, metadata.uid);
    const left = await present({ admission: { startGate: true } });
    assert.deepEqual(
      left.filter((name) => name.includes('start-gate')),
      [],
    );
    await eventually(async () => {
      const list = await kube
        .resource<ManifestObject & { spec: { containers: [{ args: string[] }] } }>('v1', 'pods', namespace)
        .list();
      assert.ok(list.some(({ spec: { containers } }) => containers[0].args.includes('--log-level=debug')));
    });
  });

  it('keeps definition, BaselinePolicies and NetworkPolicies on uninstall, and takes them over when it is installed again', async () => {
    const kubeconfig = await controlPlane.kubeconfigForServiceAccount(namespace, NAME);
    const operator = await OperatorProcess.start({ kubeconfig, env: { POD_NAMESPACE: namespace } });
    const children = kube.networkPolicies('shop');
    let uids: (string | undefined)[] = [];
    try {
      await kube.namespaces.create({ metadata: { name: 'shop', labels: { [LABEL_ENFORCE]: 'true' } } });
      await eventually(async () => {
        uids = (await children.list()).map(({ metadata }) => metadata.uid);
        assert.equal(uids.length, 3, 'the tamper protection lets the operator of this namespace write');
      });
      await eventually(async () => {
        await assert.rejects(
          children.delete('kept.default-deny', { dryRun: ['All'] }),
          (error) => error instanceof StatusError && error.message.includes('expected the operator to write'),
        );
      });
    } finally {
      operator.signal('SIGKILL');
      await operator.exited();
    }

    const output = await release('uninstall');

    assert.match(output, /kept due to the resource policy[\s\S]*baselinepolicies\.baselinepolicy\.dev/);
    assert.deepEqual(await present({}), [
      'customresourcedefinition.apiextensions.k8s.io/baselinepolicies.baselinepolicy.dev',
    ]);
    assert.deepEqual(
      (await kube.baselinePolicies.list()).map(({ metadata }) => metadata.name),
      ['kept'],
    );
    assert.deepEqual(
      (await children.list()).map(({ metadata }) => metadata.uid),
      uids,
    );

    await release('install', CHART);
    assert.equal((await present({})).length, (await render({}, namespace)).length);
    assert.deepEqual(
      (await children.list()).map(({ metadata }) => metadata.uid),
      uids,
    );
  });
});
