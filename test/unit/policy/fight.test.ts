import assert from 'node:assert/strict';
import { FIGHT_WINDOW_MS, FightDetector, MAX_HEALS } from '../../../src/policy/fight.ts';

const CHILD = 'shop/restricted.allow-dns';

describe('FightDetector', () => {
  let now: number;
  let detector: FightDetector;

  /** Somebody changes the child: it is healed, or the wait in milliseconds is returned. */
  function drift(child = CHILD): 'healed' | number {
    const verdict = detector.judge(child, now);
    if (verdict.fighting) return verdict.waitMs;
    detector.recordHeal(child, now);
    return 'healed';
  }

  beforeEach(() => {
    now = 0;
    detector = new FightDetector();
  });

  it('takes five heals within a minute for chance, and the sixth for a fight', () => {
    assert.equal(MAX_HEALS, 5);
    assert.equal(FIGHT_WINDOW_MS, 60_000);
    for (let heal = 1; heal <= 5; heal++, now += 100) assert.equal(drift(), 'healed', `heal ${heal}`);
    assert.deepEqual(detector.judge(CHILD, now), { fighting: true, isNew: true, waitMs: 60_000 });
  });

  it('counts heals that are less than a minute old', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    now = 59_999;
    assert.equal(detector.judge(CHILD, now).fighting, true);
  });

  it('does not count heals that are a minute old', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    now = 60_000;
    assert.equal(drift(), 'healed');
  });

  it('lets a child be healed five times in every minute, for hours', () => {
    for (let heal = 0; heal < 1000; heal++, now += 12_000) assert.equal(drift(), 'healed', `heal ${heal}`);
  });

  it('leaves the child alone until the wait is over, and says how long that is', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    assert.equal(drift(), 60_000);
    now = 1000;
    assert.deepEqual(detector.judge(CHILD, now), { fighting: true, isNew: false, waitMs: 59_000 });
    now = 59_999;
    assert.deepEqual(detector.judge(CHILD, now), { fighting: true, isNew: false, waitMs: 1 });
    now = 60_000;
    assert.deepEqual(detector.judge(CHILD, now), { fighting: false });
  });

  it('does not wait longer because it is asked again', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    drift();
    for (now = 1000; now < 60_000; now += 1000) assert.equal(drift(), 60_000 - now);
  });

  it('tries one heal after each wait, and waits twice as long while it is undone at once, up to sixteen minutes', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    const minutes: number[] = [];
    for (let round = 1; round <= 7; round++) {
      const wait = drift();
      assert.ok(wait !== 'healed', `expected round ${round} to wait`);
      minutes.push(wait / 60_000);
      now += wait;
      assert.equal(drift(), 'healed', `try after round ${round}`);
      now += 10;
    }
    assert.deepEqual(minutes, [1, 2, 4, 8, 16, 16, 16]);
  });

  it('forgets a fight that has ended', () => {
    for (let heal = 1; heal <= 6; heal++) drift();
    now += 60_000;
    assert.equal(drift(), 'healed');
    now += 3_600_000;
    // Two heals in an hour are no fight, whatever was before.
    assert.equal(drift(), 'healed');
    now += 10_000;
    assert.equal(drift(), 'healed');
  });

  it('judges each child on its own', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    assert.equal(drift(), 60_000);
    assert.equal(drift('shop/restricted.default-deny'), 'healed');
    assert.equal(drift('other/restricted.allow-dns'), 'healed');
  });

  it('knows nothing of a child that was not healed', () => {
    assert.deepEqual(detector.judge(CHILD, 0), { fighting: false });
    assert.equal(detector.size, 0);
  });

  it('remembers no more than a thousand children that are at peace', () => {
    for (let number = 0; number < 5000; number++, now += 100) detector.recordHeal(`child-${number}`, now);
    assert.ok(detector.size <= 1000, `expected at most 1000 children, found ${detector.size}`);
  });

  it('remembers a child that is left alone, however long and however many others are healed', () => {
    for (let heal = 1; heal <= 5; heal++) drift();
    assert.equal(drift(), 60_000);
    now = 60_000;
    assert.equal(drift(), 'healed');
    assert.equal(drift(), 120_000);
    now = 179_000;
    for (let number = 0; number < 2000; number++) detector.recordHeal(`child-${number}`, now);
    assert.equal(drift(), 1000);
  });
});
