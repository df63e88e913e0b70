import assert from 'node:assert/strict';
import { DEFAULT_BRAKE_LIMITS, isMassDeletion } from '../../../src/policy/brake.ts';

/** Children that leave, of how many, and whether that waits for a person; by default more than 10 and more than 25 %. */
const TABLE: readonly (readonly [leaving: number, total: number, held: boolean])[] = [
  [0, 0, false],
  [0, 100, false],
  [1, 1, false],
  [10, 10, false],
  [10, 39, false],
  [11, 11, true],
  [11, 43, true],
  [11, 44, false],
  [11, 45, false],
  [25, 100, false],
  [26, 100, true],
  [1000, 4000, false],
  [1001, 4000, true],
  [4000, 4000, true],
];

describe('isMassDeletion', () => {
  for (const [leaving, total, held] of TABLE) {
    it(`${held ? 'holds' : 'lets pass'} ${leaving} of ${total}`, () => {
      assert.equal(isMassDeletion(leaving, total, DEFAULT_BRAKE_LIMITS), held);
    });
  }

  it('uses the limits that it is given', () => {
    assert.equal(isMassDeletion(1, 100, { count: 0, percent: 0 }), true);
    assert.equal(isMassDeletion(0, 100, { count: 0, percent: 0 }), false);
    assert.equal(isMassDeletion(100, 100, { count: 0, percent: 100 }), false);
    assert.equal(isMassDeletion(3, 4, { count: 2, percent: 50 }), true);
    assert.equal(isMassDeletion(2, 4, { count: 2, percent: 0 }), false);
  });
});
