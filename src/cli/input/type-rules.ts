import { isWithin, parseCIDR } from '../../analysis/address.ts';
import type {
  IPBlock,
  LabelSelectorRequirement,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../api/networkpolicy.ts';
import type { AdditionalPolicy, AllowDNSRule, AllowMonitoringRule, BaselinePolicy } from '../../api/baselinepolicy.ts';
import { RULE_NAMES } from '../../api/schema/spec.ts';
import type { FieldProblem, TypeRule } from './schema-check.ts';

/** A rule on a value whose type its schema has checked before. */
function rule(check: (value: never) => FieldProblem[]): TypeRule {
  return check as TypeRule;
}

function problem(path: FieldProblem['path'], message: string): FieldProblem[] {
  return [{ path, message }];
}

/**
 * What the API server checks of a NetworkPolicy beyond types.
 *
 * Source: pkg/apis/networking/validation of Kubernetes.
 */
export const API_RULES: Readonly<Record<string, TypeRule>> = {
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
    if (cidr.includes('$(')) return [];
    try {
      const whole = parseCIDR(cidr);
      return (except ?? []).flatMap((text, index) => {
        if (text.includes('$(')) return [];
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

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

const fromWhenEnabled = (isOnByDefault: boolean): TypeRule =>
  rule(({ enabled = isOnByDefault, from }: AllowMonitoringRule) =>
    enabled && (isOnByDefault ? from?.length === 0 : (from ?? []).length === 0)
      ? problem(['from'], 'expected at least one peer when the rule is enabled, found none')
      : [],
  );

/**
 * What the CRD checks of a BaselinePolicy by CEL. Messages say the same in other words.
 *
 * Source: the `x-kubernetes-validations` of the CustomResourceDefinition.
 */
export const BASELINE_RULES: Readonly<Record<string, TypeRule>> = {
  ...API_RULES,
  NetworkPolicySpec: rule(({ policyTypes, ingress, egress }: NetworkPolicySpec) => {
    if ((policyTypes ?? undefined) === undefined) return [];
    const without = (
      [
        ['ingress', 'Ingress', ingress],
        ['egress', 'Egress', egress],
      ] as const
    ).filter(([, type, rules]) => (rules ?? []).length > 0 && policyTypes?.includes(type) !== true);
    return without.flatMap(([field, type]) =>
      problem([field], `expected ${type} among policyTypes, as its rules never take effect without it`),
    );
  }),
  AllowDNSRule: rule(({ enabled, targets, custom }: AllowDNSRule) =>
    enabled !== false && targets?.length === 0 && (custom ?? []).length === 0
      ? problem(['targets'], 'expected at least one target, or a custom one, when the rule is enabled')
      : [],
  ),
  AllowMonitoringRule: fromWhenEnabled(true),
  AllowIngressControllerRule: fromWhenEnabled(false),
  AdditionalPolicy: rule(({ name }: AdditionalPolicy) => {
    if (!DNS_LABEL.test(name)) return problem(['name'], `expected a DNS label, found ${JSON.stringify(name)}`);
    return RULE_NAMES.some((other) => other === name)
      ? problem(['name'], `expected another name than the rule ${name} has`)
      : [];
  }),
  BaselinePolicy: rule(({ metadata }: BaselinePolicy) =>
    DNS_LABEL.test(metadata.name)
      ? []
      : problem(['metadata', 'name'], `expected a DNS label without a dot, found ${JSON.stringify(metadata.name)}`),
  ),
};
