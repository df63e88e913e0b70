import { labelKey } from '../../api/schema/strings.ts';
import type { Schema } from '../../api/schema/schema.ts';
import type { FieldPath } from './documents.ts';

/** Something that is wrong with a field. */
export interface FieldProblem {
  readonly path: FieldPath;
  readonly message: string;
}

/** What a value is checked by, beside its schema. */
export interface CheckOptions {
  /** Whether lists must have the sizes that the schema gives. */
  readonly sizes: boolean;
  /** What else is wrong with a value, of which all that its schema says has been found right. */
  readonly rules: (schema: Schema, value: unknown) => FieldProblem[];
}

/**
 * What is wrong with a value; nothing when it is right. A schema with a title is all of a type, and other fields are
 * wrong, as with kubectl's strict validation; a schema without one is a part of a type, and other fields are let be.
 * As for the API server, null is an absent field; in a list it is wrong, as it would be an empty rule or peer, which
 * allows everyone.
 */
export function checkSchema(schema: Schema, value: unknown, options: CheckOptions): FieldProblem[] {
  return check(schema, value, [], options);
}

function check(schema: Schema, value: unknown, path: FieldPath, options: CheckOptions): FieldProblem[] {
  const expected = expectedType(schema);
  if (expected !== undefined && !isOfType(schema, value)) {
    return [{ path, message: `expected ${expected}, found ${describe(value)}` }];
  }
  const problems = Array.isArray(value)
    ? checkList(schema, value, path, options)
    : typeof value === 'object' && value !== null
      ? checkObject(schema, value as Readonly<Record<string, unknown>>, path, options)
      : checkScalar(schema, value).map((message) => ({ path, message }));
  if (problems.length > 0) return problems;
  return options.rules(schema, value).map((problem) => ({ ...problem, path: [...path, ...problem.path] }));
}

function checkObject(
  schema: Schema,
  value: Readonly<Record<string, unknown>>,
  path: FieldPath,
  options: CheckOptions,
): FieldProblem[] {
  const { properties, additionalProperties, required = [], title } = schema;
  const problems = required
    .filter((key) => (value[key] ?? undefined) === undefined)
    .map((key): FieldProblem => ({ path: [...path, key], message: 'expected a value, found none' }));
  for (const [key, item] of Object.entries(value)) {
    const at = [...path, key];
    const property = properties !== undefined && Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (property !== undefined) {
      if (item !== null) problems.push(...check(property, item, at, options));
    } else if (additionalProperties !== undefined) {
      if (!new RegExp(labelKey.pattern ?? '').test(key)) problems.push({ path: at, message: 'expected a label key' });
      problems.push(...check(additionalProperties, item, at, options));
    } else if (title !== undefined && properties !== undefined) {
      problems.push({ path: at, message: `unknown field; expected one of ${Object.keys(properties).join(', ')}` });
    }
  }
  return problems;
}

function checkList(schema: Schema, value: readonly unknown[], path: FieldPath, options: CheckOptions): FieldProblem[] {
  const { items, minItems = 0, maxItems = Infinity } = schema;
  const problems: FieldProblem[] = [];
  if (options.sizes && (value.length < minItems || value.length > maxItems)) {
    const expected = maxItems === Infinity ? `at least ${minItems}` : `${minItems} to ${maxItems}`;
    problems.push({ path, message: `expected ${expected} items, found ${value.length}` });
  }
  if (schema['x-kubernetes-list-type'] === 'set') {
    const twin = value.findIndex((one, index) => value.indexOf(one) < index);
    if (twin >= 0) problems.push({ path: [...path, twin], message: 'expected another value than the items before' });
  }
  for (const key of schema['x-kubernetes-list-map-keys'] ?? []) {
    const keys = value.map((item) => (item as Readonly<Record<string, unknown>> | null)?.[key]);
    const twin = keys.findIndex((one, index) => one !== undefined && keys.indexOf(one) < index);
    if (twin >= 0)
      problems.push({ path: [...path, twin, key], message: `expected another ${key} than the items before` });
  }
  if (items !== undefined) {
    value.forEach((item, index) => problems.push(...check(items, item, [...path, index], options)));
  }
  return problems;
}

function checkScalar(schema: Schema, value: unknown): string[] {
  const found = describe(value);
  if (schema.enum !== undefined && !schema.enum.includes(String(value))) {
    return [`expected ${schema.enum.join(' or ')}, found ${found}`];
  }
  if (typeof value === 'number') {
    const { minimum = -Infinity, maximum = Infinity } = schema;
    return value < minimum || value > maximum
      ? [`expected a number from ${minimum} to ${maximum}, found ${found}`]
      : [];
  }
  if (typeof value === 'string') {
    if (value.length > (schema.maxLength ?? Infinity)) {
      return [`expected at most ${schema.maxLength ?? 0} characters, found ${value.length}`];
    }
    if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value)) {
      return [`expected what matches ${schema.pattern}, found ${found}`];
    }
  }
  return [];
}

function isOfType(schema: Schema, value: unknown): boolean {
  if (schema['x-kubernetes-int-or-string'] === true) return typeof value === 'string' || Number.isInteger(value);
  switch (schema.type) {
    case 'array':
      return Array.isArray(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    case 'integer':
      return Number.isInteger(value);
    case 'string':
    case 'boolean':
      return typeof value === schema.type;
    default:
      return true;
  }
}

function expectedType(schema: Schema): string | undefined {
  if (schema['x-kubernetes-int-or-string'] === true) return 'a whole number or a string';
  switch (schema.type) {
    case 'array':
      return 'a list';
    case 'object':
      return 'a map';
    case 'integer':
      return 'a whole number';
    case 'string':
      return 'a string';
    case 'boolean':
      return 'true or false';
    default:
      return undefined;
  }
}

/** A value in a message. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return JSON.stringify(value);
}
