import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { ConcurrencyLimit, type Slot, type Verdict } from '../../../src/kube/concurrency-limit.ts';
import { FEW, LatencyLimit } from '../../../src/kube/latency-limit.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { requestObserver } from '../../../src/observability/observers.ts';

/** Resolves when all that is due without I/O or timers has run. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

function take(limit: ConcurrencyLimit, isMeasure = false): Slot {
  const slot = limit.tryAcquire(isMeasure);
  assert.ok(slot !== undefined, 'expected a free slot');
  return slot;
}

/** Takes all slots that are free, and counts them. */
function takeAll(limit: ConcurrencyLimit, isMeasure = false): number {
  for (let count = 0; ; count++) if (limit.tryAcquire(isMeasure) === undefined) return count;
}

function releaseNew(limit: ConcurrencyLimit, verdict: Verdict, times = 1): void {
  for (let index = 0; index < times; index++) limit.release(take(limit), verdict);
}

/** What may happen: somebody asks for a slot, the nth who has one gives it back, the nth who waits goes away. */
type Step =
  | { readonly type: 'ask' }
  | { readonly type: 'answer'; readonly nth: number; readonly verdict: Verdict }
  | { readonly type: 'abort'; readonly nth: number };

describe('ConcurrencyLimit', () => {
  it('begins at its maximum', () => {
    const limit = new ConcurrencyLimit(3);
    assert.equal(limit.limit, 3);
    assert.equal(takeAll(limit), 3);
  });

  const falls: readonly [max: number, limits: readonly number[]][] = [
    [24, [12, 6, 3, 1, 1]],
    [7, [3, 1, 1]],
    [2, [1, 1]],
    [1, [1]],
  ];
  for (const [max, limits] of falls) {
    it(`halves, and never falls below 1: ${[max, ...limits].join(', ')}`, () => {
      const limit = new ConcurrencyLimit(max);
      for (const expected of limits) {
        releaseNew(limit, 'throttled');
        assert.equal(limit.limit, expected);
      }
      assert.equal(takeAll(limit), limits.at(-1));
    });
  }

  it('grows by one after as many were accepted as it is, up to its maximum', () => {
    const limit = new ConcurrencyLimit(4);
    releaseNew(limit, 'throttled', 2);
    for (const expected of [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]) {
      releaseNew(limit, 'accepted');
      assert.equal(limit.limit, expected);
    }
    assert.equal(takeAll(limit), 4);
  });

  it('begins to count anew after a fall', () => {
    const limit = new ConcurrencyLimit(8);
    releaseNew(limit, 'throttled');
    releaseNew(limit, 'accepted', 3);
    releaseNew(limit, 'throttled');
    releaseNew(limit, 'accepted');
    assert.equal(limit.limit, 2);
    releaseNew(limit, 'accepted');
    assert.equal(limit.limit, 3);
  });

  it('takes a burst that is refused for one signal, whatever of it was accepted', () => {
    const limit = new ConcurrencyLimit(24);
    const burst = Array.from({ length: 24 }, () => take(limit));
    for (const [index, slot] of burst.entries()) limit.release(slot, index % 3 === 2 ? 'accepted' : 'throttled');
    assert.equal(limit.limit, 12);
    releaseNew(limit, 'accepted', 11);
    assert.equal(limit.limit, 12, 'what was accepted of the burst does not count');
    releaseNew(limit, 'throttled');
    assert.equal(limit.limit, 6);
  });

  it('learns nothing from requests of which nothing is known', () => {
    const limit = new ConcurrencyLimit(4);
    releaseNew(limit, 'unknown', 100);
    assert.equal(limit.limit, 4);
    releaseNew(limit, 'throttled');
    releaseNew(limit, 'unknown', 100);
    assert.equal(limit.limit, 2);
  });

  it('tells each change, and nothing else', () => {
    const told: number[] = [];
    const limit = new ConcurrencyLimit(4, { onChange: (value) => told.push(value) });
    releaseNew(limit, 'accepted', 10);
    releaseNew(limit, 'throttled', 5);
    releaseNew(limit, 'accepted', 20);
    assert.deepEqual(told, [2, 1, 2, 3, 4]);
  });

  it('gives no slot back until fewer are in use than there are now', async () => {
    const limit = new ConcurrencyLimit(4);
    const burst = Array.from({ length: 4 }, () => take(limit));
    let given = 0;
    void limit.acquire().then(() => given++);
    for (const [index, slot] of burst.entries()) {
      limit.release(slot, 'throttled');
      await settled();
      assert.equal(given, index < 2 ? 0 : 1, `after ${index + 1} of 4 came back`);
    }
    assert.equal(takeAll(limit), 1);
  });

  it('lets those in who wait when it grows', async () => {
    const limit = new ConcurrencyLimit(2);
    releaseNew(limit, 'throttled');
    const last = take(limit);
    const waiting = [limit.acquire(), limit.acquire()];
    limit.release(last, 'accepted');
    assert.deepEqual(
      (await Promise.all(waiting)).map(({ decreases }) => decreases),
      [1, 1],
    );
    assert.equal(limit.tryAcquire(), undefined);
  });

  describe('with a limit by latency', () => {
    let now: number;
    let latency: LatencyLimit;
    let limit: ConcurrencyLimit;

    beforeEach(() => {
      now = 0;
      latency = new LatencyLimit(24);
      limit = new ConcurrencyLimit(24, { latency, monotonic: () => now });
    });

    it('gives no more slots than the lesser of the two', () => {
      assert.equal(takeAll(limit, true), FEW);
      const small = new ConcurrencyLimit(2, { latency });
      assert.equal(takeAll(small, true), 2);
    });

    it('tells it of requests that are measures and were accepted, with how many were in flight', () => {
      const told: [ms: number, inFlight: number][] = [];
      latency.observe = (...sample) => told.push(sample);
      const slots = Array.from({ length: 3 }, () => take(limit, true));
      for (const [index, slot] of slots.entries()) {
        now += 10;
        limit.release(slot, index === 1 ? 'unknown' : 'accepted');
      }
      limit.release(take(limit), 'accepted');
      limit.release(take(limit, true), 'throttled');
      assert.deepEqual(told, [
        [10, 1],
        [30, 3],
      ]);
    });

    it('does not hold up others than measures, nor these behind them', async () => {
      takeAll(limit, true);
      let isServed = false;
      void limit.acquire(undefined, true).then(() => (isServed = true));
      const read = take(limit);
      assert.equal(takeAll(limit), 24 - FEW - 1);
      const behind = limit.acquire();
      limit.release(read, 'unknown');
      await behind;
      assert.equal(isServed, false);
    });

    it('gives the place of one that takes a second to another, up to its own limit', () => {
      const told: number[] = [];
      latency.observe = (ms) => told.push(ms);
      const hanging = Array.from({ length: FEW }, () => take(limit, true));
      now = 999;
      assert.equal(limit.tryAcquire(true), undefined);
      for (now = 1_000; now < 6_000; now += 1_000) assert.equal(takeAll(limit, true), FEW);
      assert.equal(limit.tryAcquire(true), undefined, 'all 24 are in flight');
      for (const slot of hanging) limit.release(slot, 'accepted');
      assert.equal(takeAll(limit, true), FEW);
      assert.deepEqual(told, [], 'how long it hung says nothing of the load');
    });

    it('lets those in who wait when one has taken a second, though nothing else happens', async () => {
      limit = new ConcurrencyLimit(24, { latency });
      takeAll(limit, true);
      const started = performance.now();
      await limit.acquire(undefined, true);
      const waitedMs = performance.now() - started;
      assert.ok(waitedMs > 900 && waitedMs < 2_000, `${waitedMs} ms`);
    });

    it('lets those in who wait when latency lets it grow', async () => {
      const waiting = Array.from({ length: 60 }, () => limit.acquire(undefined, true));
      let served = 0;
      for (const slot of waiting) void slot.then(() => served++);
      await settled();
      assert.equal(served, FEW);
      for (const slot of waiting.slice(0, 40)) {
        now++;
        limit.release(await slot, 'accepted');
      }
      await settled();
      assert.ok(latency.limit > FEW);
      assert.equal(served, 40 + latency.limit);
    });
  });

  describe('when a signal is aborted', () => {
    const reason = new Error('stopped');

    it('rejects at once, and lets the next in line pass', async () => {
      const limit = new ConcurrencyLimit(1);
      const held = take(limit);
      const controller = new AbortController();
      const first = limit.acquire(controller.signal);
      const second = limit.acquire();
      controller.abort(reason);
      await assert.rejects(first, reason);
      limit.release(held, 'unknown');
      limit.release(await second, 'unknown');
      assert.equal(takeAll(limit), 1);
    });

    it('rejects before a slot is taken', async () => {
      const limit = new ConcurrencyLimit(1);
      await assert.rejects(limit.acquire(AbortSignal.abort(reason)), reason);
      assert.equal(takeAll(limit), 1);
    });

    it('keeps a slot that was given already, for the owner to give it back', async () => {
      const limit = new ConcurrencyLimit(1);
      const held = take(limit);
      const controller = new AbortController();
      const waiting = limit.acquire(controller.signal);
      limit.release(held, 'unknown');
      controller.abort(reason);
      limit.release(await waiting, 'unknown');
      assert.equal(takeAll(limit), 1);
    });
  });

  describe('for any sequence of requests, answers and aborts', () => {
    const step: fc.Arbitrary<Step> = fc.oneof(
      { weight: 4, arbitrary: fc.constant({ type: 'ask' as const }) },
      {
        weight: 3,
        arbitrary: fc.record({
          type: fc.constant('answer' as const),
          nth: fc.nat(50),
          verdict: fc.constantFrom<Verdict>('accepted', 'accepted', 'accepted', 'throttled', 'unknown'),
        }),
      },
      { weight: 1, arbitrary: fc.record({ type: fc.constant('abort' as const), nth: fc.nat(50) }) },
    );
    const steps = fc.array(step, { maxLength: 150 });
    const max = fc.integer({ min: 1, max: 12 });

    async function run(clients: Clients, list: readonly Step[]): Promise<void> {
      for (const action of list) {
        if (action.type === 'ask') clients.ask();
        else if (action.type === 'answer') clients.answer(action.nth, action.verdict);
        else clients.abort(action.nth);
        await settled();
        clients.check();
      }
    }

    it('serves in the order of coming, as soon as there is a slot and no sooner, and tells an abort at once', async () => {
      await fc.assert(fc.asyncProperty(max, steps, async (count, list) => run(new Clients(count), list)));
    });

    it('loses no slot, and recovers when enough is accepted', async () => {
      await fc.assert(
        fc.asyncProperty(max, steps, async (count, list) => {
          const clients = new Clients(count);
          await run(clients, list);
          await clients.end();
          const { limit } = clients;
          releaseNew(limit, 'accepted', (count * (count - 1)) / 2);
          assert.equal(limit.limit, count);
          assert.equal(takeAll(limit), count);
        }),
      );
    });
  });
});

/** Clients that share a limit, and what must be true of them. */
class Clients {
  readonly limit: ConcurrencyLimit;
  readonly #max: number;
  /** Those who were given a slot and have not given it back, and those who wait. */
  #served: { readonly id: number; readonly slot: Slot }[] = [];
  #waiting: { readonly id: number; readonly controller: AbortController }[] = [];
  #asked = 0;
  /** Who must have a slot. */
  readonly #due = new Set<number>();
  #falls = 0;
  #aborts = 0;
  #rejections = 0;

  constructor(max: number) {
    this.#max = max;
    this.limit = new ConcurrencyLimit(max);
  }

  ask(): void {
    const id = this.#asked++;
    const controller = new AbortController();
    this.#waiting.push({ id, controller });
    this.limit.acquire(controller.signal).then(
      (slot) => this.#served.push({ id, slot }),
      () => this.#rejections++,
    );
    this.#serve();
  }

  answer(nth: number, verdict: Verdict): void {
    const [client] = this.#served.splice(nth % Math.max(1, this.#served.length), 1);
    if (client === undefined) return;
    const before = this.limit.limit;
    this.limit.release(client.slot, verdict);
    this.#due.delete(client.id);
    const after = this.limit.limit;
    if (verdict === 'throttled' && client.slot.decreases === this.#falls) {
      this.#falls++;
      assert.equal(after, Math.max(1, Math.floor(before / 2)), 'the first refusal of those sent since the last fall');
    } else {
      assert.ok(
        after === before || (verdict === 'accepted' && after === before + 1),
        `${verdict}: ${before}, ${after}`,
      );
    }
    this.#serve();
  }

  abort(nth: number): void {
    const [client] = this.#waiting.splice(nth % Math.max(1, this.#waiting.length), 1);
    if (client === undefined) return;
    client.controller.abort();
    this.#aborts++;
  }

  check(): void {
    const { limit } = this.limit;
    assert.ok(limit >= 1 && limit <= this.#max, `expected a limit from 1 to ${this.#max}, got ${limit}`);
    assert.deepEqual(new Set(this.#served.map(({ id }) => id)), this.#due);
    assert.equal(this.#rejections, this.#aborts);
  }

  /** Ends all: those who wait by an abort, the others by a loss of the answer. */
  async end(): Promise<void> {
    while (this.#waiting.length > 0) this.abort(0);
    await settled();
    while (this.#served.length > 0) this.answer(0, 'unknown');
  }

  #serve(): void {
    while (this.#due.size < this.limit.limit) {
      const client = this.#waiting.shift();
      if (client === undefined) return;
      this.#due.add(client.id);
    }
  }
}

describe('The observer of the limit', () => {
  let now: number;
  let log: PassThrough;
  let metrics: Metrics;
  let observe: (limit: number, max: number) => void;

  beforeEach(() => {
    now = 0;
    log = new PassThrough();
    metrics = new Metrics({ version: '1.2.3', processMetrics: false });
    const logger = createLogger({ level: 'info', format: 'json', stream: log });
    observe = requestObserver(metrics, logger, () => now).observeConcurrencyLimit;
    observe(8, 8);
  });

  async function lines(): Promise<unknown[]> {
    await settled();
    const text = ((log.read() ?? '') as string | Buffer).toString();
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const { level, msg, limit, times } = JSON.parse(line) as Record<string, unknown>;
        return [level, String(msg).replace(/^The API server /, ''), limit, times];
      });
  }

  function flap(): void {
    observe(4, 8);
    observe(8, 8);
  }

  it('shows the limit', async () => {
    for (const limit of [8, 4, 5]) {
      observe(limit, 8);
      assert.match(await metrics.registry.metrics(), new RegExp(`^rest_client_concurrency_limit ${limit}$`, 'm'));
    }
  });

  it('logs when the server starts to throttle, and when that is over', async () => {
    assert.deepEqual(await lines(), []);
    for (const limit of [4, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7]) observe(limit, 8);
    assert.deepEqual(await lines(), [['warn', 'throttles, sending fewer requests at a time', 4, 1]]);
    observe(8, 8);
    assert.deepEqual(await lines(), [['info', 'throttles no more', 8, 1]]);
  });

  it('logs what goes on and on the first, second, fourth, eighth … time, and anew after ten quiet minutes', async () => {
    for (let time = 0; time < 100; time++) flap();
    const times = (await lines()).map((line) => (line as unknown[])[3]);
    assert.deepEqual(
      times,
      [1, 2, 4, 8, 16, 32, 64].flatMap((time) => [time, time]),
    );
    now = 600_000;
    flap();
    assert.deepEqual(await lines(), []);
    now = 1_200_001;
    flap();
    assert.equal((await lines()).length, 2);
  });
});
