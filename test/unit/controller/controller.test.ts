import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { mock } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Controller, DONE, type Outcome, type Reconcile } from '../../../src/controller/controller.ts';
import { createLogger, type RootLogger } from '../../../src/observability/log.ts';

interface Run {
  readonly key: string;
  readonly addedAt: number;
  readonly finish: (outcome: Outcome) => void;
  readonly fail: (error: unknown) => void;
}

describe('Controller', () => {
  let now: number;
  let log: PassThrough;
  let logger: RootLogger;
  let results: [result: string, seconds: number][];
  /** Reconciles that were started, in their order. */
  let runs: Run[];

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    now = 0;
    log = new PassThrough();
    logger = createLogger({ level: 'debug', format: 'json', stream: log });
    results = [];
    runs = [];
  });

  afterEach(() => {
    mock.timers.reset();
  });

  const deferred: Reconcile = (key, addedAt) => {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    runs.push({ key, addedAt, finish: resolve, fail: reject });
    return promise;
  };

  function newController(concurrency = 1, reconcile: Reconcile = deferred): Controller {
    return new Controller({
      name: 'test',
      reconcile,
      concurrency,
      logger,
      monotonic: () => now,
      observer: {
        observeDepth: () => undefined,
        observeAdd: () => undefined,
        observeRetry: () => undefined,
        observeQueueDuration: () => undefined,
        observeReconcile: (result, seconds) => results.push([result, seconds]),
      },
    });
  }

  /** Lets all that can go on without the passing of time go on. */
  async function settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) await setImmediate();
  }

  async function pass(ms: number): Promise<void> {
    now += ms;
    mock.timers.tick(ms);
    await settle();
  }

  async function finish(index: number, outcome: Outcome = DONE): Promise<void> {
    const run = runs[index];
    assert.ok(run !== undefined, `expected at least ${index + 1} reconciles, got ${runs.length}`);
    run.finish(outcome);
    await settle();
  }

  const keys = () => runs.map(({ key }) => key);

  async function logged(): Promise<Record<string, unknown>[]> {
    await logger.close();
    log.end();
    const lines = (await log.toArray()).join('').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  it('tells a reconcile the key, and when it became dirty', async () => {
    const controller = newController();
    controller.resume();
    controller.enqueue('a');
    now = 10;
    controller.enqueue('b');
    controller.enqueue('b');
    await finish(0);
    assert.deepEqual(
      runs.map(({ key, addedAt }) => [key, addedAt]),
      [
        ['a', 0],
        ['b', 10],
      ],
    );
  });

  it('works on as many keys at a time as it has workers', async () => {
    const controller = newController(3);
    controller.resume();
    for (const key of ['a', 'b', 'c', 'd', 'e']) controller.enqueue(key);
    await settle();
    assert.deepEqual(keys(), ['a', 'b', 'c']);
    assert.deepEqual(controller.load, { waiting: 2, processing: 3, tracked: 0 });
    await finish(1);
    assert.deepEqual(keys(), ['a', 'b', 'c', 'd']);
    await finish(0);
    await finish(2);
    await finish(3);
    await finish(4);
    assert.deepEqual(controller.load, { waiting: 0, processing: 0, tracked: 0 });
    assert.equal(runs.length, 5);
  });

  it('works through many keys with few workers', async () => {
    let running = 0;
    let most = 0;
    const seen = new Set<string>();
    const controller = newController(4, async (key) => {
      most = Math.max(most, ++running);
      await setImmediate();
      running--;
      seen.add(key);
      return DONE;
    });
    controller.resume();
    for (let index = 0; index < 500; index++) controller.enqueue(`key-${index}`, 'backlog');
    while (controller.load.waiting + controller.load.processing > 0) await setImmediate();
    assert.equal(seen.size, 500);
    assert.equal(most, 4);
  });

  it('never works on a key twice at a time, and once more when it was added meanwhile', async () => {
    const controller = newController(4);
    controller.resume();
    controller.enqueue('a');
    await settle();
    controller.enqueue('a');
    controller.enqueue('a');
    await settle();
    assert.deepEqual(keys(), ['a']);
    await finish(0);
    assert.deepEqual(keys(), ['a', 'a']);
    await finish(1);
    assert.deepEqual(keys(), ['a', 'a']);
  });

  it('lets a fresh key overtake the backlog while all workers are busy', async () => {
    const controller = newController(2);
    controller.resume();
    for (let index = 1; index <= 6; index++) controller.enqueue(`old-${index}`, 'backlog');
    await settle();
    controller.enqueue('new');
    controller.enqueue('old-6');
    await finish(0);
    await finish(1);
    assert.deepEqual(keys(), ['old-1', 'old-2', 'new', 'old-6']);
  });

  it('is done with a key: counts a success, and forgets its failures', async () => {
    const controller = newController();
    controller.resume();
    controller.enqueue('a');
    await finish(0, { kind: 'retry' });
    await pass(5);
    now += 2_000;
    await finish(1);
    assert.deepEqual(results, [
      ['error', 0],
      ['success', 2],
    ]);
    assert.equal(controller.load.tracked, 0);
    controller.enqueue('a');
    await finish(2, { kind: 'retry' });
    await pass(5);
    assert.equal(runs.length, 4, 'the wait after a success is the shortest again');
  });

  it('looks again after a time, which is no failure', async () => {
    const controller = newController();
    controller.resume();
    controller.enqueue('a');
    await finish(0, { kind: 'retry' });
    await pass(5);
    await finish(1, { kind: 'after', ms: 300 });
    assert.deepEqual(
      results.map(([result]) => result),
      ['error', 'requeue_after'],
    );
    await pass(299);
    assert.equal(runs.length, 2);
    await pass(1);
    assert.equal(runs.length, 3);
    await finish(2, { kind: 'retry' });
    await pass(5);
    assert.equal(runs.length, 4, 'the failures were forgotten');
  });

  it('retries after the back-off of the key, alone', async () => {
    const controller = newController(2);
    controller.resume();
    controller.enqueue('a');
    for (const [failures, wait] of [5, 10, 20, 40].entries()) {
      await finish(failures, { kind: 'retry', error: new Error('denied') });
      await pass(wait - 1);
      assert.equal(runs.length, failures + 1);
      await pass(1);
      assert.equal(runs.length, failures + 2);
    }
    controller.enqueue('b');
    await finish(5);
    assert.deepEqual(keys(), ['a', 'a', 'a', 'a', 'a', 'b']);
  });

  it('retries a lost race at once, however often the key has failed before, and no faster than races come', async () => {
    const controller = newController();
    controller.resume();
    controller.enqueue('a');
    for (let failures = 0; failures < 12; failures++) {
      await finish(failures, { kind: 'retry', error: new Error('denied') });
      await pass(5 * 2 ** failures);
    }
    for (const [races, wait] of [5, 10, 20].entries()) {
      await finish(12 + races, { kind: 'retry' });
      await pass(wait - 1);
      assert.equal(runs.length, 13 + races);
      await pass(1);
      assert.equal(runs.length, 14 + races);
    }
  });

  it('gives keys that failed a quarter of its workers, behind all others, until they succeed', async () => {
    const controller = newController(8);
    controller.resume();
    const failing = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    for (const key of failing) controller.enqueue(key);
    for (const index of failing.keys()) await finish(index, { kind: 'retry', error: new Error('timed out') });
    controller.enqueue('raced');
    await finish(8, { kind: 'retry' });
    await pass(5);
    assert.deepEqual(keys().slice(9).sort(), ['a', 'b', 'raced']);
    for (const key of ['i', 'j', 'k', 'l', 'm', 'n']) controller.enqueue(key, 'backlog');
    await settle();
    // One worker of the eight still works on the lost race.
    assert.deepEqual(keys().slice(12), ['i', 'j', 'k', 'l', 'm']);
    const first = keys().indexOf('a', 9);
    await finish(first);
    assert.deepEqual(keys().slice(17), ['n']);
    await finish(17);
    assert.deepEqual(keys().slice(18), ['c']);
    controller.enqueue('a');
    await finish(12);
    assert.deepEqual(keys().slice(19), ['a'], 'a has succeeded');
  });

  it('retries what threw, or rejected', async () => {
    let calls = 0;
    const controller = newController(1, (key) => {
      calls++;
      if (calls === 1) throw new TypeError(`broken ${key}`);
      return calls === 2 ? Promise.reject(new Error('rejected')) : Promise.resolve(DONE);
    });
    controller.resume();
    controller.enqueue('a');
    await settle();
    await pass(5);
    await pass(10);
    assert.equal(calls, 3);
    assert.deepEqual(
      results.map(([result]) => result),
      ['error', 'error', 'success'],
    );
    const messages = (await logged()).map(({ error }) => JSON.stringify(error));
    assert.equal(messages.length, 2);
    assert.match(messages[0] ?? '', /broken a/);
  });

  it('logs the failures of a key ever more rarely, and lost races not at all', async () => {
    const controller = newController();
    controller.resume();
    controller.enqueue('a');
    const denied = { kind: 'retry', error: new Error('denied') } as const;
    for (let failures = 1; failures <= 8; failures++) {
      await finish(failures - 1, denied);
      if (failures < 8) await pass(5 * 2 ** (failures - 1));
    }
    // Something happens to it again and again while it waits.
    for (const run of [8, 9, 10]) {
      controller.enqueue('a');
      await finish(run, denied);
    }
    await pass(5 * 2 ** 7);
    await finish(11, denied);
    controller.enqueue('raced');
    await finish(12, { kind: 'retry' });
    const lines = await logged();
    assert.deepEqual(
      lines.map(({ failures, key, controller: name }) => [key, failures, name]),
      [1, 2, 4, 8].map((failures) => ['a', failures, 'test']),
    );
  });

  it('ignores keys until it is resumed', async () => {
    const controller = newController();
    controller.enqueue('a');
    controller.enqueueAfter('b', 10);
    await pass(10);
    assert.deepEqual(controller.load, { waiting: 0, processing: 0, tracked: 0 });
    controller.resume();
    await settle();
    assert.deepEqual(keys(), []);
    controller.enqueueAfter('c', 10);
    await pass(10);
    assert.deepEqual(keys(), ['c']);
  });

  it('drops what waits when it is paused, and awaits the work in hand', async () => {
    const controller = newController(2);
    controller.resume();
    for (const key of ['a', 'b', 'c']) controller.enqueue(key);
    controller.enqueueAfter('d', 10);
    await settle();
    let paused = false;
    const pausing = controller.pause().then(() => {
      paused = true;
    });
    controller.enqueue('e');
    await finish(0, { kind: 'after', ms: 1 });
    assert.equal(paused, false);
    await finish(1, { kind: 'retry', error: new Error('denied') });
    await pausing;
    await pass(1_000);
    assert.deepEqual(keys(), ['a', 'b']);
    assert.deepEqual(controller.load, { waiting: 0, processing: 0, tracked: 0 });
    assert.deepEqual(
      results.map(([result]) => result),
      ['requeue_after', 'error'],
      'what was in hand still counts',
    );
  });

  it('pauses at once when nothing is in hand, and works again when it is resumed', async () => {
    const controller = newController();
    await controller.pause();
    controller.resume();
    await controller.pause();
    controller.resume();
    controller.enqueue('a');
    await finish(0);
    assert.deepEqual(keys(), ['a']);
  });

  it('does not work on a key twice at a time when it is resumed before the work in hand is finished', async () => {
    const controller = newController(2);
    controller.resume();
    controller.enqueue('a');
    await settle();
    const pausing = controller.pause();
    controller.resume();
    controller.enqueue('a');
    await settle();
    assert.deepEqual(keys(), ['a']);
    await finish(0);
    assert.deepEqual(keys(), ['a', 'a']);
    await finish(1);
    await pausing;
  });
});
