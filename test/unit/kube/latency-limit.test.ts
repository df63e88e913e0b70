import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FEW, LatencyLimit } from '../../../src/kube/latency-limit.ts';

const MAX = 24;

/** How long a request takes among so many in flight; milliseconds. */
type Server = (inFlight: number) => number;

/** Works on so many requests at a time, and lets the others wait. */
const withWorkers =
  (workers: number, serviceMs = 2): Server =>
  (inFlight) =>
    serviceMs * Math.max(1, inFlight / workers);

/** Keeps a server as busy as the limit lets it be; returns the limit after each answer. */
function saturate(limit: LatencyLimit, server: Server, answers: number): number[] {
  return Array.from({ length: answers }, () => {
    limit.observe(server(limit.limit), limit.limit);
    return limit.limit;
  });
}

/** The same numbers from 0 to 1 in each run. */
function noise(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

describe('LatencyLimit', () => {
  it('begins with few', () => {
    assert.equal(new LatencyLimit(MAX).limit, FEW);
    assert.equal(new LatencyLimit(2).limit, 2);
  });

  const random = noise();
  const servers: readonly (readonly [what: string, server: Server, least: number, most: number])[] = [
    ['works on two at a time', withWorkers(2), 6, 10],
    ['works on four at a time', withWorkers(4), 6, 10],
    ['works on nine at a time', withWorkers(9), 14, 22],
    ['has room for all', withWorkers(100), MAX - 1, MAX],
    ['calls a webhook that takes half a second', () => 500 + random(), MAX - 1, MAX],
    ['works on two at a time, in times that vary', (n) => withWorkers(2)(n) * (0.5 + random()), 6, 10],
    ['has room for all, in times that vary', () => 2 * (0.5 + random()), 20, MAX],
    ['has room for all, and calls a slow webhook for every other', () => (random() < 0.5 ? 2 : 200), 15, MAX],
  ];
  for (const [what, server, least, most] of servers) {
    it(`finds ${least} to ${most} for a server that ${what}`, () => {
      const limit = new LatencyLimit(MAX);
      const found = mean(saturate(limit, server, 20_000).slice(2_000));
      assert.ok(found >= least && found <= most, `${found}`);
    });
  }

  it('has most of the throughput, and lets others wait no longer than it must', () => {
    for (const workers of [2, 4, 8, 16]) {
      const server = withWorkers(workers);
      const found = saturate(new LatencyLimit(MAX), server, 20_000).slice(2_000);
      const throughput = mean(found.map((inFlight) => inFlight / server(inFlight)));
      assert.ok(throughput >= 0.95 * (workers / 2), `${workers} workers: ${throughput} a millisecond`);
      assert.ok(mean(found) <= 2.5 * Math.max(FEW, workers), `${workers} workers: ${mean(found)} in flight`);
    }
  });

  it('follows a server that gets slower and faster again', () => {
    const limit = new LatencyLimit(MAX);
    saturate(limit, withWorkers(100), 5_000);
    assert.ok(limit.limit >= MAX - 1);
    assert.ok(mean(saturate(limit, withWorkers(2), 4_000).slice(2_000)) <= 10);
    assert.ok(mean(saturate(limit, withWorkers(100), 8_000).slice(5_000)) >= MAX - 2);
    // A webhook that is new makes all of them slow, however few.
    assert.ok(mean(saturate(limit, () => 300, 4_000).slice(1_000)) >= MAX - 2);
  });

  it('learns the measure anew from light load, and does not grow by it', () => {
    const limit = new LatencyLimit(MAX);
    for (let n = 0; n < 1_000; n++) limit.observe(2, 1 + (n % (FEW - 1)));
    assert.equal(limit.limit, FEW);
    const burst = saturate(limit, withWorkers(100), 1_000);
    assert.ok(burst.indexOf(MAX) > 0 && burst.indexOf(MAX) < 300, `after ${burst.indexOf(MAX)} answers`);
  });

  it('tells each change, and nothing else', () => {
    const told: number[] = [];
    const limit = new LatencyLimit(MAX, (value) => told.push(value));
    for (let answer = 0; answer < 5_000; answer++) {
      saturate(limit, withWorkers(4), 1);
      assert.equal(told.at(-1) ?? FEW, limit.limit);
    }
    const repeated = told.filter((value, index) => value === (told[index - 1] ?? FEW));
    assert.deepEqual(repeated, []);
    assert.ok(told.length > 10);
  });

  it('is never below few, nor above its maximum, whatever it is told', () => {
    const samples = fc.array(fc.tuple(fc.double({ min: 0, max: 1e5, noNaN: true }), fc.integer({ min: 1, max: 40 })), {
      maxLength: 500,
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), samples, (max, list) => {
        const limit = new LatencyLimit(max);
        for (const [ms, inFlight] of list) {
          limit.observe(ms, inFlight);
          assert.ok(limit.limit >= Math.min(FEW, max) && limit.limit <= max, `${limit.limit}`);
        }
      }),
    );
  });
});
