import { API_VERSION, KIND } from '../../api/baselinepolicy.ts';
import { baselinePolicySchema } from '../../api/schema.ts';
import { networkPolicySpec } from '../../api/schema/networkpolicy.ts';
import { labels, literal } from '../../api/schema/strings.ts';
import { typeSchema, type Schema } from '../../api/schema/schema.ts';
import { LABEL_NAMESPACE_NAME } from '../../api/names.ts';
import { checkTypeRules } from './type-rules.ts';
import { checkSchema, type FieldProblem } from './schema-check.ts';
import { checkValidations } from './validation-rules.ts';

const ANYTHING: Schema = {};
const TEXT: Schema = { type: 'string' };
const FLAG: Schema = { type: 'boolean' };
const NUMBER: Schema = { type: 'integer' };

function part(properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return { type: 'object', properties, required };
}

function list(items: Schema): Schema {
  return { type: 'array', items };
}

const LABELS = labels(literal.labelValue, Infinity, '');
const ANNOTATIONS: Schema = { type: 'object' };

/** `metav1.ObjectMeta`: all of it, as a misspelt `namespace` or `labels` changes what policies do. */
const METADATA = typeSchema('ObjectMeta', '', {
  name: TEXT,
  generateName: TEXT,
  namespace: TEXT,
  uid: TEXT,
  resourceVersion: TEXT,
  generation: NUMBER,
  creationTimestamp: TEXT,
  deletionTimestamp: TEXT,
  deletionGracePeriodSeconds: NUMBER,
  selfLink: TEXT,
  labels: LABELS,
  annotations: ANNOTATIONS,
  ownerReferences: list(
    part({ kind: TEXT, name: TEXT, controller: FLAG, uid: TEXT, apiVersion: TEXT }, ['kind', 'name']),
  ),
  finalizers: list(TEXT),
  managedFields: ANYTHING,
});

const CONTAINER = part({
  ports: list(
    typeSchema('ContainerPort', '', {
      name: TEXT,
      containerPort: { ...NUMBER, minimum: 1, maximum: 65_535 },
      protocol: { type: 'string', enum: ['TCP', 'UDP', 'SCTP'] },
      hostPort: NUMBER,
      hostIP: TEXT,
    }),
  ),
  restartPolicy: TEXT,
});

const POD_SPEC = part({ hostNetwork: FLAG, containers: list(CONTAINER), initContainers: list(CONTAINER) });
const TEMPLATE = part({ metadata: METADATA, spec: POD_SPEC });

function whole(kind: string, properties: Readonly<Record<string, Schema>>): Schema {
  const top = { apiVersion: TEXT, kind: TEXT, metadata: METADATA, status: ANYTHING };
  return typeSchema(kind, '', { ...top, ...properties }, { required: ['metadata'] });
}

const CONTROLLER = part({ template: TEMPLATE }, ['template']);

/** A kind of object that is read. */
interface Kind {
  readonly apiVersion: string;
  readonly schema: Schema;
}

function kind(name: string, apiVersion: string, spec: Schema): [string, Kind] {
  return [name, { apiVersion, schema: whole(name, { spec }) }];
}

const KINDS: ReadonlyMap<string, Kind> = new Map([
  kind('Pod', 'v1', POD_SPEC),
  kind('ReplicationController', 'v1', CONTROLLER),
  kind('Deployment', 'apps/v1', CONTROLLER),
  kind('ReplicaSet', 'apps/v1', CONTROLLER),
  kind('StatefulSet', 'apps/v1', CONTROLLER),
  kind('DaemonSet', 'apps/v1', CONTROLLER),
  kind('Job', 'batch/v1', CONTROLLER),
  kind('CronJob', 'batch/v1', part({ jobTemplate: part({ spec: CONTROLLER }, ['spec']) }, ['jobTemplate'])),
  kind('Namespace', 'v1', ANYTHING),
  kind(
    'Service',
    'v1',
    part({
      selector: { type: 'object', additionalProperties: TEXT },
      type: { type: 'string', enum: ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'] },
      clusterIP: TEXT,
      clusterIPs: list(TEXT),
      externalIPs: list(TEXT),
      externalTrafficPolicy: { type: 'string', enum: ['Cluster', 'Local'] },
    }),
  ),
  kind('NetworkPolicy', 'networking.k8s.io/v1', networkPolicySpec(literal)),
  [
    KIND,
    {
      apiVersion: API_VERSION,
      schema: {
        ...baselinePolicySchema,
        properties: { ...baselinePolicySchema.properties, metadata: METADATA, status: ANYTHING },
      },
    },
  ],
]);

/** Groups of policies that decide about connections too, and that are not modelled, with those of their kinds. */
const FOREIGN_POLICIES: Readonly<Record<string, readonly string[]>> = {
  'policy.networking.k8s.io': ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy'],
  'cilium.io': ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'],
  'projectcalico.org': [],
  'crd.projectcalico.org': [],
};
/** Kinds of Calico that decide about connections; its others are settings and addresses. */
const CALICO_POLICIES = [
  'NetworkPolicy',
  'GlobalNetworkPolicy',
  'StagedNetworkPolicy',
  'StagedGlobalNetworkPolicy',
  'StagedKubernetesNetworkPolicy',
];

/** What is done with an object: `read` it, name it as not `modelled`, or let it `be`; or it has the wrong version. */
export type Handling = 'read' | 'not-modelled' | 'other' | { readonly expected: string };

/** Tells how an object of an API version and kind is handled. */
export function handlingOf(apiVersion: string, name: string): Handling {
  const group = apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';
  const foreign = Object.hasOwn(FOREIGN_POLICIES, group) ? FOREIGN_POLICIES[group] : undefined;
  if (foreign !== undefined) {
    return (group.includes('calico') ? CALICO_POLICIES : foreign).includes(name) ? 'not-modelled' : 'other';
  }
  const known = KINDS.get(name);
  if (known === undefined) return 'other';
  if (known.apiVersion === apiVersion) return 'read';
  const [ownGroup = ''] = known.apiVersion.split('/');
  // Before they had groups of their own, workloads and NetworkPolicies were in `extensions`.
  return group === 'extensions' || group === ownGroup || !apiVersion.includes('/')
    ? { expected: known.apiVersion }
    : 'other';
}

/** The API server makes a name of `metadata.generateName` before it checks anything. */
function withGeneratedName(value: unknown): unknown {
  const object = value as { metadata?: { name?: unknown; generateName?: unknown } | null };
  const { name, generateName } = object.metadata ?? {};
  if (name !== undefined || typeof generateName !== 'string') return value;
  return { ...object, metadata: { ...object.metadata, name: `${generateName}00000` } };
}

/** The CRD's schema, and what the API server would say to an object of another kind, as far as fields are read here. */
export function checkKind(name: string, value: unknown): FieldProblem[] {
  const known = KINDS.get(name);
  if (known === undefined) return [];
  const problems =
    name === KIND
      ? checkSchema(known.schema, withGeneratedName(value), { sizes: true, rules: checkValidations })
      : checkSchema(known.schema, value, { sizes: false, rules: checkTypeRules });
  if (problems.length > 0) return problems;
  const { metadata } = value as { metadata: { name?: string; generateName?: string; labels?: Record<string, string> } };
  if ((metadata.name ?? metadata.generateName ?? '') === '') {
    return [{ path: ['metadata', 'name'], message: 'expected a name, found none' }];
  }
  const own = metadata.labels?.[LABEL_NAMESPACE_NAME];
  if (name === 'Namespace' && own !== undefined && own !== metadata.name) {
    const message = `expected ${metadata.name ?? ''}, which the API server sets, found ${own}`;
    return [{ path: ['metadata', 'labels', LABEL_NAMESPACE_NAME], message }];
  }
  return [];
}
