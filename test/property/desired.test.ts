import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';
import { childName } from '../../src/api/names.ts';
import { identityOf, serializeChild } from '../../src/policy/child.ts';
import { compilePolicy, DEFAULT_DENY, type DesiredSet } from '../../src/policy/desired.ts';
import { ruleOfName } from '../../src/policy/diff.ts';
import { canonicalSpec } from '../../src/policy/normalize.ts';
import { baselinePolicySpec, discoveredAddresses, dnsLabel, namespaces } from '../support/arbitraries.ts';
import { asStored, policy } from '../support/fixtures.ts';

const wanted = fc.record({
  name: dnsLabel,
  spec: baselinePolicySpec,
  addresses: discoveredAddresses,
  namespace: namespaces,
});

function desired({
  name,
  spec,
  addresses,
  namespace,
}: typeof wanted extends fc.Arbitrary<infer T> ? T : never): DesiredSet {
  return policy(name).with(spec).desiredIn(namespace, addresses);
}

describe('compilePolicy, for any policy and namespace', () => {
  it('makes the same of the same', () => {
    fc.assert(
      fc.property(wanted, (given) => {
        assert.deepEqual(desired(given), desired(structuredClone(given)));
      }),
    );
  });

  it('does not depend on the order in which addresses are discovered', () => {
    const reversed = <T>(list: readonly T[]): T[] => [...list].reverse();
    fc.assert(
      fc.property(discoveredAddresses, namespaces, ({ apiServerEndpoints, apiServerClusterIPs }, namespace) => {
        const rules = { allowDNS: { enabled: false }, allowKubeAPIServer: { enabled: true } };
        const compiled = policy('p').with({ rules });
        const one = { kubeDNSClusterIPs: [], apiServerEndpoints, apiServerClusterIPs };
        const other = {
          kubeDNSClusterIPs: [],
          apiServerEndpoints: reversed(apiServerEndpoints).map((slice) => ({
            addresses: reversed(slice.addresses),
            ports: reversed(slice.ports),
          })),
          apiServerClusterIPs: reversed(apiServerClusterIPs),
        };
        assert.deepEqual(compiled.desiredIn(namespace, other), compiled.desiredIn(namespace, one));
      }),
      { numRuns: 1000 },
    );
  });

  it('accounts for every enabled rule once: wanted, withheld or without its label', () => {
    fc.assert(
      fc.property(wanted, (given) => {
        const { rules } = compilePolicy(policy(given.name).with(given.spec).build(), given.addresses);
        const { children, withheld, unresolved } = desired(given);
        const found = [...children.values(), ...withheld, ...unresolved].map(({ rule }) => rule);
        assert.deepEqual(found.sort(), [...rules].sort());
      }),
    );
  });

  it('puts default-deny last', () => {
    fc.assert(
      fc.property(wanted, (given) => {
        const rules = [...desired(given).children.values()].map(({ rule }) => rule);
        assert.ok(!rules.includes(DEFAULT_DENY) || rules.at(-1) === DEFAULT_DENY);
      }),
    );
  });

  it('writes whole JSON that is fully defaulted and compares equal to what is wanted', () => {
    fc.assert(
      fc.property(wanted, (given) => {
        for (const [name, child] of desired(given).children) {
          const object = JSON.parse(serializeChild(child.template, given.namespace.name)) as NetworkPolicy;
          assert.equal(object.metadata.name, name);
          assert.equal(object.metadata.namespace, given.namespace.name);
          assert.deepEqual(object.spec, child.template.spec);
          assert.deepEqual(asStored(object.spec), object.spec);
          assert.equal(canonicalSpec(object.spec), child.spec);
          assert.equal(identityOf(object.metadata), child.identity);
        }
      }),
    );
  });

  it('never opens everything to everyone unless an additional policy says so', () => {
    fc.assert(
      fc.property(wanted, (given) => {
        const { additionalPolicies: _theirs, ...spec } = given.spec;
        for (const { template } of desired({ ...given, spec }).children.values()) {
          const { ingress = [], egress = [] } = template.spec;
          for (const { from = [] } of ingress) assert.notEqual(from.length, 0);
          for (const { to = [] } of egress) assert.notEqual(to.length, 0);
        }
      }),
    );
  });
});

describe('names of children', () => {
  it('never collide between two policies on a namespace', () => {
    fc.assert(
      fc.property(wanted, wanted, (one, other) => {
        fc.pre(one.name !== other.name);
        const names = new Set(desired(one).children.keys());
        for (const name of desired({ ...other, namespace: one.namespace }).children.keys()) assert.ok(!names.has(name));
      }),
    );
  });

  it('lead back to the policy and the rule', () => {
    fc.assert(
      fc.property(dnsLabel, dnsLabel, (name, rule) => {
        const child = childName(name, rule);
        assert.equal(ruleOfName(child), rule);
        assert.equal(child.slice(0, child.length - rule.length - 1), name);
      }),
    );
  });
});
