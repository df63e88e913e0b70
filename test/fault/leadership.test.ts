import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { Demo } from '../support/demo.ts';
import { type Fault, FaultProxy, type ProxiedRequest } from '../support/fault-proxy.ts';
import { isWatch, isWrite, resourceOf, tooManyRequests } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { OperatorProcess } from '../support/operator.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { ELECTION_FLAGS, OPERATOR_LEASE, OPERATOR_NAMESPACE } from '../support/service-account.ts';
import { FIRST_RULES, quiet, Workload } from '../support/workload.ts';

/** The defaults, each times 0.3. */
const LEASE_MS = 4_500;
const RENEW_DEADLINE_MS = 3_000;
const RETRY_MS = 600;
const FLAGS = [
  ...ELECTION_FLAGS,
  `--leader-election-lease-duration=${LEASE_MS}ms`,
  `--leader-election-renew-deadline=${RENEW_DEADLINE_MS}ms`,
  `--leader-election-retry-period=${RETRY_MS}ms`,
];
/** Most requests that an operator has in flight beside its Lease: workers, and eight more. */
const CONNECTIONS = 16 + 8;

/** Namespaces of a run: enough that a fill is still busy when the leader is stopped in its midst. */
const NAMESPACES = 40;
/** Writes of a NetworkPolicy, of 160 in a run, after which the leader is stopped. */
const STOP_AT = LONG_FORM ? [1, 30, 60, 90, 120] : [30];
/** Pause between two deletions by a tenant that go on for as long as a takeover takes. */
const SLOWLY_MS = 150;

interface Lease extends KubernetesObject {
  spec?: { leaseTransitions?: number };
}

/** An operator with a proxy of its own, by which its requests are told from those of the other one. */
interface Replica {
  readonly operator: OperatorProcess;
  readonly proxy: FaultProxy;
}

describe('a leader that is stopped or cut off', function () {
  this.timeout(180_000);
  let demo: Demo;
  let oracle: Oracle;
  let clean: Outcome;
  let leader: Replica;
  let follower: Replica;

  before(async () => {
    demo = await Demo.start({ faults: true, flags: FLAGS });
    oracle = await Oracle.start(demo.kube);
    leader = { operator: demo.operator, proxy: demo.proxy };
    await leads(leader);
    const proxy = await FaultProxy.start(demo.serviceAccount);
    follower = { operator: await OperatorProcess.start({ kubeconfig: proxy.kubeconfig, flags: FLAGS }), proxy };
    const workload = new Workload(demo, oracle, 'clean');
    await workload.fill(NAMESPACES);
    await deleteChildren(workload);
    await eventually(() => quiet(leader.proxy, 3_000), { timeout: 60_000 });
    clean = await oracle.outcome('clean');
  });

  after(async () => {
    for (const { operator, proxy } of [leader, follower]) {
      operator.signal('SIGCONT');
      proxy.resume();
    }
    const [second] = [leader, follower].filter(({ operator }) => operator !== demo.operator);
    await second?.operator.stop();
    await second?.proxy.close();
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  beforeEach(async () => {
    // Whoever leads after the test before.
    if (await isLeading(follower)) [leader, follower] = [follower, leader];
    await leads(leader);
  });

  afterEach(() => {
    for (const { proxy } of [leader, follower]) proxy.intercept = () => 'pass';
  });

  for (const k of STOP_AT) {
    it(`writes nothing when it runs again after it was stopped at write ${k}, and another one took over`, async () => {
      const workload = new Workload(demo, oracle, `stopped${k}`);
      const [old, other] = [leader, follower];
      const stop = stopWithWorkInHand(old, k);
      await workload.fill(NAMESPACES);
      assert.ok(stop.inFlight > 0 && stop.waiting > 0, JSON.stringify(stop));
      await leads(other);
      const writesBefore = old.proxy.requests.length;
      const linesBefore = old.operator.log.length;
      const otherLinesBefore = other.operator.log.length;
      const { leaseTransitions } = await lease();

      // Now nobody but the former leader could heal, and it sees the drift as soon as it runs again.
      other.operator.signal('SIGSTOP');
      const drifted = Promise.withResolvers<undefined>();
      const deleting = deleteChildren(workload, {
        onDelete: (n) => {
          if (n === 3) drifted.resolve(undefined);
        },
      });
      await drifted.promise;
      old.operator.signal('SIGCONT');
      await follows(old);
      await consistently(
        () => {
          assert.deepEqual(changesSince(old, writesBefore), []);
        },
        { for: 1_000 },
      );
      assert.equal((await demo.children(workload.namespace(1))).size, FIRST_RULES.length - 1);
      other.operator.signal('SIGCONT');

      await deleting;
      // On a busy machine it may have been stopped past its renew deadline; then it leads anew, of a Lease that is its own.
      const uncountedDrift = other.operator.log.slice(otherLinesBefore).some(({ msg }) => msg === 'Lost leadership');
      await endsAsClean(workload.run, { uncountedDrift });
      assert.deepEqual(changesSince(old, writesBefore), []);
      assert.deepEqual((await lease()).leaseTransitions, leaseTransitions);
      const said = old.operator.log.slice(linesBefore).map(({ msg }) => msg);
      assert.ok(said.includes('Lost leadership') && !said.includes('Became leader'), said.join());
    });
  }

  it('stops to write before another one takes over, when it cannot renew but could write', async () => {
    const workload = new Workload(demo, oracle, 'unrenewed');
    const [old, other] = [leader, follower];
    await workload.fill(NAMESPACES);
    const [oldBefore, otherBefore] = [old.proxy.requests.length, other.proxy.requests.length];
    let cutOffAt = Number.POSITIVE_INFINITY;
    old.proxy.intercept = (request) =>
      resourceOf(request) === 'leases' && request.at > cutOffAt ? 'black-hole' : 'pass';
    const deletedAt: number[] = [];
    const deleting = deleteChildren(workload, {
      everyMs: SLOWLY_MS,
      onDelete: (n) => {
        deletedAt.push(performance.now());
        if (n === 3) cutOffAt = performance.now();
      },
    });
    await leads(other);
    assert.equal(await isLeading(old), false, 'two leaders by their metrics');
    await deleting;
    await endsAsClean(workload.run, { uncountedDrift: true });

    const takenAt = other.proxy.requests.slice(otherBefore).find((request) => isWrite(request, 'leases'))?.at;
    const lastWriteAt = old.proxy.requests.slice(oldBefore).findLast(isChange)?.at;
    const firstWriteAt = other.proxy.requests.slice(otherBefore).find(isChange)?.at;
    assert.ok(takenAt !== undefined && lastWriteAt !== undefined && firstWriteAt !== undefined);
    assert.ok(lastWriteAt > cutOffAt, 'it could write for a while after its last renewal');
    assert.ok(lastWriteAt < takenAt, `wrote ${lastWriteAt - takenAt} ms after another one took over`);
    assert.ok(firstWriteAt > takenAt);
    const unhealed = deletedAt.filter((at) => at > lastWriteAt && at < takenAt);
    assert.ok(unhealed.length > 1, 'there was something to write all the while');
    old.proxy.intercept = () => 'pass';
    await follows(old);
  });

  it('follows when a partition of the network ends, and what it had sent before harms nothing', async () => {
    const workload = new Workload(demo, oracle, 'partitioned');
    const [old, other] = [leader, follower];
    const ended = Promise.withResolvers<undefined>();
    const landed: number[] = [];
    let writes = 0;
    old.proxy.intercept = async (request): Promise<Fault> => {
      if (!isWrite(request, 'networkpolicies') || ++writes < 30) return 'pass';
      // What is sent by now lies somewhere on the way.
      if (writes === 30) old.proxy.stall();
      await ended.promise;
      return { onAnswer: (status) => landed.push(status) };
    };
    const filling = workload.fill(NAMESPACES);
    await leads(other);
    assert.equal(await isLeading(old), false, 'two leaders by their metrics');
    await filling;
    await deleteChildren(workload);
    ended.resolve(undefined);
    old.proxy.resume();
    await follows(old);
    await eventually(() => {
      assert.ok(landed.length > 0 && landed.length === writes - 29, `${landed.length} of ${writes - 29} came`);
    });
    await endsAsClean(workload.run);
    // Each is guarded: a create by its name, anything else by the resourceVersion.
    assert.deepEqual([...new Set(landed)], [409]);
    assert.ok(landed.length <= CONNECTIONS, `${landed.length} writes came after the partition`);
  });

  it('has a write that reaches the API server late taken back by the other one', async () => {
    const workload = new Workload(demo, oracle, 'late');
    const [old, other] = [leader, follower];
    const [namespace, child] = [workload.namespace(1), childName('late', 'default-deny')];
    const held = Promise.withResolvers<undefined>();
    old.proxy.intercept = async (request): Promise<Fault> => {
      if (isWrite(request, 'networkpolicies') && request.body.includes(child)) {
        old.operator.signal('SIGSTOP');
        await held.promise;
      }
      return 'pass';
    };
    await workload.fill(1);
    await leads(other);
    await demo.optOut(namespace);
    await demo.holds(namespace, workload.run, []);
    held.resolve(undefined);
    const events = await eventually(async () => {
      const seen = (await oracle.events(workload.run)).filter(({ name }) => name === child);
      assert.deepEqual(
        seen.map(({ type }) => type),
        ['ADDED', 'DELETED', 'ADDED', 'DELETED'],
      );
      return seen;
    });
    const [, , landed, removed] = events;
    const tookMs = (removed?.at ?? Number.NaN) - (landed?.at ?? Number.NaN);
    assert.ok(tookMs < 5_000, `took ${tookMs} ms`);
    old.operator.signal('SIGCONT');
    await follows(old);
    await workload.compliant(0);
  });

  it('watches all again as soon as its Lease is reached again, however long each watch would still wait', async () => {
    const { proxy } = follower;
    const watched = new Set(proxy.requests.filter((request) => isWatch(request)).map((request) => resourceOf(request)));
    assert.deepEqual(
      [...watched].sort(),
      ['baselinepolicies', 'namespaces', 'networkpolicies', 'services'],
      'what is watched by default',
    );
    const refusedAt = proxy.requests.length;
    const tries = (since: number): Map<string, ProxiedRequest[]> =>
      Map.groupBy(
        proxy.requests.slice(since).filter((request) => watched.has(resourceOf(request))),
        (request) => resourceOf(request),
      );
    proxy.intercept = () => 'reset';
    proxy.cut();
    // After the fifth failure each waits for 6.4 s at least.
    await eventually(
      () => {
        for (const resource of watched) assert.ok((tries(refusedAt).get(resource)?.length ?? 0) >= 5, resource);
      },
      { timeout: 30_000 },
    );
    const passedAt = proxy.requests.length;
    proxy.intercept = () => 'pass';
    await eventually(
      () => {
        assert.deepEqual(new Set(tries(passedAt).keys()), watched);
      },
      { timeout: 30_000 },
    );
    const [reached] = proxy.requests.slice(passedAt).filter((request) => resourceOf(request) === 'leases');
    for (const [resource, [first]] of tries(passedAt)) {
      const waitedMs = (first?.at ?? Number.NaN) - (reached?.at ?? Number.NaN);
      assert.ok(waitedMs < 1_000, `${resource} waited for ${waitedMs} ms`);
    }
  });

  it('leaves two operators that write nothing when all is done', async () => {
    await Promise.all([leader, follower].map(({ proxy }) => quiet(proxy, 10_000)));
  });

  async function lease(): Promise<{ leaseTransitions?: number }> {
    const { spec = {} } = await demo.kube
      .resource<Lease>('coordination.k8s.io/v1', 'leases', OPERATOR_NAMESPACE)
      .get(OPERATOR_LEASE);
    return spec;
  }

  /** Which of two is the leader by its own metric. */
  async function isLeading({ operator }: Replica): Promise<boolean> {
    return (await operator.metric(`leader_election_master_status{name="${OPERATOR_LEASE}"}`)) === 1;
  }

  async function leads(replica: Replica): Promise<void> {
    await eventually(
      async () => {
        assert.equal(await isLeading(replica), true);
      },
      { timeout: 4 * LEASE_MS },
    );
  }

  async function follows(replica: Replica): Promise<void> {
    await eventually(async () => {
      assert.equal(await isLeading(replica), false);
    });
    assert.equal((await fetch(`${replica.operator.url('health')}/readyz`)).status, 200, 'a follower is ready too');
  }

  /** A tenant deletes one child of each namespace, one after the other; resolves when all are healed. */
  async function deleteChildren(
    workload: Workload,
    { everyMs = 0, onDelete = (): void => undefined }: { everyMs?: number; onDelete?: (n: number) => void } = {},
  ): Promise<void> {
    const child = childName(workload.run, 'allow-monitoring');
    for (let n = 1; n <= NAMESPACES; n++) {
      const namespace = workload.namespace(n);
      await oracle.tamper(namespace, child, () => demo.kube.networkPolicies(namespace).delete(child));
      onDelete(n);
      await delay(everyMs);
    }
    for (let n = 1; n <= NAMESPACES; n++) {
      await demo.holds(workload.namespace(n), workload.run, FIRST_RULES, { timeout: 60_000 });
    }
    await workload.compliant(NAMESPACES);
  }

  /**
   * Fails unless the run ended as the clean one did, and nothing was opened or broken on the way. Drift from a time
   * without a leader is healed, but not counted: the next leader cannot know whether the child was right before.
   */
  async function endsAsClean(run: string, { uncountedDrift = false } = {}): Promise<void> {
    const comparable = (outcome: Outcome): unknown =>
      JSON.parse(
        uncountedDrift
          ? JSON.stringify(outcome).replaceAll(/(?<="(detected|healed)Total":)\d+/g, '0')
          : JSON.stringify(outcome),
      );
    await eventually(
      async () => {
        assert.deepEqual(comparable(await oracle.outcome(run)), comparable(clean));
      },
      { timeout: 60_000, interval: 200 },
    );
    await oracle.assertNothingOpenedOrBroken();
  }
});

/** Writes, but those of the Lease and of Events: an Event of what was done before may be told later. */
function isChange(request: ProxiedRequest): boolean {
  return request.method !== 'GET' && !['leases', 'events'].includes(resourceOf(request));
}

/** Requests that wrote what a leader writes, as texts. */
function changesSince({ proxy }: Replica, mark: number): string[] {
  return proxy.requests
    .slice(mark)
    .filter(isChange)
    .map(({ method, url }) => `${method} ${url.pathname}`);
}

/** What a leader had in hand when it was stopped. */
interface WorkInHand {
  /** Writes that were on the way. */
  inFlight: number;
  /** Writes that waited to be sent again, as the API server had asked. */
  waiting: number;
}

/**
 * Stops a leader soon after its k-th write of a NetworkPolicy from now: some are on the way, some wait for their Retry-After,
 * more are to come, and a renewal of the Lease is on the way too.
 */
function stopWithWorkInHand({ operator, proxy }: Replica, k: number): WorkInHand {
  const inHand: WorkInHand = { inFlight: 0, waiting: 0 };
  let writes = 0;
  let stopped = false;
  proxy.intercept = async (request) => {
    if (stopped) return 'pass';
    if (isWrite(request, 'leases') && inHand.inFlight > 0 && inHand.waiting > 0) {
      operator.signal('SIGSTOP');
      stopped = true;
    }
    if (!isWrite(request, 'networkpolicies') || ++writes < k) return 'pass';
    if (writes % 2 === 0) {
      inHand.waiting++;
      return tooManyRequests(2);
    }
    inHand.inFlight++;
    await delay(300);
    if (!stopped) inHand.inFlight--;
    return 'pass';
  };
  return inHand;
}
