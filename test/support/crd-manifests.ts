/** A BaselinePolicy that the API server accepts. */
export interface ValidManifest {
  title: string;
  /** Default: `valid`. */
  name?: string;
  spec: object;
}

/** A BaselinePolicy that the API server refuses, with one cause: this field, and a message that holds this text. */
export interface InvalidManifest {
  title: string;
  /** Default: `invalid`. */
  name?: string;
  /** Absent: a manifest without a spec. */
  spec?: unknown;
  field: string;
  message: string;
}

const CIDR_MESSAGE = 'must be a CIDR, such as 10.0.0.0/8 or 2001:db8::/32';
const EXCEPT_MESSAGE = 'each exception must be a CIDR inside cidr, and smaller than it';
const KEY_MESSAGE = 'each key must be a label key';
const NAME_MESSAGE = 'must be a DNS label';
const VARIABLES = String.raw`\$\(namespace\.(name|labels\['`;
const MONITORING = 'spec.rules.allowMonitoring.from[0]';
const EXTRA = 'spec.additionalPolicies[0].spec';

/** A spec with one additional policy, called `extra`. */
function additional(spec: object): object {
  return { additionalPolicies: [{ name: 'extra', spec }] };
}

function monitoringFrom(...from: object[]): object {
  return { rules: { allowMonitoring: { from } } };
}

function monitoringPort(port: object): object {
  return { rules: { allowMonitoring: { ports: [port] } } };
}

/** A spec with an additional policy that allows egress to one range. */
function egressTo(cidr: string, except?: string[]): object {
  return additional({ egress: [{ to: [{ ipBlock: { cidr, ...(except && { except }) } }] }] });
}

function extraSelector(podSelector: object): object {
  return additional({ podSelector });
}

function many<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** Manifests that must be accepted. */
export const VALID: readonly ValidManifest[] = [
  { title: 'an empty spec', spec: {} },
  { title: 'a name of 63 characters', name: 'a'.repeat(63), spec: {} },
  { title: 'a name that begins with a digit', name: '0-a', spec: {} },
  { title: 'nulls where there are defaults', spec: { mode: null, namespaceSelector: null, rules: null } },
  { title: 'mode Audit and deletionPolicy Orphan', spec: { mode: 'Audit', deletionPolicy: 'Orphan' } },
  { title: 'a selector of all namespaces', spec: { namespaceSelector: {} } },
  {
    title: 'every operator of a selector',
    spec: {
      namespaceSelector: {
        matchLabels: { 'example.com/team_A.b-1': '', tier: 'Gold_1.x' },
        matchExpressions: [
          { key: 'a', operator: 'In', values: ['x', ''] },
          { key: 'example.com/b', operator: 'NotIn', values: ['y'] },
          { key: 'c', operator: 'Exists' },
          { key: 'd', operator: 'DoesNotExist', values: [] },
        ],
      },
    },
  },
  { title: 'a label key and value as long as allowed', spec: { namespaceSelector: { matchLabels: longestLabel() } } },
  { title: 'excluded namespaces', spec: { excludedNamespaces: ['legacy', 'a', '1', 'b'.repeat(63)] } },
  { title: 'a description of 1024 characters', spec: { description: 'é'.repeat(1024) } },
  { title: 'a description with what would be a variable elsewhere', spec: { description: 'costs $(money)' } },
  {
    title: 'every rule off',
    spec: {
      rules: {
        defaultDeny: { enabled: false },
        allowDNS: { enabled: false, targets: [] },
        allowMonitoring: { enabled: false, from: [] },
        allowSameNamespace: { enabled: false },
        allowKubeAPIServer: { enabled: false },
        allowIngressController: { enabled: false, from: [], ports: [] },
        allowExternalEgress: { enabled: false, except: [], ports: [] },
      },
    },
  },
  {
    title: 'every rule on',
    spec: {
      rules: {
        defaultDeny: { policyTypes: ['Egress'] },
        allowDNS: { targets: ['KubeDNS', 'NodeLocalDNS', 'OpenShiftDNS', 'GKECloudDNS'], custom: [] },
        allowMonitoring: { ports: [{ port: 9090 }, { port: 'metrics', protocol: 'TCP' }] },
        allowSameNamespace: { enabled: true },
        allowKubeAPIServer: { enabled: true },
        allowIngressController: { enabled: true, from: [{ namespaceSelector: {}, podSelector: {} }] },
        allowExternalEgress: { enabled: true, except: ['192.0.2.0/24', '2001:db8::/32'], ports: [{ port: 443 }] },
      },
    },
  },
  {
    title: 'DNS from custom servers only',
    spec: {
      rules: {
        allowDNS: {
          targets: [],
          custom: [{ to: [{ ipBlock: { cidr: '192.0.2.53/32' } }], ports: [{ protocol: 'UDP', port: 53 }] }],
        },
      },
    },
  },
  { title: 'a range of ports', spec: monitoringPort({ protocol: 'SCTP', port: 1, endPort: 65535 }) },
  { title: 'a range of one port', spec: monitoringPort({ port: 80, endPort: 80 }) },
  { title: 'a port without a number', spec: monitoringPort({ protocol: 'UDP' }) },
  { title: 'a port name with digits and hyphens', spec: monitoringPort({ port: '8-a-0' }) },
  { title: 'an additional policy with an empty spec', spec: additional({}) },
  {
    title: 'an additional policy with rules and no policyTypes',
    spec: additional({ ingress: [{}], egress: [{ to: [], ports: [] }] }),
  },
  {
    title: 'an empty list of egress rules without Egress in policyTypes',
    spec: additional({ policyTypes: ['Ingress'], egress: [] }),
  },
  { title: 'an IPv4 range with exceptions', spec: egressTo('0.0.0.0/0', ['10.0.0.0/8', '169.254.169.254/32']) },
  { title: 'an IPv6 range with exceptions', spec: egressTo('::/0', ['fc00::/7', '2001:db8::1/128']) },
  { title: 'a range with host bits', spec: egressTo('10.1.2.3/8') },
  { title: 'a range from a variable', spec: egressTo("$(namespace.labels['example.com/cidr'])") },
  { title: 'a range partly from a variable', spec: egressTo("10.$(namespace.labels['net']).0.0/16", ['10.0.0.0/24']) },
  { title: 'an exception from a variable', spec: egressTo('10.0.0.0/8', ["$(namespace.labels['except'])"]) },
  {
    title: 'variables in label values and port names',
    spec: additional({
      podSelector: { matchLabels: { app: 'x-$(namespace.name)', team: "$(namespace.labels['example.com/team'])" } },
      ingress: [
        {
          from: [
            {
              namespaceSelector: {
                matchExpressions: [
                  { key: 'team', operator: 'In', values: ["$(namespace.name).$(namespace.labels['a'])", 'b'] },
                ],
              },
            },
          ],
          ports: [{ port: "http-$(namespace.labels['x'])" }],
        },
      ],
    }),
  },
  {
    title: 'as many additional policies as allowed',
    spec: { additionalPolicies: many(50, (index) => ({ name: `policy-${index}`, spec: {} })) },
  },
  {
    title: 'an additional policy with all lists of addresses full',
    spec: additional({ ingress: fullRules('from'), egress: fullRules('to') }),
  },
];

/** Manifests that must be refused. */
export const INVALID: readonly InvalidManifest[] = [
  { title: 'no spec', field: 'spec', message: 'Required value' },
  { title: 'a spec that is a string', spec: 'all', field: 'spec', message: 'must be of type object: "string"' },
  { title: 'a name with a dot', name: 'a.b', spec: {}, field: 'metadata.name', message: `${NAME_MESSAGE}: at most 63` },
  { title: 'a name that is too long', name: 'a'.repeat(64), spec: {}, field: 'metadata.name', message: 'no dot' },
  { title: 'an unknown mode', spec: { mode: 'DryRun' }, field: 'spec.mode', message: '"Enforce", "Audit"' },
  {
    title: 'an unknown deletionPolicy',
    spec: { deletionPolicy: 'Keep' },
    field: 'spec.deletionPolicy',
    message: '"Delete", "Orphan"',
  },
  {
    title: 'a description that is too long',
    spec: { description: 'x'.repeat(1025) },
    field: 'spec.description',
    message: 'may not be more than 1024',
  },

  // Namespaces.
  {
    title: 'an excluded namespace with a capital',
    spec: { excludedNamespaces: ['ok', 'Legacy'] },
    field: 'spec.excludedNamespaces[1]',
    message: NAME_MESSAGE,
  },
  {
    title: 'an excluded namespace with a wildcard',
    spec: { excludedNamespaces: ['team-*'] },
    field: 'spec.excludedNamespaces[0]',
    message: NAME_MESSAGE,
  },
  {
    title: 'a namespace excluded twice',
    spec: { excludedNamespaces: ['a', 'a'] },
    field: 'spec.excludedNamespaces[1]',
    message: 'Duplicate value: "a"',
  },
  {
    title: 'too many excluded namespaces',
    spec: { excludedNamespaces: many(501, (index) => `n${index}`) },
    field: 'spec.excludedNamespaces',
    message: 'must have at most 500 items',
  },
  {
    title: 'a label key with a space',
    spec: { namespaceSelector: { matchLabels: { 'my team': 'a' } } },
    field: 'spec.namespaceSelector.matchLabels',
    message: KEY_MESSAGE,
  },
  {
    title: 'a label key with two slashes',
    spec: { namespaceSelector: { matchLabels: { 'a/b/c': 'a' } } },
    field: 'spec.namespaceSelector.matchLabels',
    message: KEY_MESSAGE,
  },
  {
    title: 'a label key with a capital in its prefix',
    spec: { namespaceSelector: { matchLabels: { 'Example.com/a': 'a' } } },
    field: 'spec.namespaceSelector.matchLabels',
    message: KEY_MESSAGE,
  },
  {
    title: 'a label key with an empty part in its prefix',
    spec: { namespaceSelector: { matchLabels: { 'example..com/a': 'a' } } },
    field: 'spec.namespaceSelector.matchLabels',
    message: KEY_MESSAGE,
  },
  {
    title: 'a label key with a prefix of 254 characters',
    spec: { namespaceSelector: { matchLabels: { [`${'a'.repeat(254)}/a`]: 'a' } } },
    field: 'spec.namespaceSelector.matchLabels',
    message: KEY_MESSAGE,
  },
  {
    title: 'a label key with a name of 64 characters',
    spec: { namespaceSelector: { matchLabels: { ['a'.repeat(64)]: 'a' } } },
    field: 'spec.namespaceSelector.matchLabels',
    message: KEY_MESSAGE,
  },
  {
    title: 'a label value of 64 characters',
    spec: { namespaceSelector: { matchLabels: { a: 'a'.repeat(64) } } },
    field: 'spec.namespaceSelector.matchLabels.a',
    message: 'should match',
  },
  {
    title: 'a label value that ends with a hyphen',
    spec: { namespaceSelector: { matchLabels: { a: 'b-' } } },
    field: 'spec.namespaceSelector.matchLabels.a',
    message: 'should match',
  },
  {
    title: 'a label value that is a boolean',
    spec: { namespaceSelector: { matchLabels: { a: true } } },
    field: 'spec.namespaceSelector.matchLabels.a',
    message: 'must be of type string: "boolean"',
  },
  {
    title: 'a variable in the namespace selector',
    spec: { namespaceSelector: { matchLabels: { a: '$(namespace.name)' } } },
    field: 'spec.namespaceSelector.matchLabels.a',
    message: 'should match',
  },
  {
    title: 'a requirement without a key',
    spec: { namespaceSelector: { matchExpressions: [{ operator: 'Exists' }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].key',
    message: 'Required value',
  },
  {
    title: 'a requirement with a bad key',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a/', operator: 'Exists' }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].key',
    message: 'should match',
  },
  {
    title: 'an unknown operator',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'Equals', values: ['b'] }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].operator',
    message: '"In", "NotIn", "Exists", "DoesNotExist"',
  },
  {
    title: 'In without values',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].values',
    message: 'In and NotIn need at least one value',
  },
  {
    title: 'NotIn with an empty list',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'NotIn', values: [] }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].values',
    message: 'In and NotIn need at least one value',
  },
  {
    title: 'Exists with values',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].values',
    message: 'Exists and DoesNotExist take no values',
  },
  {
    title: 'DoesNotExist with values',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'DoesNotExist', values: ['b'] }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].values',
    message: 'Exists and DoesNotExist take no values',
  },
  {
    title: 'a value of a requirement with a space',
    spec: { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b c'] }] } },
    field: 'spec.namespaceSelector.matchExpressions[0].values[0]',
    message: 'should match',
  },

  // Rules.
  {
    title: 'enabled that is a string',
    spec: { rules: { allowDNS: { enabled: 'yes' } } },
    field: 'spec.rules.allowDNS.enabled',
    message: 'must be of type boolean: "string"',
  },
  {
    title: 'defaultDeny of no direction',
    spec: { rules: { defaultDeny: { policyTypes: [] } } },
    field: 'spec.rules.defaultDeny.policyTypes',
    message: 'should have at least 1 items',
  },
  {
    title: 'defaultDeny of one direction twice',
    spec: { rules: { defaultDeny: { policyTypes: ['Egress', 'Egress'] } } },
    field: 'spec.rules.defaultDeny.policyTypes',
    message: 'must name each direction at most once',
  },
  {
    title: 'an unknown direction',
    spec: { rules: { defaultDeny: { policyTypes: ['Both'] } } },
    field: 'spec.rules.defaultDeny.policyTypes[0]',
    message: '"Ingress", "Egress"',
  },
  {
    title: 'an unknown DNS target',
    spec: { rules: { allowDNS: { targets: ['CoreDNS'] } } },
    field: 'spec.rules.allowDNS.targets[0]',
    message: '"KubeDNS", "NodeLocalDNS", "OpenShiftDNS", "GKECloudDNS"',
  },
  {
    title: 'a DNS target twice',
    spec: { rules: { allowDNS: { targets: ['KubeDNS', 'KubeDNS'] } } },
    field: 'spec.rules.allowDNS.targets',
    message: 'must name each target at most once',
  },
  {
    title: 'allowDNS without a server',
    spec: { rules: { allowDNS: { targets: [] } } },
    field: 'spec.rules.allowDNS.targets',
    message: 'targets or custom needs at least one item when the rule is enabled',
  },
  {
    title: 'a custom DNS server without ports',
    spec: { rules: { allowDNS: { custom: [{ to: [{ podSelector: {} }] }] } } },
    field: 'spec.rules.allowDNS.custom[0].ports',
    message: 'Required value',
  },
  {
    title: 'a custom DNS server with an empty list of ports',
    spec: { rules: { allowDNS: { custom: [{ to: [{ podSelector: {} }], ports: [] }] } } },
    field: 'spec.rules.allowDNS.custom[0].ports',
    message: 'should have at least 1 items',
  },
  {
    title: 'custom DNS servers anywhere',
    spec: { rules: { allowDNS: { custom: [{ to: [], ports: [{ port: 53 }] }] } } },
    field: 'spec.rules.allowDNS.custom[0].to',
    message: 'should have at least 1 items',
  },
  {
    title: 'monitoring from everyone',
    spec: monitoringFrom(),
    field: 'spec.rules.allowMonitoring.from',
    message: 'an empty list would allow everyone',
  },
  {
    title: 'an ingress controller without from',
    spec: { rules: { allowIngressController: { enabled: true } } },
    field: 'spec.rules.allowIngressController.from',
    message: 'from needs at least one peer when the rule is enabled',
  },
  {
    title: 'an ingress controller with an empty from',
    spec: { rules: { allowIngressController: { enabled: true, from: [] } } },
    field: 'spec.rules.allowIngressController.from',
    message: 'from needs at least one peer when the rule is enabled',
  },
  {
    title: 'an exception of external egress that is no CIDR',
    spec: { rules: { allowExternalEgress: { except: ['example.com'] } } },
    field: 'spec.rules.allowExternalEgress.except[0]',
    message: CIDR_MESSAGE,
  },
  {
    title: 'an exception of external egress that is everything',
    spec: { rules: { allowExternalEgress: { except: ['::/0'] } } },
    field: 'spec.rules.allowExternalEgress.except[0]',
    message: 'must be smaller than all addresses',
  },

  // Peers.
  { title: 'a peer of nothing', spec: monitoringFrom({}), field: MONITORING, message: 'a peer needs podSelector' },
  {
    title: 'a peer with an address and pods',
    spec: monitoringFrom({ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }),
    field: `${MONITORING}.ipBlock`,
    message: 'a peer with ipBlock must not have podSelector or namespaceSelector',
  },
  {
    title: 'a peer with an address and namespaces',
    spec: monitoringFrom({ ipBlock: { cidr: '10.0.0.0/8' }, namespaceSelector: {} }),
    field: `${MONITORING}.ipBlock`,
    message: 'a peer with ipBlock must not have podSelector or namespaceSelector',
  },
  {
    title: 'an ipBlock without a range',
    spec: monitoringFrom({ ipBlock: {} }),
    field: `${MONITORING}.ipBlock.cidr`,
    message: 'Required value',
  },
  {
    title: 'an address without a prefix length',
    spec: monitoringFrom({ ipBlock: { cidr: '10.0.0.1' } }),
    field: `${MONITORING}.ipBlock.cidr`,
    message: CIDR_MESSAGE,
  },
  {
    title: 'a prefix length that is too long',
    spec: monitoringFrom({ ipBlock: { cidr: '10.0.0.0/33' } }),
    field: `${MONITORING}.ipBlock.cidr`,
    message: CIDR_MESSAGE,
  },
  {
    title: 'leading zeros in an address',
    spec: monitoringFrom({ ipBlock: { cidr: '010.0.0.0/8' } }),
    field: `${MONITORING}.ipBlock.cidr`,
    message: CIDR_MESSAGE,
  },
  {
    title: 'a variable in a range of a rule',
    spec: monitoringFrom({ ipBlock: { cidr: "$(namespace.labels['cidr'])" } }),
    field: `${MONITORING}.ipBlock.cidr`,
    message: CIDR_MESSAGE,
  },
  {
    title: 'an exception outside of its range',
    spec: monitoringFrom({ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16', '11.0.0.0/16'] } }),
    field: `${MONITORING}.ipBlock.except`,
    message: EXCEPT_MESSAGE,
  },
  {
    title: 'too many peers',
    spec: monitoringFrom(...many(26, () => ({ podSelector: {} }))),
    field: 'spec.rules.allowMonitoring.from',
    message: 'must have at most 25 items',
  },

  // Ports.
  {
    title: 'an unknown protocol',
    spec: monitoringPort({ protocol: 'ICMP' }),
    field: 'spec.rules.allowMonitoring.ports[0].protocol',
    message: '"TCP", "UDP", "SCTP"',
  },
  {
    title: 'port 0',
    spec: monitoringPort({ port: 0 }),
    field: 'spec.rules.allowMonitoring.ports[0].port',
    message: 'should be greater than or equal to 1',
  },
  {
    title: 'port 65536',
    spec: monitoringPort({ port: 65536 }),
    field: 'spec.rules.allowMonitoring.ports[0].port',
    message: 'should be less than or equal to 65535',
  },
  {
    title: 'a port number in quotes',
    spec: monitoringPort({ port: '8080' }),
    field: 'spec.rules.allowMonitoring.ports[0].port',
    message: 'should match',
  },
  {
    title: 'a port name with two hyphens in a row',
    spec: monitoringPort({ port: 'a--b' }),
    field: 'spec.rules.allowMonitoring.ports[0].port',
    message: 'should match',
  },
  {
    title: 'a port name of 16 characters',
    spec: monitoringPort({ port: 'a'.repeat(16) }),
    field: 'spec.rules.allowMonitoring.ports[0].port',
    message: 'may not be more than 15',
  },
  {
    title: 'endPort without port',
    spec: monitoringPort({ endPort: 90 }),
    field: 'spec.rules.allowMonitoring.ports[0].endPort',
    message: 'endPort needs a port that is a number',
  },
  {
    title: 'endPort with a named port',
    spec: monitoringPort({ port: 'http', endPort: 90 }),
    field: 'spec.rules.allowMonitoring.ports[0].endPort',
    message: 'endPort needs a port that is a number',
  },
  {
    title: 'endPort before port',
    spec: monitoringPort({ port: 90, endPort: 80 }),
    field: 'spec.rules.allowMonitoring.ports[0].endPort',
    message: 'endPort must not be less than port',
  },
  {
    title: 'endPort 65536',
    spec: monitoringPort({ port: 90, endPort: 65536 }),
    field: 'spec.rules.allowMonitoring.ports[0].endPort',
    message: 'should be less than or equal to 65535',
  },

  // Additional policies.
  {
    title: 'an additional policy without a name',
    spec: { additionalPolicies: [{ spec: {} }] },
    field: 'spec.additionalPolicies[0].name',
    message: 'Required value',
  },
  {
    title: 'an additional policy without a spec',
    spec: { additionalPolicies: [{ name: 'extra' }] },
    field: 'spec.additionalPolicies[0].spec',
    message: 'Required value',
  },
  {
    title: 'an additional policy with a dot in its name',
    spec: { additionalPolicies: [{ name: 'a.b', spec: {} }] },
    field: 'spec.additionalPolicies[0].name',
    message: NAME_MESSAGE,
  },
  {
    title: 'an additional policy with a name of 64 characters',
    spec: { additionalPolicies: [{ name: 'a'.repeat(64), spec: {} }] },
    field: 'spec.additionalPolicies[0].name',
    message: 'may not be more than 63',
  },
  ...[
    'default-deny',
    'allow-dns',
    'allow-monitoring',
    'allow-same-namespace',
    'allow-kube-apiserver',
    'allow-ingress-controller',
    'allow-external-egress',
  ].map((name) => ({
    title: `an additional policy called ${name}`,
    spec: { additionalPolicies: [{ name, spec: {} }] },
    field: 'spec.additionalPolicies[0].name',
    message: 'must not be the name of the child of a rule',
  })),
  {
    title: 'two additional policies of one name',
    spec: { additionalPolicies: many(2, () => ({ name: 'extra', spec: {} })) },
    field: 'spec.additionalPolicies[1]',
    message: 'Duplicate value',
  },
  {
    title: 'too many additional policies',
    spec: { additionalPolicies: many(51, (index) => ({ name: `policy-${index}`, spec: {} })) },
    field: 'spec.additionalPolicies',
    message: 'must have at most 50 items',
  },
  {
    title: 'egress rules without Egress in policyTypes',
    spec: additional({ policyTypes: ['Ingress'], egress: [{}] }),
    field: `${EXTRA}.egress`,
    message: 'egress rules never take effect when policyTypes does not list Egress',
  },
  {
    title: 'ingress rules without Ingress in policyTypes',
    spec: additional({ policyTypes: ['Egress'], ingress: [{}] }),
    field: `${EXTRA}.ingress`,
    message: 'ingress rules never take effect when policyTypes does not list Ingress',
  },
  {
    title: 'an additional policy of no direction',
    spec: additional({ policyTypes: [] }),
    field: `${EXTRA}.policyTypes`,
    message: 'should have at least 1 items',
  },
  {
    title: 'an additional policy of one direction twice',
    spec: additional({ policyTypes: ['Ingress', 'Ingress'] }),
    field: `${EXTRA}.policyTypes`,
    message: 'must name each direction at most once',
  },
  {
    title: 'a variable in a label key',
    spec: extraSelector({ matchLabels: { '$(namespace.name)': 'a' } }),
    field: `${EXTRA}.podSelector.matchLabels`,
    message: KEY_MESSAGE,
  },
  {
    title: 'a label key with a space deep in an additional policy',
    spec: additional({ ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'a b': 'c' } } }] }] }),
    field: `${EXTRA}.ingress[0].from[0].namespaceSelector.matchLabels`,
    message: KEY_MESSAGE,
  },
  {
    title: 'an unknown variable',
    spec: extraSelector({ matchLabels: { a: '$(namespace.uid)' } }),
    field: `${EXTRA}.podSelector.matchLabels.a`,
    message: VARIABLES,
  },
  {
    title: 'a variable without quotes around the key',
    spec: extraSelector({ matchLabels: { a: '$(namespace.labels[team])' } }),
    field: `${EXTRA}.podSelector.matchLabels.a`,
    message: VARIABLES,
  },
  {
    title: 'a variable that is not closed',
    spec: extraSelector({ matchExpressions: [{ key: 'a', operator: 'In', values: ['$(namespace.name'] }] }),
    field: `${EXTRA}.podSelector.matchExpressions[0].values[0]`,
    message: VARIABLES,
  },
  {
    title: 'a space beside a variable',
    spec: extraSelector({ matchLabels: { a: 'x $(namespace.name)' } }),
    field: `${EXTRA}.podSelector.matchLabels.a`,
    message: VARIABLES,
  },
  {
    title: 'an unknown variable in a port name',
    spec: additional({ egress: [{ ports: [{ port: '$(port)' }] }] }),
    field: `${EXTRA}.egress[0].ports[0].port`,
    message: VARIABLES,
  },
  {
    title: 'an unknown variable in a range',
    spec: egressTo('$(cluster.cidr)'),
    field: `${EXTRA}.egress[0].to[0].ipBlock.cidr`,
    message: VARIABLES,
  },
  {
    title: 'an unknown variable in an exception',
    spec: egressTo('10.0.0.0/8', ['$(cluster.cidr)']),
    field: `${EXTRA}.egress[0].to[0].ipBlock.except[0]`,
    message: VARIABLES,
  },
  {
    title: 'a range that is a host name',
    spec: egressTo('example.com'),
    field: `${EXTRA}.egress[0].to[0].ipBlock.cidr`,
    message: `${CIDR_MESSAGE}, or hold a variable`,
  },
  {
    title: 'an exception equal to its range',
    spec: egressTo('10.0.0.0/8', ['10.0.0.0/8']),
    field: `${EXTRA}.egress[0].to[0].ipBlock.except`,
    message: EXCEPT_MESSAGE,
  },
  {
    title: 'an exception larger than its range',
    spec: egressTo('10.0.0.0/8', ['0.0.0.0/0']),
    field: `${EXTRA}.egress[0].to[0].ipBlock.except`,
    message: EXCEPT_MESSAGE,
  },
  {
    title: 'an exception of the other family',
    spec: egressTo('0.0.0.0/0', ['2001:db8::/32']),
    field: `${EXTRA}.egress[0].to[0].ipBlock.except`,
    message: EXCEPT_MESSAGE,
  },
  {
    title: 'an exception that is an address',
    spec: egressTo('10.0.0.0/8', ['10.0.0.1']),
    field: `${EXTRA}.egress[0].to[0].ipBlock.except`,
    message: EXCEPT_MESSAGE,
  },
  {
    title: 'a misspelt field',
    spec: additional({ ingress: [{ fro: [{ podSelector: {} }] }] }),
    field: '',
    message: `unknown field "${EXTRA}.ingress[0].fro"`,
  },
];

function longestLabel(): Record<string, string> {
  return { [`${'a'.repeat(253)}/${'B'.repeat(63)}`]: 'c'.repeat(63) };
}

/** Rules with as many peers and exceptions as allowed, each of them different. */
function fullRules(direction: 'from' | 'to'): object[] {
  return many(10, (rule) => ({
    [direction]: many(25, (peer) => ({
      ipBlock: { cidr: `10.${rule}.${peer}.0/24`, except: many(8, (part) => `10.${rule}.${peer}.${part}/32`) },
    })),
    ports: many(32, (port) => ({ port: port + 1 })),
  }));
}
