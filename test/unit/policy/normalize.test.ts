import assert from 'node:assert/strict';
import type { NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { canonicalSpec, normalizeSpec } from '../../../src/policy/normalize.ts';
import { frozen } from '../../support/fixtures.ts';

/** A spec from wire JSON, which may say null where the types say absent. */
function wire(json: string): NetworkPolicySpec {
  return frozen(JSON.parse(json) as NetworkPolicySpec);
}

/** Spellings of one spec, and what all of them become. */
const TABLE: readonly (readonly [what: string, spellings: readonly string[], expected: NetworkPolicySpec])[] = [
  [
    'an empty spec',
    ['{}', '{"podSelector":{}}', '{"podSelector":null,"policyTypes":null,"ingress":null,"egress":null}'],
    { podSelector: {}, policyTypes: ['Ingress'] },
  ],
  [
    'empty lists of rules',
    ['{"policyTypes":["Egress"]}', '{"policyTypes":["Egress"],"ingress":[],"egress":[]}'],
    { podSelector: {}, policyTypes: ['Egress'] },
  ],
  [
    'an empty selector',
    [
      '{"podSelector":{"matchLabels":{},"matchExpressions":[]}}',
      '{"podSelector":{"matchLabels":null,"matchExpressions":null}}',
    ],
    { podSelector: {}, policyTypes: ['Ingress'] },
  ],
  [
    'policyTypes without egress rules',
    ['{"ingress":[{}]}', '{"ingress":[{}],"policyTypes":[]}', '{"ingress":[{}],"egress":[]}'],
    { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] },
  ],
  [
    'policyTypes with egress rules',
    ['{"egress":[{}]}', '{"egress":[{}],"policyTypes":null}', '{"egress":[{}],"policyTypes":["Egress","Ingress"]}'],
    { podSelector: {}, policyTypes: ['Ingress', 'Egress'], egress: [{}] },
  ],
  [
    'policyTypes that leave a direction out',
    ['{"egress":[{}],"policyTypes":["Egress"]}'],
    { podSelector: {}, policyTypes: ['Egress'], egress: [{}] },
  ],
  [
    'a rule for everyone',
    ['{"ingress":[{}]}', '{"ingress":[{"from":[],"ports":[]}]}', '{"ingress":[{"from":null,"ports":null}]}'],
    { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] },
  ],
  [
    'the protocol of a port',
    ['{"ingress":[{"ports":[{"port":80}]}]}', '{"ingress":[{"ports":[{"port":80,"protocol":"TCP","endPort":null}]}]}'],
    { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ protocol: 'TCP', port: 80 }] }] },
  ],
  [
    'all ports of a protocol',
    [
      '{"ingress":[{"ports":[{},{"protocol":"UDP"}]}]}',
      '{"ingress":[{"ports":[{"port":null},{"protocol":"UDP","port":null}]}]}',
    ],
    { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ protocol: 'TCP' }, { protocol: 'UDP' }] }] },
  ],
  [
    'a range of ports and a named port',
    ['{"ingress":[{"ports":[{"endPort":90,"port":80},{"port":"http"}]}]}'],
    {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [
        {
          ports: [
            { protocol: 'TCP', port: 80, endPort: 90 },
            { protocol: 'TCP', port: 'http' },
          ],
        },
      ],
    },
  ],
  [
    'exceptions of an IPBlock',
    [
      '{"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8"}}]}]}',
      '{"ingress":[{"from":[{"ipBlock":{"except":[],"cidr":"10.0.0.0/8"},"podSelector":null}]}]}',
      '{"ingress":[{"from":[{"ipBlock":{"except":null,"cidr":"10.0.0.0/8"},"namespaceSelector":null}]}]}',
    ],
    { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] },
  ],
  [
    'a requirement without values',
    [
      '{"podSelector":{"matchExpressions":[{"key":"a","operator":"Exists"}]}}',
      '{"podSelector":{"matchExpressions":[{"operator":"Exists","values":[],"key":"a"}]}}',
      '{"podSelector":{"matchExpressions":[{"operator":"Exists","values":null,"key":"a"}]}}',
    ],
    { podSelector: { matchExpressions: [{ key: 'a', operator: 'Exists' }] }, policyTypes: ['Ingress'] },
  ],
  [
    'keys of labels in any order',
    ['{"podSelector":{"matchLabels":{"a":"1","b":"2"}}}', '{"podSelector":{"matchLabels":{"b":"2","a":"1"}}}'],
    { podSelector: { matchLabels: { a: '1', b: '2' } }, policyTypes: ['Ingress'] },
  ],
];

/** Pairs that mean different things, however alike they look. */
const DIFFERENT: readonly (readonly [what: string, string, string])[] = [
  ['no rule and a rule for everyone', '{"ingress":[]}', '{"ingress":[{}]}'],
  [
    'pods here and pods everywhere',
    '{"ingress":[{"from":[{"podSelector":{}}]}]}',
    '{"ingress":[{"from":[{"namespaceSelector":{}}]}]}',
  ],
  [
    'an empty namespaceSelector and none',
    '{"ingress":[{"from":[{"podSelector":{},"namespaceSelector":{}}]}]}',
    '{"ingress":[{"from":[{"podSelector":{}}]}]}',
  ],
  ['a number and a name of a port', '{"ingress":[{"ports":[{"port":80}]}]}', '{"ingress":[{"ports":[{"port":"80"}]}]}'],
  [
    'one port and a range of one',
    '{"ingress":[{"ports":[{"port":80}]}]}',
    '{"ingress":[{"ports":[{"port":80,"endPort":80}]}]}',
  ],
  [
    'one peer with two selectors and two peers',
    '{"ingress":[{"from":[{"podSelector":{},"namespaceSelector":{}}]}]}',
    '{"ingress":[{"from":[{"podSelector":{}},{"namespaceSelector":{}}]}]}',
  ],
  ['an empty label and no label', '{"podSelector":{"matchLabels":{"a":""}}}', '{"podSelector":{}}'],
  ['one direction and both', '{"policyTypes":["Ingress"]}', '{"policyTypes":["Ingress","Egress"]}'],
];

/** A spec that uses everything, in an order that no sorting would give. */
const FULL: NetworkPolicySpec = frozen({
  podSelector: {
    matchExpressions: [
      { key: 'z', operator: 'In', values: ['2', '1'] },
      { key: 'a', operator: 'Exists' },
    ],
  },
  policyTypes: ['Ingress', 'Egress'],
  ingress: [
    {
      from: [
        { podSelector: { matchLabels: { z: '1' } } },
        { namespaceSelector: {} },
        { ipBlock: { cidr: '10.0.0.0/8', except: ['10.2.0.0/16', '10.1.0.0/16'] } },
      ],
      ports: [
        { protocol: 'UDP', port: 90 },
        { protocol: 'TCP', port: 80 },
      ],
    },
    {},
  ],
  egress: [{ to: [{ podSelector: {} }] }, { ports: [{ protocol: 'SCTP' }] }],
});

describe('normalizeSpec', () => {
  for (const [what, spellings, expected] of TABLE) {
    for (const spelling of spellings) {
      it(`makes one of ${what}: ${spelling}`, () => {
        assert.deepEqual(normalizeSpec(wire(spelling)), expected);
        assert.equal(canonicalSpec(wire(spelling)), canonicalSpec(expected));
      });
    }
  }

  for (const [what, one, other] of DIFFERENT) {
    it(`tells ${what} apart`, () => {
      assert.notEqual(canonicalSpec(wire(one)), canonicalSpec(wire(other)));
    });
  }

  it('keeps the order of rules, peers, ports, exceptions, requirements and values', () => {
    assert.deepEqual(normalizeSpec(FULL), FULL);
  });

  it('changes nothing the second time', () => {
    const once = normalizeSpec(FULL);
    assert.equal(JSON.stringify(normalizeSpec(once)), JSON.stringify(once));
  });

  it('writes the same text for keys in any order', () => {
    const shuffled = wire(
      JSON.stringify({
        egress: FULL.egress,
        ingress: FULL.ingress,
        policyTypes: FULL.policyTypes,
        podSelector: FULL.podSelector,
      }),
    );
    assert.equal(canonicalSpec(shuffled), canonicalSpec(FULL));
  });

  it('keeps labels whose keys every object inherits', () => {
    const text = '{"podSelector":{"matchLabels":{"__proto__":"a","constructor":"b"}},"policyTypes":["Ingress"]}';
    assert.equal(canonicalSpec(wire(text)), text);
  });
});
