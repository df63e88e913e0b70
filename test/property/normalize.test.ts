import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { canonicalSpec, normalizeSpec } from '../../src/policy/normalize.ts';
import { networkPolicySpec } from '../support/arbitraries.ts';
import { asStored, frozen } from '../support/fixtures.ts';

describe('normalizeSpec, for any spec', () => {
  it('changes nothing the second time', () => {
    fc.assert(
      fc.property(networkPolicySpec, (spec) => {
        const once = normalizeSpec(frozen(spec));
        assert.equal(JSON.stringify(normalizeSpec(once)), JSON.stringify(once));
      }),
    );
  });

  it('writes the same text before and after the API server has stored it', () => {
    fc.assert(
      fc.property(networkPolicySpec, (spec) => {
        const readBack = JSON.parse(JSON.stringify(asStored(spec))) as NetworkPolicySpec;
        assert.equal(canonicalSpec(readBack), canonicalSpec(spec));
      }),
    );
  });

  it('leaves the API server nothing to add or to take away', () => {
    fc.assert(
      fc.property(networkPolicySpec, (spec) => {
        const written = normalizeSpec(spec);
        assert.deepEqual(asStored(written), written);
      }),
    );
  });

  it('gives different texts to specs that the API server stores differently, but for the order of policyTypes', () => {
    const stored = (spec: NetworkPolicySpec): unknown => {
      const { policyTypes = [], ...rest } = asStored(spec);
      return { ...rest, policyTypes: [...policyTypes].sort() };
    };
    fc.assert(
      fc.property(networkPolicySpec, networkPolicySpec, (one, other) => {
        const areEqual = canonicalSpec(one) === canonicalSpec(other);
        if (areEqual) assert.deepEqual(stored(one), stored(other));
        else assert.notDeepEqual(stored(one), stored(other));
      }),
    );
  });
});
