import assert from 'node:assert/strict';
import type { AdditionalPolicy, BaselinePolicySpec, BaselineRules } from '../../../src/api/baselinepolicy.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { identityOf, serializeChild } from '../../../src/policy/child.ts';
import { compilePolicy, discoveryNeeds, type DesiredSet } from '../../../src/policy/desired.ts';
import { NO_ADDRESSES, type DiscoveredAddresses } from '../../../src/policy/discovery.ts';
import { canonicalSpec } from '../../../src/policy/normalize.ts';
import { asStored, childOf, namespace, policy } from '../../support/fixtures.ts';

const SHOP = namespace('shop').labelled({ team: 'blue' });
const PEER = { namespaceSelector: { matchLabels: { team: 'sre' } } };
const KNOWN: DiscoveredAddresses = {
  kubeDNSClusterIPs: ['10.96.0.10'],
  apiServerEndpoints: [{ addresses: ['192.0.2.1'], ports: [{ protocol: 'TCP', port: 6443 }] }],
  apiServerClusterIPs: ['10.96.0.1'],
};
const ALL_RULES: BaselineRules = {
  allowSameNamespace: { enabled: true },
  allowKubeAPIServer: { enabled: true },
  allowIngressController: { enabled: true, from: [PEER] },
  allowExternalEgress: { enabled: true },
};
const FROM_TEAM: AdditionalPolicy = {
  name: 'from-team',
  spec: { podSelector: { matchLabels: { team: "$(namespace.labels['team'])" } } },
};
const FIXED: AdditionalPolicy = { name: 'fixed', spec: { egress: [{ ports: [{ port: 5432 }] }] } };

function rulesOf(desired: DesiredSet): string[] {
  return [...desired.children.values()].map(({ rule }) => rule);
}

function desired(spec: BaselinePolicySpec, addresses = NO_ADDRESSES, target = SHOP): DesiredSet {
  return policy('restricted').with(spec).desiredIn(target, addresses);
}

describe('compilePolicy', () => {
  it('makes of an empty spec allow-dns, allow-monitoring and, last, default-deny', () => {
    const found = desired({});
    assert.deepEqual(
      [...found.children.keys()],
      ['restricted.allow-dns', 'restricted.allow-monitoring', 'restricted.default-deny'],
    );
    assert.deepEqual(rulesOf(found), ['allow-dns', 'allow-monitoring', 'default-deny']);
    assert.deepEqual(found.withheld, []);
    assert.deepEqual(found.unresolved, []);
  });

  it('makes every rule that is enabled, default-deny last', () => {
    assert.deepEqual(rulesOf(desired({ rules: ALL_RULES, additionalPolicies: [FIXED, FROM_TEAM] }, KNOWN)), [
      'allow-dns',
      'allow-monitoring',
      'allow-same-namespace',
      'allow-kube-apiserver',
      'allow-ingress-controller',
      'allow-external-egress',
      'fixed',
      'from-team',
      'default-deny',
    ]);
  });

  const ON_BY_DEFAULT = [
    ['defaultDeny', 'default-deny'],
    ['allowDNS', 'allow-dns'],
    ['allowMonitoring', 'allow-monitoring'],
  ] as const;
  for (const [field, rule] of ON_BY_DEFAULT) {
    it(`leaves out ${rule} only when it is disabled`, () => {
      const others = ON_BY_DEFAULT.map(([, name]) => name).filter((name) => name !== rule);
      assert.deepEqual(rulesOf(desired({ rules: { [field]: { enabled: false } } })).sort(), others.sort());
      assert.ok(rulesOf(desired({ rules: { [field]: {} } })).includes(rule));
      assert.ok(rulesOf(desired({ rules: { [field]: { enabled: true } } })).includes(rule));
    });
  }

  const OFF_BY_DEFAULT = [
    ['allowSameNamespace', 'allow-same-namespace'],
    ['allowKubeAPIServer', 'allow-kube-apiserver'],
    ['allowIngressController', 'allow-ingress-controller'],
    ['allowExternalEgress', 'allow-external-egress'],
  ] as const;
  for (const [field, rule] of OFF_BY_DEFAULT) {
    it(`makes ${rule} only when it is enabled`, () => {
      const from = field === 'allowIngressController' ? { from: [PEER] } : {};
      assert.ok(!rulesOf(desired({ rules: { [field]: { ...from } } }, KNOWN)).includes(rule));
      assert.ok(!rulesOf(desired({ rules: { [field]: { enabled: false, ...from } } }, KNOWN)).includes(rule));
      assert.ok(rulesOf(desired({ rules: { [field]: { enabled: true, ...from } } }, KNOWN)).includes(rule));
    });
  }

  it('passes the options of a rule to its child', () => {
    const found = desired(
      { rules: { defaultDeny: { policyTypes: ['Ingress'] }, allowDNS: { targets: ['NodeLocalDNS'] } } },
      KNOWN,
    );
    assert.equal(childOf(found, 'default-deny').spec, '{"podSelector":{},"policyTypes":["Ingress"]}');
    assert.match(childOf(found, 'allow-dns').spec, /"cidr":"10\.96\.0\.10\/32"/);
    assert.doesNotMatch(childOf(found, 'allow-dns').spec, /kube-dns/);
  });

  it('names the enabled rules and additional policies, whatever the namespace', () => {
    const spec = { rules: { allowMonitoring: { enabled: false } }, additionalPolicies: [FROM_TEAM] };
    const { rules } = compilePolicy(policy('restricted').with(spec).build(), NO_ADDRESSES);
    assert.deepEqual([...rules].sort(), ['allow-dns', 'default-deny', 'from-team']);
  });

  it('has nothing for a policy that disables everything', () => {
    const off = { enabled: false };
    const found = desired({ rules: { defaultDeny: off, allowDNS: off, allowMonitoring: off } });
    assert.equal(found.children.size, 0);
  });

  it('shares one set between namespaces when nothing depends on them', () => {
    const { desiredIn } = compilePolicy(
      policy('restricted')
        .with({ additionalPolicies: [FIXED] })
        .build(),
      NO_ADDRESSES,
    );
    assert.equal(desiredIn(SHOP.build()), desiredIn(namespace('other').build()));
  });

  it('makes the same of the same', () => {
    const spec = { description: 'x', rules: ALL_RULES, additionalPolicies: [FIXED, FROM_TEAM] };
    assert.deepEqual(desired(spec, KNOWN), desired(structuredClone(spec), structuredClone(KNOWN)));
  });

  describe('additional policies', () => {
    it('are whole specs, normalised', () => {
      const child = childOf(desired({ additionalPolicies: [FIXED] }), 'fixed');
      assert.equal(child.name, 'restricted.fixed');
      assert.deepEqual(JSON.parse(child.spec), {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        egress: [{ ports: [{ protocol: 'TCP', port: 5432 }] }],
      });
    });

    it('are made for the namespace by its variables', () => {
      const blue = childOf(desired({ additionalPolicies: [FROM_TEAM] }), 'from-team');
      const red = childOf(
        desired({ additionalPolicies: [FROM_TEAM] }, NO_ADDRESSES, namespace('other').labelled({ team: 'red' })),
        'from-team',
      );
      assert.equal(blue.spec, '{"podSelector":{"matchLabels":{"team":"blue"}},"policyTypes":["Ingress"]}');
      assert.equal(red.spec, '{"podSelector":{"matchLabels":{"team":"red"}},"policyTypes":["Ingress"]}');
      assert.deepEqual(blue.template.spec, JSON.parse(blue.spec));
    });

    it('are not made, but named, for a namespace without the label', () => {
      const found = desired({ additionalPolicies: [FIXED, FROM_TEAM] }, NO_ADDRESSES, namespace('other'));
      assert.deepEqual(rulesOf(found), ['allow-dns', 'allow-monitoring', 'fixed', 'default-deny']);
      assert.deepEqual(found.unresolved, [
        {
          rule: 'from-team',
          name: 'restricted.from-team',
          message: 'spec.additionalPolicies[1]: the namespace has no label team',
        },
      ]);
      assert.deepEqual(found.withheld, []);
    });

    it('are withheld with an unknown variable, and the message says where it is', () => {
      const broken = { name: 'broken', spec: { podSelector: { matchLabels: { app: '$(namespace.uid)' } } } };
      const found = desired({ additionalPolicies: [FROM_TEAM, broken] });
      assert.deepEqual(found.withheld, [
        {
          rule: 'broken',
          name: 'restricted.broken',
          reason: 'InvalidSpec',
          message:
            'spec.additionalPolicies[1].spec.podSelector.matchLabels.app: ' +
            "expected $(namespace.name) or $(namespace.labels['key']), found $(namespace.uid)",
        },
      ]);
      assert.ok(!found.children.has('restricted.broken'));
    });
  });

  describe('withheld rules', () => {
    it('are allow-kube-apiserver while its addresses are unknown, and only then', () => {
      const spec = { rules: { allowKubeAPIServer: { enabled: true } } };
      const unknown = desired(spec);
      assert.ok(!unknown.children.has('restricted.allow-kube-apiserver'));
      assert.deepEqual(
        unknown.withheld.map(({ rule, name, reason }) => ({ rule, name, reason })),
        [{ rule: 'allow-kube-apiserver', name: 'restricted.allow-kube-apiserver', reason: 'AddressesUnknown' }],
      );
      assert.match(unknown.withheld[0]?.message ?? '', /^spec\.rules\.allowKubeAPIServer: /);
      assert.deepEqual(desired(spec, KNOWN).withheld, []);
    });

    it('are allow-ingress-controller without peers, with the path of the field', () => {
      const found = desired({ rules: { allowIngressController: { enabled: true, from: [] } } });
      assert.ok(!found.children.has('restricted.allow-ingress-controller'));
      assert.deepEqual(found.withheld, [
        {
          rule: 'allow-ingress-controller',
          name: 'restricted.allow-ingress-controller',
          reason: 'InvalidSpec',
          message: 'spec.rules.allowIngressController.from: expected at least one peer, found none',
        },
      ]);
    });

    it('are withheld beside additional policies with variables too', () => {
      const found = desired({ rules: { allowKubeAPIServer: { enabled: true } }, additionalPolicies: [FROM_TEAM] });
      assert.deepEqual(
        found.withheld.map(({ rule }) => rule),
        ['allow-kube-apiserver'],
      );
      assert.ok(found.children.has('restricted.from-team'));
    });
  });

  it('gives each child its own texts: what is written has the spec and the identity to compare with', () => {
    const spec = { description: 'Base', rules: ALL_RULES, additionalPolicies: [FIXED, FROM_TEAM] };
    for (const child of desired(spec, KNOWN).children.values()) {
      const written = JSON.parse(serializeChild(child.template, 'shop')) as NetworkPolicy;
      assert.equal(canonicalSpec(written.spec ?? {}), child.spec);
      assert.equal(identityOf(written.metadata), child.identity);
      // Fully defaulted: the API server has nothing to add.
      assert.deepEqual(asStored(written.spec ?? {}), written.spec);
    }
  });

  it('changes only the children that a change of the spec is about', () => {
    const before = desired({ rules: { allowMonitoring: {} } });
    const after = desired({ mode: 'Audit', namespaceSelector: {}, rules: { allowMonitoring: { from: [PEER] } } });
    for (const rule of ['allow-dns', 'default-deny']) assert.deepEqual(childOf(after, rule), childOf(before, rule));
    assert.notEqual(childOf(after, 'allow-monitoring').spec, childOf(before, 'allow-monitoring').spec);
  });
});

describe('discoveryNeeds', () => {
  const NEEDS: readonly (readonly [what: string, BaselineRules | undefined, kubeDNS: boolean, apiServer: boolean])[] = [
    ['no rules', undefined, true, false],
    ['the default targets', { allowDNS: { enabled: true } }, true, false],
    ['NodeLocalDNS', { allowDNS: { targets: ['KubeDNS', 'NodeLocalDNS'] } }, true, false],
    ['other targets', { allowDNS: { targets: ['KubeDNS', 'OpenShiftDNS', 'GKECloudDNS'] } }, false, false],
    ['no targets', { allowDNS: { targets: [] } }, false, false],
    ['allowDNS off', { allowDNS: { enabled: false, targets: ['NodeLocalDNS'] } }, false, false],
    ['allowKubeAPIServer on', { allowDNS: { enabled: false }, allowKubeAPIServer: { enabled: true } }, false, true],
    ['allowKubeAPIServer off', { allowDNS: { enabled: false }, allowKubeAPIServer: { enabled: false } }, false, false],
    ['allowKubeAPIServer by default', { allowDNS: { enabled: false }, allowKubeAPIServer: {} }, false, false],
  ];
  for (const [what, rules, kubeDNS, apiServer] of NEEDS) {
    it(`of ${what}`, () => {
      assert.deepEqual(discoveryNeeds(rules === undefined ? {} : { rules }), { kubeDNS, apiServer });
    });
  }
});
