import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { DEFAULT_RULES, Demo } from '../support/demo.ts';
import type { FaultProxy, Forwarding, Intercept, ProxiedRequest } from '../support/fault-proxy.ts';
import { type EventFault, faultyWatch, isList, isWatch, isWrite, resourceOf, type Watched } from '../support/faults.ts';
import type { KubeClient, Watch } from '../support/kube.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { assertSameOutcome, quiet, Workload } from '../support/workload.ts';

const WATCHED: readonly Watched[] = ['baselinepolicies', 'namespaces', 'networkpolicies'];

/** What a workload does, in this order; each is awaited. */
const STEPS = ['fill', 'changeSpec', 'tamper', 'moveNamespaces', 'remove'] as const;

type StepName = (typeof STEPS)[number];

/** An event of a workload: in which step it comes, and its id as {@link Witness} gives it, with RUN for the run. */
interface Target {
  readonly step: StepName;
  readonly id: string;
}

/** Events by which the operator learns what somebody else did: nothing but another list can make up for them. */
const NEWS: readonly Target[] = [
  { step: 'fill', id: 'namespaces ADDED RUN-1 #1' },
  { step: 'fill', id: 'baselinepolicies ADDED RUN@1 #1' },
  { step: 'changeSpec', id: 'baselinepolicies MODIFIED RUN@2 #1' },
  { step: 'tamper', id: 'networkpolicies DELETED RUN-1/RUN.allow-dns #1' },
  { step: 'tamper', id: 'networkpolicies MODIFIED RUN-2/RUN.default-deny #1' },
  { step: 'tamper', id: 'networkpolicies MODIFIED RUN-3/RUN.allow-monitoring #2' },
  { step: 'tamper', id: 'networkpolicies MODIFIED RUN-4/RUN.allow-web #1' },
  { step: 'moveNamespaces', id: 'namespaces MODIFIED RUN-5 #1' },
  { step: 'moveNamespaces', id: 'namespaces ADDED RUN-11 #1' },
  { step: 'remove', id: 'baselinepolicies MODIFIED RUN@3 #1' },
];

/** A NetworkPolicy that is nobody's child. */
const NO_PODS = { podSelector: { matchLabels: { none: 'such' } } };

/** What the operator logs of an event that it cannot read. */
const COMPLAINT = 'expected a watch event';

describe('watches of the operator', () => {
  let silence: Promise<PromiseSettledResult<void>[]>;

  // It takes a minute of waiting, in which the other tests run.
  before(() => {
    silence = Promise.allSettled([sitOutSilence()]);
  });

  after(() => silence);

  describe('that are slow', function () {
    this.timeout(300_000);
    /** How long an event is on its way to the operator. */
    const delayMs = 5_000;
    let demo: Demo;
    let oracle: Oracle;
    let witness: Witness;

    before(async () => {
      demo = await Demo.start({ faults: true });
      oracle = await Oracle.start(demo.kube);
      witness = await Witness.start(demo.kube);
    });

    after(async () => {
      witness.stop();
      await oracle[Symbol.asyncDispose]();
      await demo.stop();
    });

    it('bring no second write of any object when they are five seconds behind', async () => {
      const { proxy } = demo;
      const refused: string[] = [];
      const answers: Intercept = (request) => {
        if (!isWrite(request, 'networkpolicies', 'baselinepolicies')) return 'pass';
        const onAnswer = (status: number): void => {
          if (status >= 400) refused.push(`${status} ${request.method} ${request.url.pathname}`);
        };
        return { onAnswer };
      };
      proxy.intercept = answers;
      const clean = await performClean(demo, oracle);
      const cleanWrites = writesOf(proxy, 'clean');

      let delayed = 0;
      await reopenWatches(
        proxy,
        () => ({
          editLine: async (line) => {
            const event = await witness.find(line);
            if (event === undefined) return line;
            delayed++;
            await delay(Math.max(1, event.at + delayMs - performance.now()));
            return line;
          },
        }),
        answers,
      );
      const slow = new Workload(demo, oracle, 'slow');
      await slow.perform();
      await eventually(
        async () => {
          assert.deepEqual(await oracle.outcome('slow'), clean.live);
        },
        { timeout: 60_000, interval: 200 },
      );
      await slow.remove();
      await assertSameOutcome(demo, oracle, 'slow', clean.removed);

      assert.deepEqual(refused, [], 'writes that the API server refused');
      assert.deepEqual(writesOf(proxy, 'slow'), cleanWrites);
      const statuses = proxy.requests.filter(({ url }) => url.pathname.endsWith('/baselinepolicies/slow/status'));
      const twice = statuses.filter(({ body }, index) => body === statuses[index - 1]?.body);
      assert.deepEqual(twice, [], 'statuses that were written twice');
      assert.ok(Object.keys(cleanWrites).length > 100, `expected more writes, got ${JSON.stringify(cleanWrites)}`);
      assert.ok(delayed > 100, `expected events to be delayed, were ${delayed}`);
    });

    it('bring no second write, and count no drift, when they lose what a write did before its answer comes', async () => {
      const { proxy, kube } = demo;
      const children = DEFAULT_RULES.map((rule) => childName('lossy', rule));
      const lost: string[] = [];
      const overtaken: string[] = [];
      const writes: string[] = [];
      await reopenWatches(
        proxy,
        () => ({
          editLine: async (line) => {
            const { id = '' } = (await witness.find(line)) ?? {};
            const [child] = children.filter((name) => id.endsWith(`/${name} #1`));
            if (id.includes('later')) overtaken.push(id);
            if (child === undefined) return line;
            lost.push(child);
            await kube.networkPolicies('default').create({ metadata: { name: `later.${child}` }, spec: NO_PODS });
            return '';
          },
        }),
        (request) => {
          if (!isWrite(request, 'networkpolicies')) return 'pass';
          writes.push(`${request.method} ${nameIn(request)}`);
          // By then the watch has gone on past the event that it lost.
          return { delayMs: 1_000 };
        },
      );
      const [namespace = ''] = await demo.createNamespaces('lossy', 1);
      await demo.policy('lossy');
      await demo.compliant('lossy', 1);
      await quiet(proxy, 3_000);

      assert.deepEqual(lost.sort(), children);
      assert.equal(overtaken.length, children.length);
      await demo.holds(namespace, 'lossy');
      assert.deepEqual(
        writes.sort(),
        children.map((name) => `POST ${name}`),
      );
      assert.deepEqual(await demo.drift('lossy'), {});
    });
  });

  describe('and any one event of them', function () {
    this.timeout(LONG_FORM ? 3 * 3_600_000 : 300_000);
    const resyncPeriodMs = 5_000;
    /** Time from a fault to the next list: that of the next resync, and not of the one after it. */
    const relistWithinMs = resyncPeriodMs + 4_000;
    /** Sample that the short form takes of events beside the {@link NEWS}; `SEED=n` takes another one. */
    const seed = Number(process.env['SEED'] ?? 1);
    let demo: Demo;
    let oracle: Oracle;
    let witness: Witness;
    let clean: CleanRun;
    /** Ids of events that are still to be hit, and how. */
    const due = new Map<string, EventFault>();
    /** Ids of events that were hit, and when. */
    const hits = new Map<string, number>();
    let batches = 0;

    before(async () => {
      demo = await Demo.start({ faults: true, flags: [`--resync-period=${resyncPeriodMs}ms`] });
      oracle = await Oracle.start(demo.kube);
      witness = await Witness.start(demo.kube);
      clean = await performClean(demo, oracle);
      await reopenWatches(demo.proxy, () => ({
        editLine: async (line) => {
          const { id = '' } = (await witness.find(line)) ?? {};
          const fault = due.get(id);
          if (fault === undefined) return line;
          due.delete(id);
          hits.set(id, performance.now());
          return (await faultyWatch(() => fault).editLine?.(line)) ?? '';
        },
      }));
    });

    after(async () => {
      witness.stop();
      await oracle[Symbol.asyncDispose]();
      await demo.stop();
    });

    it('can be lost: the next periodic resync makes up for it', async () => {
      // Nobody notices a loss, so losses of several runs do not help each other.
      await perturb(['lose'], 4);
    });

    it('can be garbled, or replaced by something else: that is noticed, and a new list makes up for it', async () => {
      await perturb(['garble', 'replace'], 1);
    });

    /**
     * Makes the faults to a sample of events, in the long form to all, in so many runs at a time. Fails unless each came,
     * and did no harm.
     */
    async function perturb(faults: readonly EventFault[], runsAtATime: number): Promise<void> {
      const events = targetsOf(witness, clean);
      assert.deepEqual(
        NEWS.filter((target) => !events.some(({ id }) => id === target.id)),
        [],
        'events that the clean run did not have',
      );
      let pending = LONG_FORM
        ? faults.flatMap((fault) => events.map((target) => ({ ...target, fault })))
        : sample(events, seed, runsAtATime).map((target, index) => ({
            ...target,
            fault: faults[index % faults.length] ?? 'lose',
          }));
      // A list that is made just then can take the place of an event: such a run tries nothing.
      for (let round = 1; pending.length > 0; round++) {
        assert.ok(round <= 3, `expected these to come as events: ${pending.map(({ id }) => id).join(', ')}`);
        const missed: PerturbedTarget[] = [];
        for (const batch of chunks(arrange(pending), runsAtATime)) missed.push(...(await performBatch(batch)));
        pending = missed;
      }
    }

    /** Performs runs at the same time, each with its faults. Returns those that never came to be. */
    async function performBatch(batch: readonly (readonly PerturbedTarget[])[]): Promise<PerturbedTarget[]> {
      const name = `batch${++batches}`;
      const runs = batch.map((targets, index) => {
        const workload = new Workload(demo, oracle, `${name}-${index + 1}`);
        const aimed = targets.map((target) => ({ target, id: target.id.replaceAll('RUN', workload.run) }));
        return { workload, aimed, laps: [] as Lap[] };
      });
      for (const { target, id } of runs.flatMap(({ aimed }) => aimed)) due.set(id, target.fault);
      const logged = demo.operator.log.length;
      try {
        await Promise.all(runs.map(({ workload, laps }) => performSteps(workload, STEPS.slice(0, -1), laps)));
        await assertSameOutcome(demo, oracle, name, repeated(clean.live, runs.length));
        await Promise.all(runs.map(({ workload, laps }) => performSteps(workload, ['remove'], laps)));
        await eventually(async () => {
          assert.deepEqual(await oracle.outcome(name), repeated(clean.removed, runs.length));
        });
        await oracle.assertNothingOpenedOrBroken();
        for (const { workload, aimed, laps } of runs) {
          for (const { target, id } of aimed) {
            const hitAt = hits.get(id);
            const step = laps.find((lap) => lap.step === target.step);
            if (hitAt !== undefined && step !== undefined && isNews(target)) assertTold(workload.run, id, hitAt, step);
          }
        }
      } catch (error) {
        const faults = runs.flatMap(({ aimed }) => aimed.map(({ target, id }) => `${target.fault} ${id}`));
        throw new Error(`${name}, SEED=${seed}, faults: ${faults.join('; ')}: ${String(error)}`, { cause: error });
      }
      const complaints = demo.operator.log.slice(logged).filter(({ error }) => String(error).includes(COMPLAINT));
      const complained = new Set(complaints.map(({ resource }) => resource));
      // The fault may hit a watch that the operator has just ended, to list.
      const isMissed = ({ target, id }: { target: PerturbedTarget; id: string }): boolean =>
        due.delete(id) || (target.fault !== 'lose' && isNews(target) && !complained.has(id.split(' ')[0]));
      return runs.flatMap(({ aimed }) => aimed.filter(isMissed).map(({ target }) => target));
    }

    /** Fails unless the next list told the operator what it had missed, in time, and it acted on that before another one. */
    function assertTold(run: string, id: string, hitAt: number, step: Lap): void {
      const { requests } = demo.proxy;
      // By their first pages: after enough runs there are more namespaces than fit on one.
      const lists = requests.filter(
        (request) =>
          request.at > hitAt && isList(request, id.split(' ')[0]) && !request.url.searchParams.has('continue'),
      );
      const [told = Infinity, toldAgain = Infinity] = lists.map(({ at }) => at);
      const took = Math.round(told - hitAt);
      assert.ok(took <= relistWithinMs, `${id}: expected a list within ${relistWithinMs} ms, came after ${took} ms`);
      assert.ok(told < step.endedAt, `${id}: expected ${step.step} to wait for a list`);
      const write = requests.find((request) => request.at > told && isWriteOf(run, request));
      assert.ok(
        write !== undefined && write.at < toldAgain,
        `${id}: expected the operator to act after the first list`,
      );
    }
  });

  describe('that fall silent', function () {
    this.timeout(180_000);

    it('are noticed within a minute, and all that happened meanwhile is healed', async () => {
      const [result] = await silence;
      if (result?.status !== 'fulfilled') throw result?.reason;
    });
  });
});

/** Lets all watches fall silent at once, and fails unless the operator finds that out. Takes a minute. */
async function sitOutSilence(): Promise<void> {
  /** A watch is opened again after 50 s of silence; the rest is for the heal. */
  const noticedWithinMs = 60_000;
  const demo = await Demo.start({ faults: true });
  try {
    const { proxy, kube } = demo;
    const [one = ''] = await demo.settled('silent', 2);
    const [other = ''] = await demo.settled('other', 1);
    // The answer to the write of a status would tell what a watch does not.
    await demo.compliant('silent', 2);
    await demo.compliant('other', 1);
    const swallowed = new Map<string, number>();
    let stalled = false;
    await reopenWatches(proxy, (resource) => {
      // Connections of before are dead; new ones work, and so do requests.
      const survives = stalled;
      return {
        editLine: (line) => {
          if (survives || !stalled) return line;
          swallowed.set(resource, (swallowed.get(resource) ?? 0) + 1);
          return { text: '', then: 'silence' };
        },
      };
    });
    const restarts = await watchMetric(demo, 'watch_restarts_total');
    const before = proxy.requests.length;

    stalled = true;
    const startedAt = performance.now();
    const wallClock = Date.now() / 1000;
    await kube.networkPolicies(one).delete(childName('silent', 'allow-dns'));
    const late = await demo.namespace('silent');
    await demo.change('other', { rules: { allowSameNamespace: { enabled: true } } });
    await consistently(
      async () => {
        assert.equal(await kube.networkPolicies(one).find(childName('silent', 'allow-dns')), undefined);
        assert.deepEqual(await kube.networkPolicies(late).list(), []);
        assert.equal(await kube.networkPolicies(other).find(childName('other', 'allow-same-namespace')), undefined);
        const last = await watchMetric(demo, 'watch_last_event_timestamp_seconds');
        for (const resource of WATCHED) {
          assert.ok(
            (last[resource] ?? Infinity) <= wallClock,
            `${resource}: an event at ${last[resource] ?? 'no time'}`,
          );
        }
      },
      { for: 35_000, interval: 500 },
    );
    const left = (): { timeout: number } => ({ timeout: startedAt + noticedWithinMs - performance.now() });
    await demo.holds(one, 'silent', DEFAULT_RULES, left());
    await demo.holds(late, 'silent', DEFAULT_RULES, left());
    await demo.holds(other, 'other', [...DEFAULT_RULES, 'allow-same-namespace'], left());

    assert.deepEqual([...swallowed.keys()].sort(), WATCHED, 'watches that lost an event');
    const now = await watchMetric(demo, 'watch_restarts_total');
    const last = await watchMetric(demo, 'watch_last_event_timestamp_seconds');
    for (const resource of WATCHED) {
      assert.equal(now[resource], (restarts[resource] ?? Number.NaN) + 1, `restarts of the watch of ${resource}`);
      assert.ok((last[resource] ?? 0) > wallClock + 35, `${resource}: the last event was at ${last[resource] ?? 0}`);
    }
    // A watch goes on from where it was: a quiet cluster must not cost a list of everything each minute.
    assert.deepEqual(
      proxy.requests.slice(before).filter((request) => isList(request)),
      [],
    );
  } finally {
    await demo.stop();
  }
}

/** A target, and what happens to it. */
interface PerturbedTarget extends Target {
  readonly fault: EventFault;
}

/** When a step began and ended, by performance.now(). */
interface Lap {
  readonly step: StepName;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** How a workload without faults ended, before and after the removal of its policy, and its way there. */
interface CleanRun {
  readonly live: Outcome;
  readonly removed: Outcome;
  readonly laps: readonly Lap[];
}

/** Performs a workload of the name `clean`. */
async function performClean(demo: Demo, oracle: Oracle): Promise<CleanRun> {
  const workload = new Workload(demo, oracle, 'clean');
  const laps: Lap[] = [];
  await performSteps(workload, STEPS.slice(0, -1), laps);
  // A status is written at most every two seconds.
  await eventually(() => quiet(demo.proxy, 3_000), { timeout: 60_000 });
  const live = await oracle.outcome('clean');
  await performSteps(workload, ['remove'], laps);
  return { live, removed: await oracle.outcome('clean'), laps };
}

async function performSteps(workload: Workload, steps: readonly StepName[], laps: Lap[]): Promise<void> {
  for (const step of steps) {
    const startedAt = performance.now();
    await workload[step]();
    laps.push({ step, startedAt, endedAt: performance.now() });
  }
}

/** What so many runs at a time come to, each like the clean one; they are named `RUN-1` and so on. */
function repeated(clean: Outcome, runs: number): Outcome {
  const copies = Array.from(
    { length: runs },
    (_, index) => JSON.parse(JSON.stringify(clean).replaceAll('RUN', `RUN-${index + 1}`)) as Outcome,
  );
  return {
    networkPolicies: Object.fromEntries(copies.flatMap(({ networkPolicies }) => Object.entries(networkPolicies))),
    statuses: Object.fromEntries(copies.flatMap(({ statuses }) => Object.entries(statuses))),
    counts: Object.fromEntries(copies.flatMap(({ counts }) => Object.entries(counts))),
  };
}

/**
 * All events of the clean run. How often a status is written varies with time: of a policy's events only the first two
 * of each generation count, and the first when it is being removed.
 */
function targetsOf(witness: Witness, { laps }: CleanRun): Target[] {
  return witness.sightings
    .filter(({ id }) => / clean[-@]/.test(id))
    .filter(({ id }) => !/^baselinepolicies MODIFIED clean@([12] #([3-9]|\d\d)|3 #([2-9]|\d\d))$/.test(id))
    .map(({ id, at }) => ({
      step: laps.findLast(({ startedAt }) => startedAt <= at)?.step ?? 'fill',
      id: id.replaceAll('clean', 'RUN'),
    }));
}

function isNews({ id }: Target): boolean {
  return NEWS.some((news) => news.id === id);
}

/** Targets for so many runs, one a step and run: those of {@link NEWS} first, the others by lot. */
function sample(events: readonly Target[], seed: number, runs: number): Target[] {
  const lot = ({ id }: Target): string => createHash('sha256').update(`${seed} ${id}`).digest('hex');
  const others = events.filter((target) => !isNews(target));
  const drawn = [...NEWS, ...others.toSorted((a, b) => (lot(a) < lot(b) ? -1 : 1))];
  return STEPS.flatMap((name) => drawn.filter(({ step }) => step === name).slice(0, runs));
}

/** Shares targets out to runs, one a step and run: each step ends when all is right again. */
function arrange<T extends Target>(targets: readonly T[]): T[][] {
  const steps = Object.values(Object.groupBy(targets, ({ step }) => step));
  const runs = Math.max(...steps.map(({ length }) => length));
  return Array.from({ length: runs }, (_, run) => steps.flatMap((ofStep) => ofStep.slice(run, run + 1)));
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}

/**
 * Sends the watches of the operator another way: cuts those that run, and resolves when new ones are open. Requests go
 * the way of `others`.
 */
async function reopenWatches(
  proxy: FaultProxy,
  way: (resource: string) => Forwarding,
  others: Intercept = () => 'pass',
): Promise<void> {
  const opened = new Set<string>();
  proxy.intercept = (request) => {
    const resource = resourceOf(request);
    if (!isWatch(request) || !WATCHED.some((watched) => watched === resource)) return others(request);
    return { ...way(resource), onAnswer: () => opened.add(resource) };
  };
  proxy.cut();
  await eventually(() => {
    assert.deepEqual([...opened].sort(), WATCHED, 'watches that are open again');
  });
}

/** The value of a metric of watches, by resource. */
async function watchMetric(demo: Demo, name: string): Promise<Partial<Record<Watched, number>>> {
  const metrics = await demo.operator.metrics();
  return Object.fromEntries(WATCHED.map((resource) => [resource, metrics.get(`${name}{resource="${resource}"}`)]));
}

/** Whether the operator writes a child, or the policy, of a run. */
function isWriteOf(run: string, request: ProxiedRequest): boolean {
  const isOfRun = request.url.pathname.split('/').some((part) => part === run || part.startsWith(`${run}-`));
  return isOfRun && isWrite(request, 'networkpolicies', 'baselinepolicies');
}

/**
 * How often the operator wrote each child and finalizer of a run, by method and path. Statuses are left out: how many
 * are written depends on how much time a change takes.
 */
function writesOf(proxy: FaultProxy, run: string): Record<string, number> {
  const writes: Record<string, number> = {};
  for (const request of proxy.requests) {
    const { pathname } = request.url;
    if (!isWriteOf(run, request) || pathname.endsWith('/status')) continue;
    const key = `${request.method} ${pathname} ${nameIn(request)}`.replaceAll(run, 'RUN');
    writes[key] = (writes[key] ?? 0) + 1;
  }
  return writes;
}

/** The name of the object that a write is about. */
function nameIn({ method, url, body }: ProxiedRequest): string {
  if (method === 'POST') return (JSON.parse(body) as KubernetesObject).metadata.name;
  return url.pathname.split('/').at(-1) ?? '';
}

/** An event as a witness saw it. */
interface Sighting {
  /**
   * Resource, type, namespace and name, and the how manieth of these it is: `networkpolicies ADDED a/b.allow-dns #1`. A
   * BaselinePolicy has its generation after the name: `baselinepolicies MODIFIED b@2 #1`.
   */
  readonly id: string;
  /** When it came, by performance.now(). */
  readonly at: number;
}

/** Sees all events of the three resources as they happen, and goes round every fault. */
class Witness {
  /** The events so far; those of one resource are in order. */
  readonly sightings: Sighting[] = [];
  readonly #byRevision = new Map<string, Sighting>();
  readonly #counts = new Map<string, number>();
  readonly #watches: readonly Watch<KubernetesObject>[];

  private constructor(watches: ReadonlyMap<Watched, Watch<KubernetesObject>>) {
    this.#watches = [...watches.values()];
    for (const [resource, watch] of watches) void this.#follow(resource, watch);
  }

  static async start(kube: KubeClient): Promise<Witness> {
    // The API server would end a watch after half an hour.
    const query = { timeoutSeconds: 86_400 };
    return new Witness(
      new Map<Watched, Watch<KubernetesObject>>([
        ['namespaces', await kube.namespaces.watch(query)],
        ['networkpolicies', await kube.networkPolicies().watch(query)],
        ['baselinepolicies', await kube.baselinePolicies.watch(query)],
      ]),
    );
  }

  stop(): void {
    for (const watch of this.#watches) watch.close();
  }

  /** The event that a line of a watch tells of; waits for it. Undefined for a bookmark, or an error. */
  async find(line: string): Promise<Sighting | undefined> {
    const { type, object } = JSON.parse(line) as { type: string; object: KubernetesObject };
    if (type === 'BOOKMARK' || type === 'ERROR') return undefined;
    const { resourceVersion = '' } = object.metadata;
    return eventually(
      () => {
        const sighting = this.#byRevision.get(resourceVersion);
        assert.ok(sighting, `expected the witness to see ${line}`);
        return sighting;
      },
      { interval: 2 },
    );
  }

  async #follow(resource: Watched, watch: Watch<KubernetesObject>): Promise<void> {
    for await (const { type, object, at } of watch) {
      const { namespace, name, generation = 0, resourceVersion = '' } = object.metadata;
      const which = resource === 'baselinepolicies' ? `${name}@${generation}` : name;
      const key = `${resource} ${type} ${namespace === undefined ? '' : `${namespace}/`}${which}`;
      const nth = (this.#counts.get(key) ?? 0) + 1;
      this.#counts.set(key, nth);
      const sighting = { id: `${key} #${nth}`, at };
      this.sightings.push(sighting);
      this.#byRevision.set(resourceVersion, sighting);
    }
  }
}
