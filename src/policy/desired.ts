import type { BaselinePolicy, BaselinePolicySpec } from '../api/baselinepolicy.ts';
import { childName } from '../api/names.ts';
import type { NetworkPolicySpec } from '../api/networkpolicy.ts';
import { childIdentity, childTemplate, type ChildTemplate } from './child.ts';
import type { DiscoveredAddresses } from './discovery.ts';
import { canonicalSpec, normalizeSpec } from './normalize.ts';
import { allowDNS } from './rules/allow-dns.ts';
import { allowExternalEgress } from './rules/allow-external-egress.ts';
import { allowIngressController } from './rules/allow-ingress-controller.ts';
import { allowKubeAPIServer } from './rules/allow-kube-apiserver.ts';
import { allowMonitoring } from './rules/allow-monitoring.ts';
import { allowSameNamespace } from './rules/allow-same-namespace.ts';
import { defaultDeny } from './rules/default-deny.ts';
import type { SelectableNamespace } from './select.ts';
import { expandVariables, usesVariables } from './variables.ts';

/** Name of the rule that closes a namespace: created last, removed first. */
export const DEFAULT_DENY = 'default-deny';

/** A NetworkPolicy that a BaselinePolicy wants in a namespace. */
export interface DesiredChild {
  /** The rule, or the name of the additional policy. */
  readonly rule: string;
  /** `metadata.name` of the NetworkPolicy. */
  readonly name: string;
  /** Canonical text of the whole spec; see normalize.ts. */
  readonly spec: string;
  /** Canonical text of the metadata that is ours; see child.ts. */
  readonly identity: string;
  /** What writes the object for a namespace. */
  readonly template: ChildTemplate;
}

/** A child that can be said neither wanted nor unwanted now: what is live stays as it is. */
export interface WithheldChild {
  readonly rule: string;
  readonly name: string;
  /** Reason in CamelCase, as in conditions. */
  readonly reason: 'AddressesUnknown' | 'InvalidSpec';
  readonly message: string;
}

/** An additional policy that a namespace does not get, because a label that it needs is not there. */
export interface UnresolvedChild {
  readonly rule: string;
  readonly name: string;
  readonly message: string;
}

/** All that a BaselinePolicy wants in one namespace. Shared between namespaces where nothing depends on them. */
export interface DesiredSet {
  /** By name, default-deny last. */
  readonly children: ReadonlyMap<string, DesiredChild>;
  readonly withheld: readonly WithheldChild[];
  readonly unresolved: readonly UnresolvedChild[];
}

/** A BaselinePolicy made ready for many namespaces: all that does not depend on the namespace is computed once. */
export interface CompiledPolicy {
  /** Names of the rules and additional policies that are enabled. */
  readonly rules: readonly string[];
  /** Names of children whose spec depends on more than the policy: on addresses, or on the namespace. */
  readonly dependent: ReadonlySet<string>;
  /** What the policy wants in a namespace. */
  readonly desiredIn: (namespace: SelectableNamespace) => DesiredSet;
}

/** What the enabled rules of a spec take from the cluster. */
export interface DiscoveryNeeds {
  readonly kubeDNS: boolean;
  readonly apiServer: boolean;
}

/** What a spec needs to have discovered before its children can be made. */
export function discoveryNeeds(spec: BaselinePolicySpec): DiscoveryNeeds {
  const dns = spec.rules?.allowDNS;
  return {
    kubeDNS: dns?.enabled !== false && (dns?.targets ?? ['NodeLocalDNS']).includes('NodeLocalDNS'),
    apiServer: spec.rules?.allowKubeAPIServer?.enabled === true,
  };
}

interface Builtin {
  readonly rule: string;
  readonly spec: NetworkPolicySpec | undefined;
  readonly missing?: Pick<WithheldChild, 'reason' | 'message'>;
}

/** The enabled built-in rules with their specs, default-deny last. */
function builtinRules(spec: BaselinePolicySpec, discovered: DiscoveredAddresses): Builtin[] {
  const rules = spec.rules ?? {};
  const found: Builtin[] = [];
  if (rules.allowDNS?.enabled !== false)
    found.push({ rule: 'allow-dns', spec: allowDNS(rules.allowDNS ?? {}, discovered) });
  if (rules.allowMonitoring?.enabled !== false) {
    found.push({ rule: 'allow-monitoring', spec: allowMonitoring(rules.allowMonitoring ?? {}) });
  }
  if (rules.allowSameNamespace?.enabled === true)
    found.push({ rule: 'allow-same-namespace', spec: allowSameNamespace() });
  if (rules.allowKubeAPIServer?.enabled === true) {
    found.push({
      rule: 'allow-kube-apiserver',
      spec: allowKubeAPIServer(discovered),
      missing: {
        reason: 'AddressesUnknown',
        message:
          'spec.rules.allowKubeAPIServer: no EndpointSlice of the Service default/kubernetes lists an address; ' +
          'the rule is left as it is until one does',
      },
    });
  }
  if (rules.allowIngressController?.enabled === true) {
    found.push({
      rule: 'allow-ingress-controller',
      spec: allowIngressController(rules.allowIngressController),
      missing: {
        reason: 'InvalidSpec',
        message: 'spec.rules.allowIngressController.from: expected at least one peer, found none',
      },
    });
  }
  if (rules.allowExternalEgress?.enabled === true) {
    found.push({ rule: 'allow-external-egress', spec: allowExternalEgress(rules.allowExternalEgress) });
  }
  if (rules.defaultDeny?.enabled !== false)
    found.push({ rule: DEFAULT_DENY, spec: defaultDeny(rules.defaultDeny ?? {}) });
  return found;
}

/**
 * Compiles a BaselinePolicy. Pure: the same policy and addresses make the same children. The policy must have a UID.
 */
export function compilePolicy(policy: BaselinePolicy, discovered: DiscoveredAddresses): CompiledPolicy {
  const makeChild = (rule: string, spec: NetworkPolicySpec): DesiredChild => ({
    rule,
    name: childName(policy.metadata.name, rule),
    spec: canonicalSpec(spec),
    identity: childIdentity(policy, rule),
    template: childTemplate(policy, rule, normalizeSpec(spec)),
  });
  const builtins = builtinRules(policy.spec, discovered);
  const additional = policy.spec.additionalPolicies ?? [];

  const fixed: DesiredChild[] = [];
  const withheld: WithheldChild[] = [];
  for (const { rule, spec, missing } of builtins) {
    if (spec !== undefined) fixed.push(makeChild(rule, spec));
    else if (missing !== undefined) withheld.push({ rule, name: childName(policy.metadata.name, rule), ...missing });
  }
  for (const { name, spec } of additional) if (!usesVariables(spec)) fixed.push(makeChild(name, spec));
  const templates = additional
    .map((entry, index) => ({ ...entry, path: `spec.additionalPolicies[${index}]` }))
    .filter(({ spec }) => usesVariables(spec));

  const needs = discoveryNeeds(policy.spec);
  const dependent = new Set(
    [
      ...(needs.kubeDNS ? ['allow-dns'] : []),
      ...(needs.apiServer ? ['allow-kube-apiserver'] : []),
      ...templates.map(({ name }) => name),
    ].map((rule) => childName(policy.metadata.name, rule)),
  );
  const rules = [...builtins.map(({ rule }) => rule), ...additional.map(({ name }) => name)];
  if (templates.length === 0) {
    const shared: DesiredSet = { children: byName(fixed), withheld, unresolved: [] };
    return { rules, dependent, desiredIn: () => shared };
  }
  return {
    rules,
    dependent,
    desiredIn: (namespace) => {
      const children = [...fixed];
      const held = [...withheld];
      const unresolved: UnresolvedChild[] = [];
      for (const { name: rule, spec, path } of templates) {
        const name = childName(policy.metadata.name, rule);
        const expansion = expandVariables(spec, namespace);
        if ('spec' in expansion) {
          children.push(makeChild(rule, expansion.spec));
        } else if (expansion.failure.kind === 'missing-label') {
          unresolved.push({ rule, name, message: `${path}: the namespace has no label ${expansion.failure.key}` });
        } else {
          const { path: inner, variable } = expansion.failure;
          const expected = "expected $(namespace.name) or $(namespace.labels['key'])";
          held.push({ rule, name, reason: 'InvalidSpec', message: `${path}.${inner}: ${expected}, found ${variable}` });
        }
      }
      return { children: byName(children), withheld: held, unresolved };
    },
  };
}

function byName(children: readonly DesiredChild[]): ReadonlyMap<string, DesiredChild> {
  const denyLast = [...children].sort((a, b) => Number(a.rule === DEFAULT_DENY) - Number(b.rule === DEFAULT_DENY));
  return new Map(denyLast.map((child) => [child.name, child]));
}
