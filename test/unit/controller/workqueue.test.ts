import assert from 'node:assert/strict';
import { mock } from 'node:test';
import fc from 'fast-check';
import { WorkQueue, type Lane } from '../../../src/controller/workqueue.ts';

/** What a queue told its observer, in numbers. */
class Counts {
  depth = 0;
  adds = 0;
  retries = 0;
  readonly waits: number[] = [];

  observeDepth(depth: number): void {
    this.depth = depth;
  }

  observeAdd(): void {
    this.adds++;
  }

  observeRetry(): void {
    this.retries++;
  }

  observeQueueDuration(seconds: number): void {
    this.waits.push(seconds);
  }
}

describe('WorkQueue', () => {
  let now: number;
  let ready: number;
  let counts: Counts;
  let queue: WorkQueue;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    now = 0;
    ready = 0;
    counts = new Counts();
    queue = newQueue();
  });

  afterEach(() => {
    mock.timers.reset();
  });

  function newQueue(): WorkQueue {
    return new WorkQueue({ onReady: () => ready++, observer: counts, monotonic: () => now });
  }

  function pass(ms: number): void {
    now += ms;
    mock.timers.tick(ms);
  }

  function takeAll(): string[] {
    const keys: string[] = [];
    for (let item = queue.take(); item !== undefined; item = queue.take()) keys.push(item.key);
    return keys;
  }

  it('holds a key once, however often it is added, since its first add', () => {
    queue.add('a');
    now = 7;
    queue.add('a');
    queue.add('a', 'backlog');
    assert.equal(queue.depth, 1);
    assert.deepEqual(queue.take(), { key: 'a', addedAt: 0 });
    assert.equal(queue.take(), undefined);
    assert.equal(counts.adds, 1);
  });

  it('gives keys in the order in which they were added', () => {
    for (const key of ['c', 'a', 'b', 'a']) queue.add(key);
    assert.deepEqual(takeAll(), ['c', 'a', 'b']);
  });

  it('gives a key that was added while it was worked on once more, and only when that work is done', () => {
    queue.add('a');
    queue.take();
    now = 3;
    queue.add('a');
    now = 4;
    queue.add('a');
    assert.equal(queue.depth, 0);
    assert.equal(queue.take(), undefined);
    queue.done('a');
    assert.deepEqual(queue.take(), { key: 'a', addedAt: 3 });
    queue.done('a');
    assert.equal(queue.take(), undefined);
    assert.equal(queue.processing, 0);
  });

  it('gives a key that was only worked on not again', () => {
    queue.add('a');
    queue.take();
    assert.equal(queue.processing, 1);
    queue.done('a');
    assert.equal(queue.take(), undefined);
  });

  it('tells that a key can be taken: when it is added, not when it waits already, and when its work is done', () => {
    queue.add('a');
    queue.add('a');
    assert.equal(ready, 1);
    queue.take();
    queue.add('a');
    assert.equal(ready, 1, 'nobody can take it yet');
    queue.done('a');
    assert.equal(ready, 2);
    queue.take();
    queue.done('a');
    assert.equal(ready, 2);
  });

  it('lets fresh keys overtake the backlog', () => {
    queue.add('old-1', 'backlog');
    queue.add('old-2', 'backlog');
    queue.add('new-1');
    queue.add('new-2');
    assert.deepEqual(takeAll(), ['new-1', 'new-2', 'old-1', 'old-2']);
  });

  it('moves a key from the backlog when it is added as fresh, and keeps the time of its first add', () => {
    queue.add('a', 'backlog');
    queue.add('b', 'backlog');
    now = 5;
    queue.add('b');
    assert.equal(queue.depth, 2);
    assert.deepEqual(queue.take(), { key: 'b', addedAt: 0 });
    assert.deepEqual(takeAll(), ['a']);
  });

  it('does not move a fresh key to the backlog', () => {
    queue.add('a');
    queue.add('b');
    queue.add('a', 'backlog');
    queue.add('c', 'backlog');
    assert.deepEqual(takeAll(), ['a', 'b', 'c']);
  });

  it('remembers the better lane of a key that is added while it is worked on', () => {
    queue.add('a');
    queue.take();
    queue.add('b', 'backlog');
    queue.add('a', 'backlog');
    queue.add('a');
    queue.done('a');
    assert.deepEqual(takeAll(), ['a', 'b']);
  });

  it('keeps the backlog lane of a key that is added to it while it is worked on', () => {
    queue.add('a');
    queue.take();
    queue.add('a', 'backlog');
    queue.add('b');
    queue.done('a');
    assert.deepEqual(takeAll(), ['b', 'a']);
  });

  it('adds a key after a time, and not before', () => {
    queue.addAfter('a', 100);
    pass(99);
    assert.equal(queue.take(), undefined);
    assert.equal(queue.tracked, 1);
    pass(1);
    assert.deepEqual(queue.take(), { key: 'a', addedAt: 100 });
    assert.equal(queue.tracked, 0);
  });

  it('adds a key at once when the time is nothing', () => {
    queue.addAfter('a', 0);
    queue.addAfter('b', -1);
    assert.deepEqual(takeAll(), ['a', 'b']);
    assert.equal(queue.tracked, 0);
  });

  it('keeps the earliest of several waits', () => {
    queue.addAfter('a', 100);
    queue.addAfter('a', 500);
    queue.addAfter('b', 500);
    queue.addAfter('b', 100);
    pass(100);
    assert.deepEqual(takeAll(), ['a', 'b']);
    queue.done('a');
    queue.done('b');
    pass(1_000);
    assert.deepEqual(takeAll(), [], 'the later waits are gone');
    assert.equal(queue.tracked, 0);
  });

  it('forgets that a key waits when it is taken before, but not when it is told to wait while it is worked on', () => {
    queue.addAfter('a', 1_000);
    queue.add('a');
    assert.deepEqual(takeAll(), ['a']);
    assert.equal(queue.tracked, 0, 'what it waited for is seen now');
    queue.addAfter('a', 100);
    queue.done('a');
    pass(100);
    assert.deepEqual(takeAll(), ['a']);
    queue.done('a');
    pass(1_000);
    assert.deepEqual(takeAll(), []);
  });

  /** Lets a key fail, and passes the wait. Returns the wait. */
  function fail(key: string): number {
    const ms = queue.addRateLimited(key);
    pass(ms);
    assert.equal(queue.take()?.key, key);
    queue.done(key);
    return ms;
  }

  it('lets a failing key wait 5 ms, then twice as long each time, up to 1000 s; each key alone', () => {
    const waits = Array.from({ length: 20 }, () => fail('a'));
    const doubling = Array.from({ length: 18 }, (_, failures) => 5 * 2 ** failures);
    assert.deepEqual(waits, [...doubling, 1_000_000, 1_000_000]);
    assert.equal(queue.addRateLimited('b'), 5);
    assert.equal(queue.failures('a'), 20);
    assert.equal(queue.failures('b'), 1);
    assert.equal(counts.retries, 21);
  });

  it('lets a failing key really wait for as long as it says', () => {
    for (const ms of [5, 10, 20, 40]) {
      assert.equal(queue.addRateLimited('a'), ms);
      pass(ms - 1);
      assert.equal(queue.take(), undefined);
      pass(1);
      assert.equal(queue.take()?.key, 'a');
      queue.done('a');
    }
  });

  it('lets a key that fails before its wait is over wait for the rest, however often', () => {
    for (let failures = 0; failures < 10; failures++) fail('a');
    assert.equal(queue.addRateLimited('a'), 5_120);
    for (let left = 5_120; left > 20; left -= 10) {
      pass(10);
      queue.add('a');
      assert.deepEqual(takeAll(), ['a']);
      queue.done('a');
      assert.equal(queue.addRateLimited('a'), left - 10);
    }
    assert.equal(queue.failures('a'), 11);
    pass(19);
    assert.deepEqual(takeAll(), []);
    pass(1);
    assert.deepEqual(takeAll(), ['a']);
    queue.done('a');
    assert.equal(queue.addRateLimited('a'), 10_240);
    assert.equal(queue.failures('a'), 12);
  });

  it('counts lost races apart from failures: each waits as long as its own count says', () => {
    for (let failures = 0; failures < 10; failures++) fail('a');
    for (const ms of [5, 10, 20, 40]) {
      assert.equal(queue.addRaced('a'), ms);
      pass(ms - 1);
      assert.deepEqual(takeAll(), []);
      pass(1);
      assert.deepEqual(takeAll(), ['a']);
      queue.done('a');
    }
    assert.equal(queue.failures('a'), 10);
    assert.equal(counts.retries, 14);
    assert.equal(queue.addRateLimited('a'), 5 * 2 ** 10);
    assert.equal(queue.tracked, 3);
    queue.forget('a');
    assert.equal(queue.addRaced('a'), 5);
    queue.clear();
    assert.equal(queue.tracked, 0);
    assert.equal(queue.addRaced('a'), 5);
  });

  it('does not overflow after very many failures', () => {
    for (let failures = 0; failures < 5_000; failures++) assert.ok(fail('a') <= 1_000_000);
    assert.equal(queue.addRateLimited('a'), 1_000_000);
  });

  it('waits shortly again after the failures were forgotten', () => {
    fail('a');
    fail('a');
    queue.forget('a');
    assert.equal(queue.failures('a'), 0);
    assert.equal(queue.addRateLimited('a'), 5);
  });

  it('adds what waits because it failed at once when it is told to, and lets it wait for the rest if it fails', () => {
    for (let failures = 0; failures < 9; failures++) fail('a');
    assert.equal(queue.addRateLimited('a'), 5 * 2 ** 9);
    queue.addAfter('b', 50);
    queue.hasten();
    assert.deepEqual(takeAll(), ['a']);
    queue.done('a');
    assert.equal(queue.addRateLimited('a'), 5 * 2 ** 9);
    assert.equal(queue.failures('a'), 10);
    queue.hasten();
    queue.hasten();
    assert.deepEqual(takeAll(), ['a']);
    pass(50);
    assert.deepEqual(takeAll(), ['b']);
    pass(10_000);
    assert.deepEqual(takeAll(), []);
  });

  it('lets demoted keys wait behind all others, a few at a time, until they are forgotten', () => {
    queue = new WorkQueue({ onReady: () => ready++, observer: counts, monotonic: () => now, maxDemoted: 1 });
    for (const key of ['a', 'b', 'c']) queue.add(key);
    for (const key of ['a', 'b']) queue.demote(key);
    queue.add('d', 'backlog');
    assert.equal(counts.depth, 4);
    assert.deepEqual(takeAll(), ['c', 'd', 'a']);
    // However it is added.
    queue.add('b', 'fresh');
    queue.add('a', 'fresh');
    assert.deepEqual(takeAll(), []);
    assert.equal(queue.depth, 1);
    queue.done('a');
    assert.deepEqual(takeAll(), ['b']);
    ready = 0;
    queue.forget('a');
    assert.equal(ready, 1);
    assert.deepEqual(takeAll(), ['a']);
    for (const key of ['a', 'b']) queue.done(key);
    queue.forget('b');
    queue.add('c', 'backlog');
    queue.add('b');
    for (const key of ['c', 'd']) queue.done(key);
    assert.deepEqual(takeAll(), ['b', 'c']);
  });

  it('forgets who was demoted when it is cleared', () => {
    queue.demote('a');
    queue.clear();
    queue.add('b', 'backlog');
    queue.add('a');
    assert.deepEqual(takeAll(), ['a', 'b']);
  });

  it('tracks nothing once failures are forgotten and waits are over', () => {
    queue.addRateLimited('a');
    queue.addAfter('b', 50);
    assert.equal(queue.tracked, 3);
    pass(50);
    for (const key of takeAll()) {
      queue.done(key);
      queue.forget(key);
    }
    assert.equal(queue.tracked, 0);
  });

  it('measures its depth, its adds and how long keys waited, in seconds', () => {
    queue.add('a');
    queue.add('b', 'backlog');
    assert.equal(counts.depth, 2);
    now = 250;
    queue.take();
    assert.equal(counts.depth, 1);
    queue.add('a');
    now = 1_250;
    queue.done('a');
    assert.equal(counts.depth, 2);
    takeAll();
    assert.equal(counts.depth, 0);
    assert.equal(counts.adds, 3);
    assert.deepEqual(counts.waits, [0.25, 1, 1.25]);
  });

  it('drops everything when it is cleared, and can be used afterwards', () => {
    queue.add('in hand');
    queue.take();
    queue.add('in hand');
    queue.add('waiting');
    queue.add('waiting too', 'backlog');
    queue.addAfter('later', 10);
    queue.addRateLimited('failed');
    queue.clear();
    assert.deepEqual([queue.depth, queue.tracked, counts.depth], [0, 0, 0]);
    queue.done('in hand');
    pass(1_000);
    assert.deepEqual(takeAll(), []);
    queue.add('waiting');
    assert.deepEqual(takeAll(), ['waiting']);
  });

  it('does not give a key that is still worked on to a second worker after it was cleared', () => {
    queue.add('a');
    queue.take();
    queue.clear();
    queue.add('a');
    assert.equal(queue.take(), undefined);
    queue.done('a');
    assert.equal(queue.take()?.key, 'a');
  });

  it('takes and gives nothing more when it is closed, and leaves no timer', () => {
    queue.addAfter('a', 10);
    queue.add('b');
    queue.close();
    ready = 0;
    pass(10);
    queue.add('c');
    queue.addAfter('d', 10);
    queue.addAfter('e', 0);
    queue.addRateLimited('f');
    pass(10);
    assert.deepEqual([takeAll(), ready, queue.depth, queue.tracked], [[], 0, 0, 0]);
  });

  it('gives a key to one worker at a time and loses none, whatever happens in whatever order', () => {
    const keys = fc.constantFrom('a', 'b', 'c', 'd');
    const steps = fc.array(
      fc.oneof(
        fc.record({ what: fc.constant('add'), key: keys, lane: fc.constantFrom<Lane>('fresh', 'backlog') }),
        fc.record({ what: fc.constant('after'), key: keys, ms: fc.integer({ min: 0, max: 30 }) }),
        fc.record({ what: fc.constant('retry'), key: keys }),
        fc.record({ what: fc.constant('demote'), key: keys }),
        fc.record({ what: fc.constant('forget'), key: keys }),
        fc.record({ what: fc.constant('pass'), ms: fc.integer({ min: 1, max: 20 }) }),
        fc.record({ what: fc.constant('take') }),
        fc.record({ what: fc.constant('done'), key: keys }),
      ),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(steps, (sequence) => {
        queue = newQueue();
        const working = new Set<string>();
        /** Keys that must be taken some time from now on. */
        const owed = new Set<string>();
        const take = (): boolean => {
          const item = queue.take();
          if (item === undefined) return false;
          assert.ok(!working.has(item.key), `${item.key} is worked on already`);
          working.add(item.key);
          owed.delete(item.key);
          return true;
        };
        for (const step of sequence) {
          if ('lane' in step) {
            queue.add(step.key, step.lane);
            owed.add(step.key);
          } else if ('key' in step && 'ms' in step) {
            queue.addAfter(step.key, step.ms);
            owed.add(step.key);
          } else if ('ms' in step) {
            pass(step.ms);
          } else if (step.what === 'take') {
            take();
          } else if ('key' in step && step.what === 'retry') {
            queue.addRateLimited(step.key);
          } else if ('key' in step && step.what === 'demote') {
            queue.demote(step.key);
          } else if ('key' in step && step.what === 'forget') {
            queue.forget(step.key);
          } else if ('key' in step && working.delete(step.key)) {
            queue.done(step.key);
          }
        }
        for (const key of working) queue.done(key);
        working.clear();
        pass(2_000_000);
        while (take()) continue;
        assert.deepEqual([...owed], []);
        assert.equal(queue.depth, 0);
      }),
    );
  });
});
