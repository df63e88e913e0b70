import type { Schema } from './schema.ts';

/** A name part of a label key, or a label value: metav1's "qualified name", at most 63 characters. */
const LABEL_NAME = String.raw`[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?`;
/** A DNS subdomain (RFC 1123), without its limit of 253 characters. */
const DNS_SUBDOMAIN = String.raw`[a-z0-9]+((\.|-+)[a-z0-9]+)*`;
const LABEL_KEY = `^(${DNS_SUBDOMAIN}/)?${LABEL_NAME}$`;
const LABEL_VALUE = `(${LABEL_NAME})?`;
const DNS_LABEL = '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$';
/** An IANA service name (RFC 6335): at least one letter, no two hyphens in a row; its 15 characters are a limit apart. */
const PORT_NAME = '([0-9]-?)*[a-z](-?[a-z0-9])*';
const VARIABLE = String.raw`\$\(namespace\.(name|labels\['[-\w./]+'\])\)`;

/** Longest label key: 253 of the prefix, a slash, 63 of the name. */
const LABEL_KEY_LENGTH = 317;
/** Room for one variable with the longest label key and some text around it. */
const VARIABLE_LENGTH = 400;
/** Longest CIDR is 43 characters; the rest is room for variables. The cost that the API server estimates grows with it. */
const CIDR_LENGTH = 64;

/**
 * How strings are checked that may hold variables in one place and may not in another. Patterns check what occurs
 * too often for the CEL budget of the API server, which counts every list as full.
 */
export interface StringSyntax {
  readonly labelValue: Schema;
  readonly cidr: Schema;
  /** A CIDR that the rule on its IPBlock checks; a rule of its own would cost too much in so deep a list. */
  readonly exception: Schema;
  readonly portName: { readonly pattern: string; readonly maxLength: number };
}

/** Strings that mean themselves. */
export const literal: StringSyntax = {
  labelValue: { type: 'string', maxLength: VARIABLE_LENGTH, pattern: `^${LABEL_VALUE}$` },
  cidr: {
    type: 'string',
    maxLength: CIDR_LENGTH,
    'x-kubernetes-validations': [
      { rule: 'isCIDR(self)', message: 'must be a CIDR, such as 10.0.0.0/8 or 2001:db8::/32' },
    ],
  },
  exception: { type: 'string', maxLength: CIDR_LENGTH, pattern: '^[0-9A-Fa-f:./]+$' },
  portName: { pattern: `^${PORT_NAME}$`, maxLength: 15 },
};

/** Strings that may hold `$(namespace.name)` and `$(namespace.labels['key'])`; any other `$` is refused. */
export const templated: StringSyntax = {
  labelValue: {
    type: 'string',
    maxLength: VARIABLE_LENGTH,
    pattern: String.raw`^(${LABEL_VALUE}|[-\w.]*(${VARIABLE}[-\w.]*)+)$`,
  },
  cidr: {
    type: 'string',
    maxLength: CIDR_LENGTH,
    pattern: `^([^$]|${VARIABLE})*$`,
    'x-kubernetes-validations': [
      {
        rule: "self.contains('$(') || isCIDR(self)",
        message: 'must be a CIDR, such as 10.0.0.0/8 or 2001:db8::/32, or hold a variable',
      },
    ],
  },
  exception: { type: 'string', maxLength: CIDR_LENGTH, pattern: `^([0-9A-Fa-f:./]|${VARIABLE})+$` },
  portName: { pattern: `^(${PORT_NAME}|[-a-z0-9]*(${VARIABLE}[-a-z0-9]*)+)$`, maxLength: VARIABLE_LENGTH },
};

/** A label key: an optional DNS subdomain and a slash, and a name. */
export const labelKey: Schema = { type: 'string', maxLength: LABEL_KEY_LENGTH, pattern: LABEL_KEY };

/** A map of labels. A schema cannot constrain the keys of a map, so CEL checks them; it estimates them as cheap. */
export function labels(value: Schema, maxProperties: number, description: string): Schema {
  return {
    description,
    type: 'object',
    maxProperties,
    'x-kubernetes-validations': [
      {
        rule: `self.all(key, key.matches(r'${LABEL_KEY}') && key.indexOf('/') <= 253)`,
        message:
          'each key must be a label key: an optional DNS subdomain of at most 253 characters and a slash, then at most 63 letters, digits, "-", "_" or ".", with a letter or digit at both ends',
      },
    ],
    additionalProperties: value,
  };
}

/** A DNS label (RFC 1123): the name of a Namespace, or one part of a child's name. */
export const dnsLabel: Schema = {
  type: 'string',
  maxLength: 63,
  'x-kubernetes-validations': [
    {
      rule: isDNSLabel('self'),
      message: 'must be a DNS label: lower-case letters, digits or "-", with a letter or digit at both ends',
    },
  ],
};

/** CEL that is true for a DNS label of at most 63 characters; `value` is a CEL expression. */
export function isDNSLabel(value: string): string {
  return `${value}.matches('${DNS_LABEL}')`;
}
