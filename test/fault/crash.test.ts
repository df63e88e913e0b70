import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { BaselinePolicyStatus } from '../../src/api/baselinepolicy.ts';
import { eventually } from '../support/await.ts';
import { conditionOf, Demo } from '../support/demo.ts';
import type { Forwarding, ProxiedRequest } from '../support/fault-proxy.ts';
import { isWrite, resourceOf } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { quiet, Workload } from '../support/workload.ts';

/** A step of a workload: ten namespaces with four children each. */
interface Step {
  readonly what: string;
  /** How many numbered writes it takes; see {@link isNumbered}. */
  readonly writes: number;
  readonly perform: (workload: Workload) => Promise<void>;
}

const STEPS: readonly Step[] = [
  // The finalizer, 40 creates, the status.
  { what: 'fill', writes: 42, perform: (workload) => workload.fill() },
  // In each namespace a create, an update and a delete; the status.
  { what: 'change of the spec', writes: 31, perform: (workload) => workload.changeSpec() },
  // 40 deletes, the finalizer.
  { what: 'removal', writes: 41, perform: (workload) => workload.remove() },
];

/**
 * When the operator is killed: `answered`, when the API server has done the k-th write and before the operator hears of
 * it; `sent`, when it has sent the k-th write and before the API server sees it.
 */
type Moment = 'answered' | 'sent';

/** `SEED=n` draws the same writes again. */
const SEED = Number(process.env['SEED'] ?? Date.now() % 10_000);
/** How long a held step may take to go on; milliseconds. */
const TIMEOUT_MS = 60_000;
/** How long an operator may take to end after SIGTERM; milliseconds. */
const SHUTDOWN_MS = 30_000;

describe('an operator that is stopped in the midst of its writes', function () {
  // Each kill takes a second and a half on a quiet machine, ten times as long on a busy one.
  this.timeout(LONG_FORM ? 7_200_000 : 900_000);
  let demo: Demo;
  let oracle: Oracle;
  /** What comes of each step without a fault. */
  const clean: Outcome[] = [];

  before(async () => {
    demo = await Demo.start({ faults: true });
    oracle = await Oracle.start(demo.kube);
    const workload = new Workload(demo, oracle, 'clean');
    for (const { what, writes, perform } of STEPS) {
      const log = new WriteLog();
      demo.proxy.intercept = (request) => log.forward(request);
      await perform(workload);
      await eventually(() => {
        assert.equal(log.done, writes, `numbered writes of a ${what}`);
      });
      clean.push(await oracle.outcome('clean'));
    }
    const counts = Object.values(clean.at(-1)?.counts ?? {});
    assert.deepEqual(counts, new Array(50).fill({ added: 1, deleted: 1 }));
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    // What it has left behind is not to fail the next one.
    demo.proxy.intercept = () => 'pass';
    demo.proxy.resume();
    await demo.killOperator();
    await demo.startOperator();
    await demo.remove();
  });

  for (const [moment, title] of [
    ['answered', 'goes on after kill -9 when write k is done and not answered, and does no write twice'],
    ['sent', 'goes on after kill -9 when write k is sent and not done, and does no write twice'],
  ] as const) {
    it(title, async () => {
      const plans = STEPS.map((step) => killPoints(step, moment));
      const rounds = Math.max(...plans.map(({ length }) => length));
      // The operator that was started after one kill is the one that is killed next.
      for (let round = 0; round < rounds; round++) {
        const workload = new Workload(demo, oracle, `${moment}${round}`);
        for (const [index, step] of STEPS.entries()) {
          const points = plans[index] ?? [];
          const k = points[round];
          await labelled(`${step.what}, k=${k ?? 'none'}, SEED=${SEED}`, async () => {
            await (k === undefined ? step.perform(workload) : crash(workload, step, k, moment));
            await assertClean(workload, index);
            if (round === points.length - 1 && (moment === 'answered' || LONG_FORM)) await quiet(demo.proxy, 10_000);
          });
        }
      }
    });
  }

  it('finishes the writes in hand at SIGTERM and ends with code 0, and another operator does the rest', async () => {
    const concurrency = 2;
    const shares = LONG_FORM ? [0.05, 0.2, 0.3, 0.4, 0.5, 0.6] : [0.3];
    await demo.restartOperator([`--concurrency=${concurrency}`]);
    for (const [round, share] of shares.entries()) {
      const workload = new Workload(demo, oracle, `sigterm${round}`);
      for (const [index, step] of STEPS.entries()) {
        const k = Math.max(2, Math.round(step.writes * share));
        await labelled(`${step.what}, k=${k}`, async () => {
          await stopInMidBatch(workload, step, k, concurrency);
          await assertClean(workload, index);
        });
      }
    }
    await quiet(demo.proxy, 3_000);
  });

  /** Performs a step whose operator is killed at write k, and another one started. */
  async function crash(workload: Workload, step: Step, k: number, moment: Moment): Promise<void> {
    const { proxy, operator } = demo;
    const before = await changesOf(workload.run);
    const log = new WriteLog();
    const limit = moment === 'answered' ? k : k - 1;
    let reached = false;
    proxy.intercept = (request) => {
      // What comes out of buffers after the end of the operator is not to be done any more.
      if (reached) return 'black-hole';
      if (!isChildOrPolicyWrite(request)) return 'pass';
      const isBeyond = log.forwarded >= limit;
      if (isBeyond && moment === 'sent' && isNumbered(request)) {
        reached = true;
        proxy.stall();
      }
      if (isBeyond && (moment === 'answered' || reached)) return 'black-hole';
      return log.forward(request, () => {
        if (moment === 'sent' || log.done < k || reached) return;
        reached = true;
        // No byte of this answer reaches the operator, and no later request of its own gets out.
        proxy.stall();
      });
    };

    const restart = async (): Promise<void> => {
      await eventually(
        () => {
          assert.ok(reached, `expected write ${k}, got ${log.done} until now`);
        },
        { timeout: TIMEOUT_MS },
      );
      // The API server does what it has begun; the proxy would take it back when it sees the client go.
      await eventually(
        () => {
          assert.equal(log.inFlight, 0, 'writes that the API server has not answered');
        },
        { timeout: TIMEOUT_MS },
      );
      operator.signal('SIGKILL');
      assert.equal(await operator.exited(), null, 'the operator ended by itself');
      proxy.resume();
      await eventually(
        () => {
          assert.equal(proxy.open, 0, 'connections of the killed operator');
        },
        { timeout: TIMEOUT_MS },
      );
      assert.equal(log.done, limit, 'numbered writes done before the crash');
      // The change by which the test began the step counts too.
      assert.equal((await changesOf(workload.run)) - before, 1 + log.done + log.others, 'changes that a watcher saw');
      proxy.intercept = (request) => log.forward(request);
      await demo.startOperator();
    };
    await Promise.all([step.perform(workload), restart()]);
    await eventually(() => {
      assert.equal(log.done, step.writes, 'numbered writes of both operators');
    });
  }

  /** Performs a step whose operator is asked to stop when k writes are done, and another one started. */
  async function stopInMidBatch(workload: Workload, step: Step, k: number, concurrency: number): Promise<void> {
    const { proxy, operator } = demo;
    const before = await changesOf(workload.run);
    const log = new WriteLog();
    const arrivals: { readonly namespace: string; readonly at: number }[] = [];
    const written = sumOfLoggedWrites(operator.log);
    let asked: { readonly at: number; readonly waiting: number } | undefined;
    // Each answer is on its way for a while, so that the signal finds writes that wait for theirs.
    let delayMs = 100;
    proxy.intercept = (request) => {
      if (!isChildOrPolicyWrite(request)) return 'pass';
      if (isWrite(request, 'networkpolicies')) arrivals.push({ namespace: namespaceOf(request), at: Date.now() });
      const onAnswer = (): void => {
        if (log.done < k || asked !== undefined) return;
        asked = { at: performance.now(), waiting: log.inFlight + 1 };
        operator.signal('SIGTERM');
      };
      return { ...log.forward(request, onAnswer), delayMs };
    };

    const replace = async (): Promise<void> => {
      await eventually(
        () => {
          assert.ok(asked !== undefined, `expected write ${k}, got ${log.done} until now`);
        },
        { timeout: TIMEOUT_MS },
      );
      assert.equal(await operator.exited(), 0, JSON.stringify(operator.log.slice(-3)));
      const tookMs = performance.now() - (asked?.at ?? Number.NaN);
      assert.ok(tookMs < SHUTDOWN_MS, `took ${tookMs} ms`);
      assert.ok((asked?.waiting ?? 0) > 0, 'no write waited for its answer');
      assert.equal(log.inFlight, 0, 'writes that the API server has not answered');
      assert.ok(log.done < step.writes, 'the signal came too late to be in the midst');
      const stopping = Date.parse(String((await operator.logged('Stopping'))['ts']));
      const worked = new Set(arrivals.filter(({ at }) => at > stopping).map(({ namespace }) => namespace));
      assert.ok(worked.size <= concurrency, `work on ${[...worked].join(', ')} after the signal`);
      // The operator has heard of each write that was done: no answer was cut off.
      const told = sumOfLoggedWrites(operator.log) - written;
      assert.equal(told, log.children, 'writes of children that the operator knows to be done');
      assert.equal(operator.stderr, '');
      await operator.logged('Stopped');
      assert.equal((await changesOf(workload.run)) - before, 1 + log.done + log.others, 'changes that a watcher saw');
      delayMs = 0;
      await demo.startOperator([`--concurrency=${concurrency}`]);
    };
    await Promise.all([step.perform(workload), replace()]);
    await eventually(() => {
      assert.equal(log.done, step.writes, 'numbered writes of both operators');
    });
    assert.equal(log.refusedChildren, 0, 'writes of children that the API server refused');
  }

  /** Fails unless a run has come to what the clean one came to after the same step, with as many creates and deletes. */
  async function assertClean({ run }: Workload, step: number): Promise<void> {
    await eventually(
      async () => {
        assert.deepEqual(await oracle.outcome(run), clean[step]);
      },
      { timeout: TIMEOUT_MS, interval: 100 },
    );
    await oracle.assertNothingOpenedOrBroken();
  }

  /** How many changes of children and policies of a run a watcher has seen. */
  async function changesOf(run: string): Promise<number> {
    return (await oracle.events(run)).filter(({ resource }) => resource !== 'namespaces').length;
  }
});

/** Counts the writes of children and policies that it lets through. */
class WriteLog {
  /** Numbered writes that the API server has done. */
  done = 0;
  /** Other writes that it has done. */
  others = 0;
  /** Writes of children that it has done. */
  children = 0;
  /** Writes of children that it has refused. */
  refusedChildren = 0;
  /** Writes that it has not answered yet. */
  inFlight = 0;
  #numberedInFlight = 0;

  /** Numbered writes that the API server has done, or may do. */
  get forwarded(): number {
    return this.done + this.#numberedInFlight;
  }

  /** Lets a request through; `onAnswer` is called when a write is done and before the client hears of it. */
  forward(request: ProxiedRequest, onAnswer: () => void = () => undefined): Forwarding {
    if (!isChildOrPolicyWrite(request)) return {};
    const numbered = isNumbered(request);
    const isChild = isWrite(request, 'networkpolicies');
    this.inFlight++;
    if (numbered) this.#numberedInFlight++;
    return {
      onAnswer: (status) => {
        this.inFlight--;
        if (numbered) this.#numberedInFlight--;
        if (status >= 400) {
          if (isChild) this.refusedChildren++;
          return;
        }
        if (numbered) this.done++;
        else this.others++;
        if (isChild) this.children++;
        onAnswer();
      },
    };
  }
}

function isChildOrPolicyWrite(request: ProxiedRequest): boolean {
  return isWrite(request, 'networkpolicies', 'baselinepolicies');
}

/**
 * Whether a write has a number: all but a status that says that there is work left. How often that is told depends on
 * how fast the work goes.
 */
function isNumbered(request: ProxiedRequest): boolean {
  if (resourceOf(request) !== 'baselinepolicies' || !request.url.pathname.endsWith('/status')) return true;
  const operations = JSON.parse(request.body) as { path: string; value: BaselinePolicyStatus }[];
  const status = operations.find(({ path }) => path === '/status')?.value;
  return conditionOf(status, 'Ready')?.status === 'True';
}

/** The writes at which a step is interrupted: all in the long form, else the first, the last and some between. */
function killPoints({ what, writes }: Step, moment: Moment): number[] {
  if (LONG_FORM) return Array.from({ length: writes }, (_, index) => index + 1);
  const drawn = createHash('sha256').update(`${SEED} ${what} ${moment}`).digest().readUInt32BE() % (writes - 4);
  const between = 3 + drawn;
  return moment === 'answered' ? [1, 2, between, writes - 1, writes] : [1, between, writes];
}

/** How many writes of children an operator has told in its log. */
function sumOfLoggedWrites(log: readonly Record<string, unknown>[]): number {
  const lines = log.filter(({ msg }) => msg === 'Reconciled NetworkPolicies');
  const counts = lines.flatMap((line) => [line['created'], line['updated'], line['deleted']]);
  return counts.reduce<number>((sum, count) => sum + (typeof count === 'number' ? count : 0), 0);
}

function namespaceOf({ url }: ProxiedRequest): string {
  return /\/namespaces\/([^/]+)\//.exec(url.pathname)?.[1] ?? '';
}

/** Says where in the test an error came from. */
async function labelled(where: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
  }
}
