import { field, listOf, oneOf, typeSchema, type Schema } from './schema.ts';

function count(description: string): Schema {
  return { description, type: 'integer', format: 'int64', minimum: 0 };
}

/** An object of counts, all of them required. */
function counts(title: string, about: string, properties: Readonly<Record<string, Schema>>): Schema {
  return typeSchema(title, about, properties, { required: Object.keys(properties) });
}

/** The limits and patterns are those of `metav1.Condition`. */
const condition = typeSchema(
  'Condition',
  'One aspect of the state of the BaselinePolicy.',
  {
    type: {
      description: 'The aspect, such as Ready.',
      type: 'string',
      maxLength: 316,
      pattern: String.raw`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`,
    },
    status: oneOf(['True', 'False', 'Unknown'], 'Whether it is so.'),
    observedGeneration: count('The generation of the BaselinePolicy that the condition is about.'),
    lastTransitionTime: { description: 'When status last changed.', type: 'string', format: 'date-time' },
    reason: {
      description: 'Why, in one word for programs.',
      type: 'string',
      minLength: 1,
      maxLength: 1024,
      pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$',
    },
    message: { description: 'Why, in words for people.', type: 'string', maxLength: 32768 },
  },
  { required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'] },
);

const namespaceFailure = typeSchema(
  'NamespaceFailure',
  'A child that could not be brought to its desired state.',
  {
    namespace: { description: 'Name of the namespace.', type: 'string', maxLength: 253 },
    rule: { description: 'The rule or additional policy that makes the child.', type: 'string', maxLength: 253 },
    reason: { description: 'Why, in one word for programs.', type: 'string', maxLength: 1024 },
    message: { description: 'Why, in words for people.', type: 'string', maxLength: 32768 },
  },
  { required: ['namespace', 'rule', 'reason', 'message'] },
);

/** The schema of `status`, which only the operator writes. Its size does not grow with the cluster. */
export const statusSchema: Schema = typeSchema(
  'BaselinePolicyStatus',
  'What the operator last saw. Its size does not grow with the cluster.',
  {
    observedGeneration: count('The generation of the BaselinePolicy that the status is about.'),
    conditions: listOf(condition, 16, 'Ready always; Reconciling and Stalled only while they are true.', {
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
    }),
    namespaces: counts('NamespaceCounts', 'How many namespaces are in which state.', {
      selected: count('Namespaces that the policy selects.'),
      compliant: count('Selected namespaces that have every child as desired.'),
      drifted: count('Selected namespaces with a child that somebody changed or removed, and that is not healed now.'),
      failed: count('Selected namespaces with a child that could not be written.'),
      pending: count('Selected namespaces that still wait for a child.'),
    }),
    networkPolicies: counts('NetworkPolicyCounts', 'How many children there are.', {
      desired: count('Children that the policy wants.'),
      current: count('Children that exist.'),
    }),
    drift: typeSchema(
      'DriftStatus',
      'What others did to children that were right.',
      {
        detectedTotal: count('Drifts seen since the BaselinePolicy was created.'),
        healedTotal: count('Drifts healed since the BaselinePolicy was created.'),
        lastDetectedTime: { description: 'When drift was last seen.', type: 'string', format: 'date-time' },
      },
      { required: ['detectedTotal', 'healedTotal'] },
    ),
    audit: counts('AuditStatus', 'What Enforce would do; only in mode Audit.', {
      create: count('Children that it would create.'),
      update: count('Children that it would change.'),
      delete: count('Children that it would delete.'),
    }),
    failures: listOf(namespaceFailure, 20, 'Children that could not be written, at most 20 of them.'),
    moreFailures: field(count(''), 'How many failures there are beside those listed.'),
  },
);
