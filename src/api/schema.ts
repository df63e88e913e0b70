import { API_VERSION, CRD_NAME, GROUP, KIND, PLURAL } from './baselinepolicy.ts';
import { field, typeSchema, type Schema } from './schema/schema.ts';
import { specSchema } from './schema/spec.ts';
import { statusSchema } from './schema/status.ts';
import { isDNSLabel } from './schema/strings.ts';

/**
 * The OpenAPI v3 schema of a BaselinePolicy: the one source of the CustomResourceDefinition, of the TypeScript types
 * and of the field tables in the reference. Its CEL rules work on Kubernetes 1.31 and later.
 */
export const baselinePolicySchema: Schema = typeSchema(
  KIND,
  'A baseline of NetworkPolicies that the operator keeps in every selected namespace.',
  {
    apiVersion: { description: `The version of the API: ${API_VERSION}.`, type: 'string' },
    kind: { description: `The kind of the object: ${KIND}.`, type: 'string' },
    metadata: {
      type: 'object',
      // The API server's own limit of names: it keeps the estimated cost of the rule on the name low.
      properties: { name: { type: 'string', maxLength: 253 } },
    },
    spec: field(specSchema, 'Which namespaces get which NetworkPolicies. An empty object is a baseline of defaults.'),
    status: field(statusSchema, 'What the operator last saw; only the operator writes it.', {
      // kstatus, by which Flux and Helm wait, takes an object without a status for ready.
      default: { observedGeneration: 0 },
    }),
  },
  {
    required: ['spec'],
    'x-kubernetes-validations': [
      {
        // The name is a label value and the first part of each child's name, up to a dot.
        rule: isDNSLabel('self.metadata.name'),
        message:
          'must be a DNS label: at most 63 lower-case letters, digits or "-", with a letter or digit at both ends, and no dot',
        fieldPath: '.metadata.name',
      },
    ],
  },
);

/** The CustomResourceDefinition of BaselinePolicy, as `kubectl apply` takes it. */
export const customResourceDefinition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: CRD_NAME },
  spec: {
    group: GROUP,
    scope: 'Cluster',
    names: {
      kind: KIND,
      listKind: `${KIND}List`,
      plural: PLURAL,
      singular: 'baselinepolicy',
      shortNames: ['blp'],
    },
    versions: [
      {
        name: API_VERSION.slice(GROUP.length + 1),
        served: true,
        storage: true,
        subresources: { status: {} },
        additionalPrinterColumns: [
          column('Mode', 'string', '.spec.mode', 'Whether the policy writes or only reports.'),
          column('Selected', 'integer', '.status.namespaces.selected', 'Namespaces that the policy selects.'),
          column(
            'Compliant',
            'integer',
            '.status.namespaces.compliant',
            'Namespaces that have every child as desired.',
          ),
          column('Drifted', 'integer', '.status.namespaces.drifted', 'Namespaces with drift that is not healed.'),
          column('Ready', 'string', '.status.conditions[?(@.type=="Ready")].status', 'Whether all is as desired.'),
          column('Age', 'date', '.metadata.creationTimestamp', 'Time since the policy was created.'),
        ],
        schema: { openAPIV3Schema: withoutTypeNames(baselinePolicySchema) },
      },
    ],
  },
};

function column(name: string, type: string, jsonPath: string, description: string) {
  return { name, type, jsonPath, description };
}

/** The schema without what only the generated types and the reference use. */
function withoutTypeNames(schema: Schema): Schema {
  const copy: { -readonly [K in keyof Schema]: Schema[K] } = { ...schema };
  delete copy.title;
  delete copy.about;
  if (schema.items !== undefined) copy.items = withoutTypeNames(schema.items);
  if (schema.additionalProperties !== undefined) {
    copy.additionalProperties = withoutTypeNames(schema.additionalProperties);
  }
  if (schema.properties !== undefined) {
    copy.properties = Object.fromEntries(
      Object.entries(schema.properties).map(([name, property]) => [name, withoutTypeNames(property)]),
    );
  }
  return copy;
}
