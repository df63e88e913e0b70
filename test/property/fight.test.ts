import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FIGHT_WINDOW_MS, FightDetector, MAX_HEALS } from '../../src/policy/fight.ts';

const pauses = fc.array(fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.integer({ min: 0, max: 120_000 })), {
  minLength: 1,
  maxLength: 60,
});

describe('FightDetector, for any times', () => {
  it('never blocks a child that is healed at most five times in any minute', () => {
    fc.assert(
      fc.property(pauses, (list) => {
        const detector = new FightDetector();
        const heals: number[] = [];
        for (const pause of list) {
          const next = (heals.at(-1) ?? 0) + pause;
          // The sixth heal comes no sooner than a minute after the first.
          const now = Math.max(next, (heals.at(-MAX_HEALS) ?? Number.NEGATIVE_INFINITY) + FIGHT_WINDOW_MS);
          assert.deepEqual(detector.judge('child', now), { fighting: false }, `at ${now} after ${heals.join(', ')}`);
          detector.recordHeal('child', now);
          heals.push(now);
        }
      }),
    );
  });

  it('never lets a child be healed more than five times in a minute', () => {
    fc.assert(
      fc.property(pauses, (list) => {
        const detector = new FightDetector();
        const heals: number[] = [];
        let now = 0;
        for (const pause of list) {
          now += pause;
          if (detector.judge('child', now).fighting) continue;
          detector.recordHeal('child', now);
          heals.push(now);
          const recent = heals.filter((time) => now - time < FIGHT_WINDOW_MS);
          assert.ok(recent.length <= MAX_HEALS, `healed at ${recent.join(', ')}`);
        }
      }),
    );
  });

  it('keeps its word: a child that is left alone may be healed when the wait is over, and not before', () => {
    fc.assert(
      fc.property(pauses, fc.nat({ max: 3_600_000 }), (list, moment) => {
        const detector = new FightDetector();
        let now = 0;
        for (const pause of list) {
          now += pause;
          const verdict = detector.judge('child', now);
          if (verdict.fighting) {
            assert.ok(verdict.waitMs > 0);
            assert.equal(detector.judge('child', now + (moment % verdict.waitMs)).fighting, true);
            now += verdict.waitMs;
            assert.deepEqual(detector.judge('child', now), { fighting: false });
          }
          detector.recordHeal('child', now);
        }
      }),
    );
  });
});
