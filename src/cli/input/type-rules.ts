import { isWithin, parseCIDR } from '../../analysis/address.ts';
import type {
  IPBlock,
  LabelSelectorRequirement,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from '../../api/networkpolicy.ts';
import type { Schema } from '../../api/schema/schema.ts';
import type { FieldProblem } from './schema-check.ts';

/** A rule that no schema can say, on a value whose fields have the right types. */
type TypeRule = (value: Readonly<Record<string, unknown>>) => FieldProblem[];

/** A rule on a value whose type its schema has checked before. */
function rule(check: (value: never) => FieldProblem[]): TypeRule {
  return check as TypeRule;
}

function problem(path: FieldProblem['path'], message: string): FieldProblem[] {
  return [{ path, message }];
}

/** Rules by the title of the schema that they are for. */
const RULES: Readonly<Record<string, TypeRule>> = {
  LabelSelectorRequirement: rule(({ operator, values = [] }: LabelSelectorRequirement) => {
    const takesValues = operator === 'In' || operator === 'NotIn';
    if (takesValues === values.length > 0) return [];
    const expected = takesValues ? 'at least one value' : 'no values';
    return problem(['values'], `expected ${expected} for the operator ${operator}, found ${values.length}`);
  }),
  NetworkPolicyPeer: rule(({ podSelector, namespaceSelector, ipBlock }: NetworkPolicyPeer) => {
    const selectors = [podSelector, namespaceSelector].filter((selector) => (selector ?? undefined) !== undefined);
    if ((ipBlock ?? undefined) === undefined) {
      return selectors.length > 0 ? [] : problem([], 'expected podSelector, namespaceSelector or ipBlock, found none');
    }
    return selectors.length === 0 ? [] : problem(['ipBlock'], 'expected ipBlock alone, found selectors beside it');
  }),
  NetworkPolicyPort: rule(({ port, endPort }: NetworkPolicyPort) => {
    if ((endPort ?? undefined) === undefined) return [];
    if (typeof port !== 'number') {
      return problem(['endPort'], `expected a port number beside it, found ${port ?? 'none'}`);
    }
    return (endPort ?? port) >= port ? [] : problem(['endPort'], `expected ${port} or more, found ${endPort ?? ''}`);
  }),
  IPBlock: rule(({ cidr, except }: IPBlock) => {
    try {
      const whole = parseCIDR(cidr);
      return (except ?? []).flatMap((text, index) => {
        const within = parseCIDR(text);
        const isSmaller = isWithin(within, whole) && !isWithin(whole, within);
        return isSmaller ? [] : problem(['except', index], `expected a CIDR inside ${cidr} and smaller, found ${text}`);
      });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return problem([error.message.includes(JSON.stringify(cidr)) ? 'cidr' : 'except'], error.message);
    }
  }),
};

/**
 * What is wrong with a part of a NetworkPolicy by what the API server checks beyond types.
 *
 * Source: pkg/apis/networking/validation of Kubernetes
 */
export function checkTypeRules({ title }: Schema, value: unknown): FieldProblem[] {
  const check = title === undefined || !Object.hasOwn(RULES, title) ? undefined : RULES[title];
  return check?.(value as Readonly<Record<string, unknown>>) ?? [];
}
