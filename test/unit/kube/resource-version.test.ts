import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compareResourceVersions } from '../../../src/kube/resource-version.ts';

describe('compareResourceVersions', () => {
  it('orders numbers of 64 bits as numbers', () => {
    const numbers = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    fc.assert(
      fc.property(numbers, numbers, (a, b) => {
        const expected = a < b ? -1 : a > b ? 1 : 0;
        assert.equal(Math.sign(compareResourceVersions(String(a), String(b))), expected);
      }),
    );
  });

  it('takes a longer one for newer, and none for the oldest', () => {
    assert.ok(compareResourceVersions('99', '100') < 0);
    assert.ok(compareResourceVersions('9007199254740993', '9007199254740992') > 0);
    assert.ok(compareResourceVersions('', '1') < 0);
    assert.equal(compareResourceVersions('', ''), 0);
  });
});
