import { field, listOf, oneOf, typeSchema, type Schema } from './schema.ts';
import { labelKey, labels, type StringSyntax } from './strings.ts';

/**
 * Most items of each list. The API server estimates the cost of each CEL rule with every list full, and refuses a CRD
 * above 10 million a rule and 100 million in all; the product of the sizes of nested lists counts.
 */
export const LIMITS = {
  additionalPolicies: 50,
  rules: 10,
  peers: 25,
  ports: 32,
  except: 8,
  labels: 16,
  expressions: 8,
  values: 32,
} as const;

/** The two directions, as `policyTypes` names them. */
export const POLICY_TYPES = ['Ingress', 'Egress'] as const;

/** A list of directions, none of them twice. */
export function policyTypes(description: string, more: Schema = {}): Schema {
  return listOf({ type: 'string', enum: POLICY_TYPES }, POLICY_TYPES.length, description, {
    minItems: 1,
    'x-kubernetes-validations': [
      {
        rule: 'self.all(type, self.exists_one(other, other == type))',
        message: 'must name each direction at most once',
      },
    ],
    ...more,
  });
}

/** `metav1.LabelSelector`. */
export function labelSelector(syntax: StringSyntax): Schema {
  return typeSchema(
    'LabelSelector',
    'A label query over a set of objects: all of matchLabels and all of matchExpressions. An empty selector matches everything.',
    {
      matchLabels: labels(syntax.labelValue, LIMITS.labels, 'Labels that an object must have, with these values.'),
      matchExpressions: listOf(
        labelSelectorRequirement(syntax),
        LIMITS.expressions,
        'Requirements that must all hold.',
      ),
    },
    { 'x-kubernetes-map-type': 'atomic' },
  );
}

function labelSelectorRequirement(syntax: StringSyntax): Schema {
  return typeSchema(
    'LabelSelectorRequirement',
    'A requirement on one label.',
    {
      key: field(labelKey, 'Key of the label.'),
      operator: oneOf(
        ['In', 'NotIn', 'Exists', 'DoesNotExist'],
        'How the label relates to the values. NotIn and DoesNotExist also match objects without the label.',
      ),
      values: listOf(syntax.labelValue, LIMITS.values, 'Values of In and NotIn; the other operators have none.'),
    },
    {
      required: ['key', 'operator'],
      'x-kubernetes-validations': [
        {
          rule: "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
          message: 'In and NotIn need at least one value',
          fieldPath: '.values',
          reason: 'FieldValueRequired',
        },
        {
          rule: "self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
          message: 'Exists and DoesNotExist take no values',
          fieldPath: '.values',
          reason: 'FieldValueForbidden',
        },
      ],
    },
  );
}

function ipBlock(syntax: StringSyntax): Schema {
  return typeSchema(
    'IPBlock',
    'A range of IP addresses, with exceptions. It is meant for addresses outside the cluster.',
    {
      cidr: field(syntax.cidr, 'The range in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32.'),
      except: listOf(syntax.exception, LIMITS.except, 'Ranges inside cidr, and smaller than it, that are left out.'),
    },
    {
      required: ['cidr'],
      'x-kubernetes-validations': [
        {
          // The lists of one parse each CIDR once. What has a "$" holds a variable: the pattern admits nothing else.
          rule: "!has(self.except) || !isCIDR(self.cidr) || [cidr(self.cidr)].all(whole, self.except.all(item, isCIDR(item) ? [cidr(item)].all(part, whole.containsCIDR(part) && part.prefixLength() > whole.prefixLength()) : item.contains('$')))",
          message: 'each exception must be a CIDR inside cidr, and smaller than it',
          fieldPath: '.except',
        },
      ],
    },
  );
}

/** `networking.k8s.io/v1` NetworkPolicyPeer. */
export function networkPolicyPeer(syntax: StringSyntax): Schema {
  const selector = labelSelector(syntax);
  return typeSchema(
    'NetworkPolicyPeer',
    'Who may connect, or be connected to: pods by labels, or a range of addresses.',
    {
      podSelector: field(
        selector,
        'Pods with these labels: in the namespaces that namespaceSelector selects, or without it in the same namespace.',
      ),
      namespaceSelector: field(
        selector,
        'Namespaces with these labels: all their pods, or those that podSelector selects.',
      ),
      ipBlock: field(ipBlock(syntax), 'A range of addresses; then no selector may be set.'),
    },
    {
      'x-kubernetes-validations': [
        {
          rule: 'has(self.podSelector) || has(self.namespaceSelector) || has(self.ipBlock)',
          message: 'a peer needs podSelector, namespaceSelector or ipBlock',
          reason: 'FieldValueRequired',
        },
        {
          rule: '!has(self.ipBlock) || !(has(self.podSelector) || has(self.namespaceSelector))',
          message: 'a peer with ipBlock must not have podSelector or namespaceSelector',
          fieldPath: '.ipBlock',
          reason: 'FieldValueForbidden',
        },
      ],
    },
  );
}

/** `networking.k8s.io/v1` NetworkPolicyPort. */
export function networkPolicyPort(syntax: StringSyntax): Schema {
  return typeSchema(
    'NetworkPolicyPort',
    'A port, or a range of ports, of one protocol.',
    {
      protocol: oneOf(['TCP', 'UDP', 'SCTP'], 'The protocol; TCP when it is absent.'),
      port: {
        description: 'Number (1 to 65535) or name of a port of the pod; without it, all ports of the protocol.',
        'x-kubernetes-int-or-string': true,
        anyOf: [{ type: 'integer' }, { type: 'string' }],
        minimum: 1,
        maximum: 65535,
        ...syntax.portName,
      },
      endPort: {
        description: 'Last port of a range that begins with port, which then must be a number.',
        type: 'integer',
        format: 'int32',
        minimum: 1,
        maximum: 65535,
      },
    },
    {
      'x-kubernetes-validations': [
        {
          rule: '!has(self.endPort) || (has(self.port) && type(self.port) == int)',
          message: 'endPort needs a port that is a number',
          fieldPath: '.endPort',
        },
        {
          rule: '!has(self.endPort) || !has(self.port) || type(self.port) != int || self.endPort >= int(self.port)',
          message: 'endPort must not be less than port',
          fieldPath: '.endPort',
        },
      ],
    },
  );
}

/** A list of peers. */
export function peers(syntax: StringSyntax, description: string, more: Schema = {}): Schema {
  return listOf(networkPolicyPeer(syntax), LIMITS.peers, description, more);
}

/** A list of ports. */
export function ports(syntax: StringSyntax, description: string, more: Schema = {}): Schema {
  return listOf(networkPolicyPort(syntax), LIMITS.ports, description, more);
}

/**
 * `networking.k8s.io/v1` NetworkPolicySpec. Stricter than the API server in one thing: rules of a direction that
 * policyTypes leaves out are refused, as they never take effect.
 */
export function networkPolicySpec(syntax: StringSyntax): Schema {
  return typeSchema(
    'NetworkPolicySpec',
    'What a NetworkPolicy allows to which pods.',
    {
      podSelector: field(
        labelSelector(syntax),
        'The pods that the policy applies to. When it is absent or empty, these are all pods of the namespace.',
      ),
      policyTypes: policyTypes(
        'The directions that the policy isolates. When it is absent: Ingress, and Egress if there are egress rules.',
      ),
      ingress: listOf(
        typeSchema('NetworkPolicyIngressRule', 'Connections to the pods that are allowed.', {
          from: peers(syntax, 'Who may connect. An absent or empty list means everyone.'),
          ports: ports(syntax, 'On which ports. An absent or empty list means all ports.'),
        }),
        LIMITS.rules,
        'Connections to the pods that are allowed; rules add up.',
      ),
      egress: listOf(
        typeSchema('NetworkPolicyEgressRule', 'Connections from the pods that are allowed.', {
          to: peers(syntax, 'Where the pods may connect to. An absent or empty list means everywhere.'),
          ports: ports(syntax, 'On which ports. An absent or empty list means all ports.'),
        }),
        LIMITS.rules,
        'Connections from the pods that are allowed; rules add up.',
      ),
    },
    {
      'x-kubernetes-validations': (['ingress', 'egress'] as const).map((direction, index) => ({
        rule: `!has(self.${direction}) || size(self.${direction}) == 0 || !has(self.policyTypes) || '${POLICY_TYPES[index] ?? ''}' in self.policyTypes`,
        message: `${direction} rules never take effect when policyTypes does not list ${POLICY_TYPES[index] ?? ''}`,
        fieldPath: `.${direction}`,
        reason: 'FieldValueForbidden' as const,
      })),
    },
  );
}
