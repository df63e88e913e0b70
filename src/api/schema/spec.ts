import { LABEL_ENFORCE, LABEL_NAMESPACE_NAME } from '../names.ts';
import { LIMITS, labelSelector, networkPolicySpec, peers, policyTypes, POLICY_TYPES, ports } from './networkpolicy.ts';
import { field, listOf, oneOf, typeSchema, type Schema } from './schema.ts';
import { dnsLabel, literal, templated } from './strings.ts';

/** Names of the children that rules make; an additional policy cannot take one. */
const RULE_NAMES = [
  'default-deny',
  'allow-dns',
  'allow-monitoring',
  'allow-same-namespace',
  'allow-kube-apiserver',
  'allow-ingress-controller',
  'allow-external-egress',
] as const;

function enabled(byDefault: boolean): Schema {
  return { description: 'Whether the rule is on.', type: 'boolean', default: byDefault };
}

/** A rule with no more than a switch, or with `properties` beside it; absent means its defaults. */
function ruleSchema(
  title: string,
  about: string,
  byDefault: boolean,
  properties: Readonly<Record<string, Schema>> = {},
  more: Schema = {},
): Schema {
  return typeSchema(title, about, { enabled: enabled(byDefault), ...properties }, { default: {}, ...more });
}

/** An absent or empty `from` of a NetworkPolicy means everyone, which a person who enables a rule did not say. */
const fromWhenEnabled: Schema = {
  'x-kubernetes-validations': [
    {
      // Without the guard the API server refuses the default {}, which it checks before it fills it.
      rule: '!has(self.enabled) || !self.enabled || (has(self.from) && size(self.from) > 0)',
      message: 'from needs at least one peer when the rule is enabled; an empty list would allow everyone',
      fieldPath: '.from',
      reason: 'FieldValueRequired',
    },
  ],
};

const customDNSTarget = typeSchema(
  'CustomDNSTarget',
  'DNS servers that no target names, and their ports.',
  {
    to: peers(literal, 'The DNS servers.', { minItems: 1 }),
    ports: ports(literal, 'Their ports.', { minItems: 1 }),
  },
  { required: ['to', 'ports'] },
);

const baselineRules = typeSchema(
  'BaselineRules',
  'The rules of a baseline; each one that is enabled makes one NetworkPolicy in every selected namespace.',
  {
    defaultDeny: ruleSchema(
      'DefaultDenyRule',
      'Isolates all pods (child default-deny): what no NetworkPolicy allows is denied.',
      true,
      { policyTypes: policyTypes('The directions that are denied.', { default: POLICY_TYPES }) },
    ),
    allowDNS: ruleSchema(
      'AllowDNSRule',
      'Allows all pods to resolve names (child allow-dns), over UDP and TCP.',
      true,
      {
        targets: listOf(
          { type: 'string', enum: ['KubeDNS', 'NodeLocalDNS', 'OpenShiftDNS', 'GKECloudDNS'] },
          4,
          'DNS servers of known kinds of clusters.',
          {
            default: ['KubeDNS', 'NodeLocalDNS'],
            'x-kubernetes-validations': [
              {
                rule: 'self.all(target, self.exists_one(other, other == target))',
                message: 'must name each target at most once',
              },
            ],
          },
        ),
        custom: listOf(customDNSTarget, 8, 'Further DNS servers.'),
      },
      {
        'x-kubernetes-validations': [
          {
            rule: '!has(self.enabled) || !self.enabled || size(self.targets) > 0 || (has(self.custom) && size(self.custom) > 0)',
            message: 'targets or custom needs at least one item when the rule is enabled',
            fieldPath: '.targets',
            reason: 'FieldValueRequired',
          },
        ],
      },
    ),
    allowMonitoring: ruleSchema(
      'AllowMonitoringRule',
      'Allows monitoring to reach all pods (child allow-monitoring).',
      true,
      {
        from: peers(literal, 'Who monitors.', {
          default: [{ namespaceSelector: { matchLabels: { [LABEL_NAMESPACE_NAME]: 'monitoring' } } }],
        }),
        ports: ports(literal, 'On which ports. An absent or empty list means all ports.'),
      },
      fromWhenEnabled,
    ),
    allowSameNamespace: ruleSchema(
      'AllowSameNamespaceRule',
      'Allows the pods of a namespace to connect to each other (child allow-same-namespace).',
      false,
    ),
    allowKubeAPIServer: ruleSchema(
      'AllowKubeAPIServerRule',
      'Allows all pods to connect to the API server (child allow-kube-apiserver), whose addresses are followed as they change.',
      false,
    ),
    allowIngressController: ruleSchema(
      'AllowIngressControllerRule',
      'Allows an ingress controller to reach all pods (child allow-ingress-controller).',
      false,
      {
        from: peers(literal, 'The pods of the ingress controller; required when the rule is enabled.'),
        ports: ports(literal, 'On which ports. An absent or empty list means all ports.'),
      },
      fromWhenEnabled,
    ),
    allowExternalEgress: ruleSchema(
      'AllowExternalEgressRule',
      'Allows all pods to connect to addresses outside the cluster (child allow-external-egress): all but private, link-local, carrier-grade NAT and unique-local ranges.',
      false,
      {
        except: listOf(
          {
            ...literal.cidr,
            'x-kubernetes-validations': [
              ...(literal.cidr['x-kubernetes-validations'] ?? []),
              {
                rule: '!isCIDR(self) || cidr(self).prefixLength() > 0',
                message: 'must be smaller than all addresses; to allow nothing, disable the rule',
              },
            ],
          },
          64,
          'Further ranges that stay closed, such as public addresses of the cluster.',
        ),
        ports: ports(literal, 'On which ports. An absent or empty list means all ports.'),
      },
    ),
  },
  { default: {} },
);

const additionalPolicy = typeSchema(
  'AdditionalPolicy',
  "A NetworkPolicy of your own, made in every selected namespace. Its label values, CIDRs and port names may hold the variables $(namespace.name) and $(namespace.labels['key']).",
  {
    name: field(
      dnsLabel,
      'Name of the policy: the child is called <BaselinePolicy>.<name>. It must not be the name of the child of a rule.',
      {
        'x-kubernetes-validations': [
          ...(dnsLabel['x-kubernetes-validations'] ?? []),
          {
            rule: `!(self in [${RULE_NAMES.map((name) => `'${name}'`).join(', ')}])`,
            message: `must not be the name of the child of a rule: ${RULE_NAMES.join(', ')}`,
          },
        ],
      },
    ),
    spec: networkPolicySpec(templated),
  },
  { required: ['name', 'spec'] },
);

/** The schema of `spec`. Everything in it is optional; `spec: {}` is a baseline of defaults. */
export const specSchema: Schema = typeSchema('BaselinePolicySpec', 'Which namespaces get which NetworkPolicies.', {
  description: {
    description: 'What the baseline is for; each child carries it as an annotation.',
    type: 'string',
    maxLength: 1024,
  },
  mode: oneOf(
    ['Enforce', 'Audit'],
    'Enforce writes NetworkPolicies. Audit writes nothing in namespaces and reports what Enforce would change.',
    { default: 'Enforce' },
  ),
  namespaceSelector: field(
    labelSelector(literal),
    'The namespaces that get the baseline. An empty selector selects all but the protected ones.',
    { default: { matchLabels: { [LABEL_ENFORCE]: 'true' } } },
  ),
  excludedNamespaces: listOf(dnsLabel, 500, 'Names of namespaces that never get the baseline, whatever their labels.', {
    'x-kubernetes-list-type': 'set',
  }),
  rules: baselineRules,
  additionalPolicies: listOf(
    additionalPolicy,
    LIMITS.additionalPolicies,
    'NetworkPolicies of your own beside those of the rules, by name.',
    { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] },
  ),
  deletionPolicy: oneOf(
    ['Delete', 'Orphan'],
    'What happens to the children when the BaselinePolicy is deleted: Delete removes them, Orphan leaves them without an owner.',
    { default: 'Delete' },
  ),
});
