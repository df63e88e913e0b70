import { Environment, EvaluationError, type ParseResult } from '@marcbachmann/cel-js';
import { isWithin, parseCIDR, type AddressRange } from '../../analysis/address.ts';
import type { Schema } from '../../api/schema/schema.ts';
import { parsePath } from './documents.ts';
import type { FieldProblem } from './schema-check.ts';

// @marcbachmann/cel-js, because it knows all of the CEL that the CustomResourceDefinition uses, takes the functions of
// Kubernetes beside it, depends on nothing and loads in 20 ms; @bufbuild/cel takes 11 MB and 300 ms.

/** A range of addresses as CEL rules know it. */
class CIDR {
  readonly range: AddressRange;
  readonly prefixLength: bigint;

  constructor(text: string) {
    this.range = parseCIDR(text);
    this.prefixLength = BigInt(text.slice(text.indexOf('/') + 1));
  }
}

/**
 * CEL with the functions that rules use of Kubernetes' own.
 *
 * Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-ip-address-library
 */
const CEL = new Environment()
  .registerVariable('self', 'dyn')
  .registerType('net.CIDR', { ctor: CIDR, fields: {} })
  .registerFunction('isCIDR(string): bool', isCIDR)
  .registerFunction('cidr(string): net.CIDR', (text: string) => new CIDR(text))
  .registerFunction('net.CIDR.containsCIDR(net.CIDR): bool', (whole: CIDR, part: CIDR) =>
    isWithin(part.range, whole.range),
  )
  .registerFunction('net.CIDR.prefixLength(): int', ({ prefixLength }: CIDR) => prefixLength);

function isCIDR(text: string): boolean {
  try {
    parseCIDR(text);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const parsed = new Map<string, ParseResult>();

/**
 * What is wrong with a value by the rules of its schema (`x-kubernetes-validations`), which the API server evaluates
 * too; its fields have the right types. A rule that cannot be evaluated does not hold, as for the API server.
 */
export function checkValidations(schema: Schema, value: unknown): FieldProblem[] {
  const rules = schema['x-kubernetes-validations'] ?? [];
  if (rules.length === 0) return [];
  const self = valueForRules(schema, value);
  const found = typeof value === 'string' ? `, found ${JSON.stringify(value)}` : '';
  return rules
    .filter(({ rule }) => !holds(rule, self))
    .map(({ message, fieldPath = '' }) => ({ path: parsePath(fieldPath), message: `${message}${found}` }));
}

function holds(rule: string, self: unknown): boolean {
  let evaluate = parsed.get(rule);
  if (evaluate === undefined) parsed.set(rule, (evaluate = CEL.parse(rule)));
  try {
    return evaluate({ self }) === true;
  } catch (error) {
    if (error instanceof EvaluationError) return false;
    throw error;
  }
}

/** A value as rules see it: without nulls, with the defaults of the schema, and with whole numbers as CEL has them. */
function valueForRules(schema: Schema, value: unknown): unknown {
  if (Number.isInteger(value)) return BigInt(value as number);
  if (Array.isArray(value)) return value.map((item) => valueForRules(schema.items ?? {}, item));
  if (typeof value !== 'object' || value === null) return value;
  const { properties = {}, additionalProperties = {} } = schema;
  const given = value as Readonly<Record<string, unknown>>;
  const keys = new Set([...Object.keys(properties), ...Object.keys(given)]);
  return new Map(
    [...keys].flatMap((key): [string, unknown][] => {
      const of = Object.hasOwn(properties, key) ? (properties[key] ?? {}) : additionalProperties;
      const item = given[key] ?? of.default;
      return item === undefined || item === null ? [] : [[key, valueForRules(of, item)]];
    }),
  );
}
