import assert from 'node:assert/strict';
import type { NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { expandVariables, usesVariables, type Expansion } from '../../../src/policy/variables.ts';
import { frozen, namespace } from '../../support/fixtures.ts';

const SHOP = namespace('shop').labelled({ team: 'blue', 'example.com/tier': 'gold', empty: '' }).build();

function selecting(value: string): NetworkPolicySpec {
  return frozen({ podSelector: { matchLabels: { app: value } } });
}

function expandText(text: string): string | undefined {
  const expansion: Expansion = expandVariables(selecting(text), SHOP);
  assert.ok('spec' in expansion, `expected a spec, got ${JSON.stringify(expansion)}`);
  return expansion.spec.podSelector?.matchLabels?.['app'];
}

function failureOf(spec: NetworkPolicySpec): unknown {
  const expansion = expandVariables(spec, SHOP);
  assert.ok('failure' in expansion, `expected a failure, got ${JSON.stringify(expansion)}`);
  return expansion.failure;
}

/** Text with variables, and what the namespace makes of it. */
const TEXTS: readonly (readonly [text: string, expanded: string])[] = [
  ['web', 'web'],
  ['$(namespace.name)', 'shop'],
  ["$(namespace.labels['team'])", 'blue'],
  ["$(namespace.labels['example.com/tier'])", 'gold'],
  ['web-$(namespace.name)-1', 'web-shop-1'],
  ["$(namespace.name)$(namespace.labels['team'])", 'shopblue'],
  ['$(namespace.name).$(namespace.name)', 'shop.shop'],
  ["$(namespace.labels['empty'])", ''],
];

/** Text with a variable that no namespace has. */
const UNKNOWN: readonly string[] = [
  '$(namespace.uid)',
  '$()',
  '$(name)',
  '$( namespace.name )',
  '$(namespace.labels)',
  '$(namespace.labels[team])',
  '$(namespace.labels["team"])',
  "$(namespace.labels[''])",
  "$(namespace.annotations['team'])",
];

describe('expandVariables', () => {
  for (const [text, expanded] of TEXTS) {
    it(`makes ${expanded === '' ? 'an empty text' : expanded} of ${text}`, () => {
      assert.equal(expandText(text), expanded);
    });
  }

  it('expands every string value, wherever it is', () => {
    const name = '$(namespace.name)';
    const team = "$(namespace.labels['team'])";
    const spec: NetworkPolicySpec = {
      podSelector: {
        matchLabels: { app: name },
        matchExpressions: [{ key: 'tenant', operator: 'In', values: [team, 'x'] }],
      },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        {
          from: [{ namespaceSelector: { matchLabels: { team } }, podSelector: { matchLabels: { of: name } } }],
          ports: [{ port: `p-${name}` }, { port: 80 }],
        },
      ],
      egress: [{ to: [{ ipBlock: { cidr: `${team}/8`, except: [`${team}/16`] } }] }],
    };
    assert.deepEqual(expandVariables(frozen(spec), SHOP), {
      spec: {
        podSelector: {
          matchLabels: { app: 'shop' },
          matchExpressions: [{ key: 'tenant', operator: 'In', values: ['blue', 'x'] }],
        },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          {
            from: [
              { namespaceSelector: { matchLabels: { team: 'blue' } }, podSelector: { matchLabels: { of: 'shop' } } },
            ],
            ports: [{ port: 'p-shop' }, { port: 80 }],
          },
        ],
        egress: [{ to: [{ ipBlock: { cidr: 'blue/8', except: ['blue/16'] } }] }],
      },
    });
  });

  it('leaves keys as they are', () => {
    const spec = frozen({ podSelector: { matchLabels: { '$(namespace.name)': 'web' } } });
    assert.deepEqual(expandVariables(spec, SHOP), { spec });
  });

  it('takes the text of a label as it is, and looks for no variables or patterns in it', () => {
    const odd = namespace('shop').labelled({ team: "$&$1$(namespace.labels['team'])" }).build();
    assert.deepEqual(expandVariables(selecting("$(namespace.labels['team'])"), odd), {
      spec: selecting("$&$1$(namespace.labels['team'])"),
    });
  });

  for (const key of ['missing', 'constructor', 'toString', '__proto__']) {
    it(`fails without a label ${key}, and never gives an empty value`, () => {
      const text = `$(namespace.labels['${key}'])`;
      assert.deepEqual(failureOf(selecting(text)), { kind: 'missing-label', key });
      assert.deepEqual(failureOf(selecting(`$(namespace.name)-${text}`)), { kind: 'missing-label', key });
    });
  }

  for (const text of UNKNOWN) {
    it(`fails on ${text}, and says where it is`, () => {
      assert.deepEqual(failureOf(selecting(`a-${text}-b`)), {
        kind: 'unknown-variable',
        variable: text,
        path: 'spec.podSelector.matchLabels.app',
      });
    });
  }

  it('says where in a list an unknown variable is', () => {
    const good = { ports: [{ port: 'http' }] };
    const spec = frozen({ ingress: [good, { ports: [{ port: 80 }, { port: '$(x)' }] }] });
    assert.deepEqual(failureOf(spec), {
      kind: 'unknown-variable',
      variable: '$(x)',
      path: 'spec.ingress[1].ports[1].port',
    });
  });

  it('gives no part of a spec with a failure', () => {
    const spec = frozen({
      podSelector: { matchLabels: { a: '$(namespace.name)', b: "$(namespace.labels['missing'])" } },
    });
    assert.deepEqual(Object.keys(expandVariables(spec, SHOP)), ['failure']);
  });
});

describe('usesVariables', () => {
  it('is true for known and for unknown variables, and false without any', () => {
    assert.equal(usesVariables(selecting('$(namespace.name)')), true);
    assert.equal(usesVariables(selecting('x$(y)')), true);
    assert.equal(usesVariables({ ingress: [{ ports: [{ port: '$(x)' }] }] }), true);
    assert.equal(usesVariables(selecting('web')), false);
    assert.equal(usesVariables({}), false);
  });
});
