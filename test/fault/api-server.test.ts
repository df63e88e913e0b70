import assert from 'node:assert/strict';
import { consistently, eventually } from '../support/await.ts';
import { Demo } from '../support/demo.ts';
import type { Fault, LineEdit, ProxiedRequest } from '../support/fault-proxy.ts';
import { expired, expiredEvent, isList, isWatch, isWrite, resourceOf, type Watched } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import type { LogLine, OperatorProcess } from '../support/operator.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { assertSameOutcome, CHANGED_SPEC, cleanOutcome, quiet, Workload } from '../support/workload.ts';

type Signal = 'SIGTERM' | 'SIGKILL';

/** How long the API server is away; milliseconds. */
const OUTAGE_MS = 60_000;
/** The longest pause of a reflector between two tries, and a few seconds for the work; milliseconds. */
const RECOVERY_MS = 36_000;
const WATCHED: readonly Watched[] = ['baselinepolicies', 'namespaces', 'networkpolicies'];

describe('an API server that goes away', function () {
  this.timeout(300_000);
  let demo: Demo;
  let oracle: Oracle;
  let outage: Outage;
  let clean: Outcome;

  before(async () => {
    // The minute without an API server costs no time of its own: it passes beside the other tests.
    [demo, outage] = await Promise.all([Demo.start({ faults: true }), Outage.begin()]);
    oracle = await Oracle.start(demo.kube);
    await new Workload(demo, oracle, 'clean').perform();
    clean = await cleanOutcome(demo, oracle, 'clean');
  });

  afterEach(() => {
    demo.proxy.intercept = () => 'pass';
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
    await outage.end();
  });

  const orders: readonly (readonly Signal[])[] = LONG_FORM ? [['SIGTERM'], ['SIGKILL']] : [['SIGKILL', 'SIGTERM']];
  for (const signals of orders) {
    const how = signals.join(' and ');
    it(`comes to the same end when the API server is restarted ten times in the midst of work by ${how}`, async () => {
      const run = `restarts-${signals.join('-').toLowerCase()}`;
      const { operator } = demo;
      const workload = new Workload(demo, oracle, run);
      const restarts = new Restarts(demo, signals);

      await restarts.afterWrites([3, 20, 36], () => workload.fill());
      await restarts.afterWrites([5, 24], () => workload.changeSpec());
      // Tenants come when the operator does not watch again yet.
      await restarts.now();
      await workload.tamper();
      await restarts.afterWrites([6], () => workload.moveNamespaces());
      await becomesReady(operator);
      // A status that could not be written comes with the back-off of its key, later than the children.
      await eventually(
        async () => {
          const { status } = await demo.kube.baselinePolicies.get(run);
          assert.equal(status?.drift?.healedTotal, sumOfHeals(await demo.drift(run)));
        },
        { timeout: RECOVERY_MS },
      );
      await eventually(() => quiet(demo.proxy, 3_000), { timeout: RECOVERY_MS });
      await assertSameOutcome(demo, oracle, run, clean, { driftTotals: true });
      await restarts.afterWrites([3, 20, 36], () => workload.remove());

      assert.equal(restarts.count, 10);
      for (const [child, { added, deleted }] of Object.entries((await oracle.outcome(run)).counts)) {
        assert.equal(deleted, added, child);
      }
      await oracle.assertNothingOpenedOrBroken();
      await operator.ready();
      assert.equal(operator.stderr, '');
    });
  }

  const expiries: readonly (readonly [string, Fault])[] = [
    ['by the status 410', expired()],
    ['by an event with 410', { status: 200, body: textOf(expiredEvent()) }],
  ];
  for (const [index, [how, expiry]] of expiries.entries()) {
    it(`finds what happened in a gap that a watch tells of ${how}`, async () => {
      const workload = await settled(`gap${index}`);
      const gap = Promise.withResolvers<undefined>();
      const told = new Set<string>();
      demo.proxy.intercept = async (request) => {
        if (!isWatch(request)) return 'pass';
        await gap.promise;
        const resource = resourceOf(request);
        if (told.has(resource)) return 'pass';
        told.add(resource);
        return expiry;
      };
      const before = demo.proxy.requests.length;
      demo.proxy.cut();
      const steps = perturb(workload);
      await isPerturbed(workload);
      assert.deepEqual(lists(before), {}, 'the gap was not one');
      gap.resolve(undefined);
      await steps;

      await eventually(
        () => {
          assert.deepEqual(notIn(told), []);
        },
        { timeout: RECOVERY_MS },
      );
      await assertSameOutcome(demo, oracle, workload.run, clean);
      assert.deepEqual(lists(before), { baselinepolicies: 1, namespaces: 1, networkpolicies: 1 });
    });
  }

  it('finds what happened in a gap that etcd has forgotten', async () => {
    const workload = await settled('compacted');
    demo.proxy.intercept = () => 'reset';
    demo.proxy.cut();
    const steps = perturb(workload);
    await isPerturbed(workload);
    await demo.controlPlane.compactEtcd();
    // What the API server itself remembers must go too.
    await demo.controlPlane.restartAPIServer('SIGKILL');
    const told = new Set<string>();
    demo.proxy.intercept = (request) =>
      isWatch(request)
        ? {
            onAnswer: (status) => {
              if (status === 410) told.add(resourceOf(request));
            },
            editLine: (line) => {
              if (/^\{"type":"ERROR".*"code":410\b/.test(line)) told.add(resourceOf(request));
              return line;
            },
          }
        : 'pass';
    const before = demo.proxy.requests.length;
    await steps;

    await eventually(
      () => {
        assert.deepEqual(notIn(told), []);
      },
      { timeout: RECOVERY_MS },
    );
    await assertSameOutcome(demo, oracle, workload.run, clean);
    assert.deepEqual(lists(before), { baselinepolicies: 1, namespaces: 1, networkpolicies: 1 });
  });

  it('lists less and less often while each watch is told 410', async () => {
    await demo.restartOperator();
    const listed = new Map<string, number[]>(WATCHED.map((resource) => [resource, []]));
    const refusals = [expired(), { status: 200, body: textOf(expiredEvent()) }];
    let asked = 0;
    demo.proxy.intercept = (request) => {
      if (isList(request)) listed.get(resourceOf(request))?.push(request.at);
      return isWatch(request) ? (refusals[asked++ % 2] ?? 'pass') : 'pass';
    };
    demo.proxy.cut();
    await eventually(
      () => {
        for (const [resource, times] of listed) assert.ok(times.length >= 4, resource);
      },
      { timeout: 30_000 },
    );
    for (const [resource, times] of listed) {
      const [first = 0, second = 0, third = 0, fourth = 0] = times;
      // The waits are 0.4 s to 0.8 s, then twice that, and so on.
      assert.ok(second - first >= 400, resource);
      assert.ok(third - second >= 800, resource);
      assert.ok(fourth - third >= 1_600, resource);
    }
    demo.proxy.intercept = () => 'pass';
    await demo.operator.ready();
  });

  it('says so, loses nothing and stays calm while the API server is away for 60 s', async () => {
    await outage.over;
    await outage.assertOvercome(clean);
  });

  /** A run whose policy has its changed spec, and nothing has happened yet that a gap could hide. */
  async function settled(run: string): Promise<Workload> {
    // A new operator each time: what it has been through makes one wait longer.
    await demo.restartOperator();
    const workload = new Workload(demo, oracle, run);
    await workload.fill();
    await workload.changeSpec();
    return workload;
  }

  /** How many lists of what is watched the operator asked for since so many requests; addresses of services apart. */
  function lists(since: number): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const request of demo.proxy.requests.slice(since)) {
      const resource = WATCHED.find((watched) => isList(request, watched));
      if (resource !== undefined) counts[resource] = (counts[resource] ?? 0) + 1;
    }
    return Object.fromEntries(Object.entries(counts).sort());
  }

  /** What is watched and not among these: a watch of what did not change may be opened again after all is right. */
  function notIn(resources: ReadonlySet<string>): readonly Watched[] {
    return WATCHED.filter((resource) => !resources.has(resource));
  }

  /** Tenants delete and change children, and namespaces come and go; resolves when all is right again. */
  async function perturb(workload: Workload): Promise<void> {
    await Promise.all([workload.tamper(), workload.moveNamespaces()]);
  }

  /** Resolves when the last of what {@link perturb} does itself is done. */
  async function isPerturbed(workload: Workload): Promise<void> {
    await eventually(async () => {
      const released = await demo.child(workload.namespace(4), workload.run, 'allow-web');
      assert.equal(released.metadata.ownerReferences, undefined);
      await demo.kube.namespaces.get(workload.namespace(11));
    });
  }
});

/** How many heals the drift counters of a policy tell of. */
function sumOfHeals(drift: Readonly<Record<string, number>>): number {
  return Object.entries(drift).reduce((sum, [labels, count]) => (labels.endsWith(' healed') ? sum + count : sum), 0);
}

/** Restarts of the API server, by these signals in turn. */
class Restarts {
  readonly #demo: Demo;
  readonly #signals: readonly Signal[];
  #running: Promise<void> | undefined;
  #count = 0;

  constructor(demo: Demo, signals: readonly Signal[]) {
    this.#demo = demo;
    this.#signals = signals;
  }

  /** How many were begun. */
  get count(): number {
    return this.#count;
  }

  /** Restarts it; resolves when it serves again. */
  async now(): Promise<void> {
    this.#begin();
    await this.#running;
  }

  /** Performs a step, and restarts the API server each time when writes of so many children have been sent to it. */
  async afterWrites(points: readonly number[], step: () => Promise<void>): Promise<void> {
    const before = this.#count;
    // Not answers: those to what a dying API server has done are lost. Not requests: some are made twice.
    const written = new Set<string>();
    this.#demo.proxy.intercept = (request) => {
      if (isWrite(request, 'networkpolicies')) {
        const child = `${request.url.pathname} ${request.method === 'POST' ? nameIn(request.body) : ''}`;
        if (!written.has(child) && points.includes(written.add(child).size)) this.#begin();
      }
      return 'pass';
    };
    await step();
    await this.#running;
    this.#demo.proxy.intercept = () => 'pass';
    assert.equal(this.#count - before, points.length, `only ${written.size} children were written`);
  }

  #begin(): void {
    const signal = this.#signals[this.#count++ % this.#signals.length];
    const before = this.#running;
    const restart = async (): Promise<void> => {
      // Without one that is under way the signal is sent at once, in the midst of the work.
      if (before !== undefined) await before;
      await this.#demo.controlPlane.restartAPIServer(signal);
      if (this.#running === running) this.#running = undefined;
    };
    const running = restart();
    this.#running = running;
  }
}

function nameIn(body: string): string {
  return (JSON.parse(body) as { metadata: { name: string } }).metadata.name;
}

/** What a probe endpoint answers. */
interface Probe {
  readonly status: number;
  readonly text: string;
}

async function probe(operator: OperatorProcess, endpoint: 'readyz' | 'livez'): Promise<Probe> {
  const answer = await fetch(`${operator.url('health')}/${endpoint}?verbose`);
  return { status: answer.status, text: await answer.text() };
}

/** Resolves when the operator watches everything again. */
async function becomesReady(operator: OperatorProcess): Promise<void> {
  await eventually(
    async () => {
      const { status, text } = await probe(operator, 'readyz');
      assert.equal(status, 200, text);
    },
    { timeout: RECOVERY_MS },
  );
}

/** A control plane of its own whose API server is away for a minute, in the midst of a roll-out. */
class Outage {
  /** Resolves when all is right again; rejects as soon as something is wrong. */
  readonly over: Promise<void>;
  readonly #demo: Demo;
  readonly #oracle: Oracle;
  readonly #workload: Workload;
  /** What was logged while the API server was away. */
  #logged: readonly LogLine[] = [];

  private constructor(demo: Demo, oracle: Oracle) {
    this.#demo = demo;
    this.#oracle = oracle;
    this.#workload = new Workload(demo, oracle, 'outage');
    this.over = this.#pass();
    // It is awaited later, by the test that is about it.
    this.over.catch(() => undefined);
  }

  /** Starts the control plane and lets the minute begin. */
  static async begin(): Promise<Outage> {
    const demo = await Demo.start({ faults: true });
    return new Outage(demo, await Oracle.start(demo.kube));
  }

  async end(): Promise<void> {
    await this.over.catch(() => undefined);
    await this.#oracle[Symbol.asyncDispose]();
    await this.#demo.stop();
  }

  /** Fails unless all is as after a run without an outage, and the log was calm. */
  async assertOvercome(clean: Outcome): Promise<void> {
    await assertSameOutcome(this.#demo, this.#oracle, this.#workload.run, clean, { driftTotals: true });
    assert.equal(this.#demo.operator.stderr, '');
    assertNoLoop(this.#logged);
  }

  async #pass(): Promise<void> {
    const { operator, controlPlane } = this.#demo;
    await this.#workload.fill();
    await this.#stopInRollOut();
    const stoppedAt = performance.now();
    const logged = operator.log.length;
    await eventually(async () => {
      assert.equal((await probe(operator, 'readyz')).status, 500);
    });
    await consistently(
      async () => {
        const { status, text } = await probe(operator, 'readyz');
        assert.equal(status, 500);
        for (const resource of WATCHED) assert.match(text, new RegExp(`cache-${resource} failed`));
        assert.equal((await probe(operator, 'livez')).status, 200, 'a restart would not help');
      },
      { for: OUTAGE_MS - (performance.now() - stoppedAt), interval: 500 },
    );
    this.#logged = operator.log.slice(logged);

    await controlPlane.startAPIServer();
    const backAt = performance.now();
    await this.#workload.tamper();
    const healedMs = performance.now() - backAt;
    assert.ok(healedMs < RECOVERY_MS, `healed ${healedMs} ms after the API server was back`);
    await becomesReady(operator);
    await this.#workload.compliant(10);
    const compliantMs = performance.now() - backAt;
    assert.ok(compliantMs < RECOVERY_MS, `all is done ${compliantMs} ms after the API server was back`);
    await this.#workload.moveNamespaces();
  }

  /** Changes the spec, and kills the API server when all children are made and changed, but not all deleted. */
  async #stopInRollOut(): Promise<void> {
    const { proxy, controlPlane } = this.#demo;
    const stopped = Promise.withResolvers<undefined>();
    let answered = 0;
    const onAnswer = (): void => {
      if (++answered < 20) return;
      const stopping = controlPlane.stopAPIServer('SIGKILL');
      stopped.resolve(stopping.then(() => undefined));
    };
    const isCounted = (request: ProxiedRequest): boolean =>
      isWrite(request, 'networkpolicies') && request.method !== 'DELETE';
    proxy.intercept = (request) => (isCounted(request) ? { onAnswer } : 'pass');
    await this.#demo.change(this.#workload.run, CHANGED_SPEC);
    await stopped.promise;
    proxy.intercept = () => 'pass';
  }
}

/**
 * Fails unless each line, its time, error and count apart, comes once, or each time when its count of failures has
 * doubled: the number of lines then grows with the logarithm of the number of tries.
 */
function assertNoLoop(log: readonly LogLine[]): void {
  const counts = new Map<string, number[]>();
  for (const { msg, resource, controller, key, failures } of log) {
    const line = JSON.stringify({ msg, resource, controller, key });
    counts.set(line, [...(counts.get(line) ?? []), Number(failures)]);
  }
  for (const [line, failures] of counts) {
    const [first = 0] = failures;
    const doubling = failures.map((_, index) => first * 2 ** index);
    assert.ok(
      failures.length === 1 || failures.join() === doubling.join(),
      `${line} after ${failures.join()} failures`,
    );
  }
}

/** The text of an event that a proxy puts in. */
function textOf(edit: LineEdit): string {
  return typeof edit === 'string' ? edit : edit.text;
}
