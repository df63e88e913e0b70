import assert from 'node:assert/strict';
import fc from 'fast-check';
import { peerCovers, selectorCovers } from '../../../src/analysis/cover.ts';
import { readPolicy, type Peer } from '../../../src/analysis/policy.ts';
import type { LabelSelector, LabelSelectorRequirement, NetworkPolicyPeer } from '../../../src/api/networkpolicy.ts';
import { matchesSelector } from '../../../src/policy/selector.ts';
import { networkPolicy } from '../../support/cluster-fixtures.ts';

type Operator = LabelSelectorRequirement['operator'];

function expression(operator: Operator, ...values: string[]): LabelSelector {
  return { matchExpressions: [{ key: 'app', operator, ...(values.length > 0 && { values }) }] };
}

const KINDS: readonly LabelSelector[] = [
  {},
  { matchLabels: { app: 'a' } },
  expression('In', 'a'),
  expression('In', 'a', 'b'),
  expression('NotIn', 'a'),
  expression('NotIn', 'a', 'b'),
  expression('NotIn', 'c'),
  expression('Exists'),
  expression('DoesNotExist'),
  { matchLabels: { app: 'a', tier: 'x' } },
];

describe('selectorCovers', () => {
  it('is true for just the pairs where each set of labels that one matches is matched by the other', () => {
    const labels = [undefined, 'a', 'b', 'c', 'd'].flatMap((app) =>
      [undefined, 'x'].map((tier) => ({ ...(app !== undefined && { app }), ...(tier !== undefined && { tier }) })),
    );
    for (const wider of KINDS) {
      for (const narrower of KINDS) {
        const expected = labels.every((one) => !matchesSelector(narrower, one) || matchesSelector(wider, one));
        assert.equal(selectorCovers(wider, narrower), expected, JSON.stringify([wider, narrower]));
      }
    }
  });

  it('is never true by mistake when requirements are combined', () => {
    const requirement = fc
      .tuple(
        fc.constantFrom('app', 'tier'),
        fc.constantFrom<Operator>('In', 'NotIn', 'Exists', 'DoesNotExist'),
        fc.subarray(['a', 'b', 'c'], { minLength: 1 }),
      )
      .map(([key, operator, values]): LabelSelectorRequirement => {
        const hasValues = operator === 'In' || operator === 'NotIn';
        return { key, operator, ...(hasValues && { values }) };
      });
    const selector = fc.array(requirement, { maxLength: 3 }).map((matchExpressions) => ({ matchExpressions }));
    const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('a', 'b', 'c', 'd'), {
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(selector, selector, fc.array(labels, { minLength: 8, maxLength: 8 }), (wider, narrower, list) => {
        if (!selectorCovers(wider, narrower)) return;
        for (const one of list) assert.ok(!matchesSelector(narrower, one) || matchesSelector(wider, one));
      }),
      { numRuns: 3000 },
    );
  });
});

describe('peerCovers', () => {
  function peer(written: NetworkPolicyPeer): Peer {
    const policy = readPolicy(networkPolicy('shop/p', { podSelector: {}, egress: [{ to: [written] }] }));
    const [found] = policy.rules.Egress?.[0]?.peers ?? [];
    assert.ok(found);
    return found;
  }
  const block = (cidr: string, ...except: string[]): NetworkPolicyPeer => ({ ipBlock: { cidr, except } });
  const inShop = { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } };

  for (const [wider, narrower, expected] of [
    [{ podSelector: {} }, { namespaceSelector: inShop, podSelector: KINDS[1] }, true],
    [{ namespaceSelector: inShop }, { podSelector: {} }, true],
    [{ namespaceSelector: {} }, { podSelector: {} }, true],
    [{ podSelector: {} }, { namespaceSelector: {} }, false],
    [block('10.0.0.0/8'), block('10.1.0.0/16'), true],
    [block('10.1.0.0/16'), block('10.0.0.0/8'), false],
    [block('10.0.0.0/8', '10.2.0.0/16'), block('10.1.0.0/16'), true],
    [block('10.0.0.0/8', '10.1.1.0/24'), block('10.1.0.0/16'), false],
    [block('10.0.0.0/8', '10.1.1.0/24'), block('10.1.0.0/16', '10.1.0.0/23'), true],
    [block('::/0'), block('10.1.0.0/16'), false],
    [block('0.0.0.0/0'), { podSelector: {} }, false],
    [{ namespaceSelector: {} }, block('10.1.0.0/16'), false],
  ] as [NetworkPolicyPeer, NetworkPolicyPeer, boolean][]) {
    it(`is ${expected} of ${JSON.stringify(wider)} for ${JSON.stringify(narrower)}`, () => {
      assert.equal(peerCovers(peer(wider), peer(narrower)), expected);
    });
  }
});
