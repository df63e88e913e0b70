/** A CEL rule over a value, as `x-kubernetes-validations` of a CustomResourceDefinition holds it. */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
  /** The field below the value that the message is about, such as `.endPort`; without it, the value itself. */
  readonly fieldPath?: string;
  /** Default: FieldValueInvalid. FieldValueDuplicate is left out: with it the API server does not show the message. */
  readonly reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired';
}

/**
 * An OpenAPI v3 schema: the part of `apiextensions.k8s.io/v1` JSONSchemaProps that the custom resource uses, and two
 * members, `title` and `about`, that only the generated types and the reference use. They are not part of the CRD.
 */
export interface Schema {
  /** Name of the TypeScript interface; schemas with one title are one type. */
  readonly title?: string;
  /** What the type is, where `description` says what the field is for. */
  readonly about?: string;
  readonly description?: string;
  readonly type?: 'object' | 'array' | 'string' | 'boolean' | 'integer';
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly format?: 'int32' | 'int64' | 'date-time';
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly 'x-kubernetes-int-or-string'?: true;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: 'atomic';
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/** The schema of an object that becomes the TypeScript interface `title`. */
export function typeSchema(
  title: string,
  about: string,
  properties: Readonly<Record<string, Schema>>,
  more: Schema = {},
): Schema {
  return { title, about, description: about, type: 'object', ...more, properties };
}

/** The same schema, for a field with this description, and with `more` on top. */
export function field(schema: Schema, description: string, more: Schema = {}): Schema {
  return { ...schema, description, ...more };
}

/**
 * A list that is replaced as a whole. Lists with a default must be: server-side apply would merge the list that a
 * person applies into the default, which nobody owns.
 */
export function listOf(items: Schema, maxItems: number, description: string, more: Schema = {}): Schema {
  return { description, type: 'array', maxItems, 'x-kubernetes-list-type': 'atomic', ...more, items };
}

/** A string that is one of these values. */
export function oneOf(values: readonly string[], description: string, more: Schema = {}): Schema {
  return { description, type: 'string', enum: values, ...more };
}
