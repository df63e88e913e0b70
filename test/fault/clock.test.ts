import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { conditionOf, Demo } from '../support/demo.ts';
import { FaultProxy, type ProxiedRequest } from '../support/fault-proxy.ts';
import { isWatch, resourceOf } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { OperatorProcess } from '../support/operator.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { ELECTION_FLAGS, OPERATOR_LEASE, OPERATOR_NAMESPACE } from '../support/service-account.ts';
import { CHANGED_RULES, quiet, Workload } from '../support/workload.ts';

/** The defaults, each times 0.2. */
const LEASE_MS = 3_000;
const RETRY_MS = 400;
const FLAGS = [
  ...ELECTION_FLAGS,
  `--leader-election-lease-duration=${LEASE_MS}ms`,
  '--leader-election-renew-deadline=2000ms',
  `--leader-election-retry-period=${RETRY_MS}ms`,
];
const HOUR_MS = 3_600_000;
/** How much older than now a time may be that was told just now; milliseconds. */
const TOLERANCE_MS = 60_000;
const AHEAD = ['ahead', HOUR_MS] as const;
const BACK = ['behind', -HOUR_MS] as const;
const WATCHED = ['namespaces', 'networkpolicies', 'baselinepolicies'];
const PRELOAD = new URL('../support/shifted-clock.ts', import.meta.url);

interface Lease extends KubernetesObject {
  spec?: { renewTime?: string };
}

/** An operator with a proxy of its own, by which its requests are told from those of the other one. */
interface Replica {
  readonly operator: OperatorProcess;
  readonly proxy: FaultProxy;
  /** How far its wall clock is ahead; milliseconds. */
  offsetMs: number;
}

describe('a wall clock that is an hour wrong', function () {
  this.timeout(180_000);
  let demo: Demo;
  let oracle: Oracle;
  let clean: Outcome;
  let leader: Replica;
  let follower: Replica;
  /** Replicas beside that of the demo. */
  const started: Replica[] = [];

  before(async () => {
    demo = await Demo.start({ faults: true, flags: FLAGS, env: clock(0, -HOUR_MS, HOUR_MS, -HOUR_MS, HOUR_MS) });
    oracle = await Oracle.start(demo.kube);
    leader = { operator: demo.operator, proxy: demo.proxy, offsetMs: 0 };
    await leads(leader);
    follower = await start(0, HOUR_MS, -HOUR_MS);
    await new Workload(demo, oracle, 'clean').perform();
    await eventually(() => quiet(demo.proxy, 3_000), { timeout: 60_000 });
    clean = await oracle.outcome('clean');
  });

  after(async () => {
    for (const { operator } of started) await operator.stop();
    await Promise.all(started.map(({ proxy }) => proxy.close()));
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  it('changes nothing when the clock of the leader is set back while it runs', async () => {
    await nothingHappensAfterStep(leader, -HOUR_MS);
    await renewedAt(-HOUR_MS);
    await heals(6);
  });

  it('changes nothing when the clock of the leader is set ahead while it runs', async () => {
    await nothingHappensAfterStep(leader, HOUR_MS);
    await renewedAt(HOUR_MS);
    await heals(7);
  });

  it('changes nothing when the clock of a follower is set ahead and back while it runs', async () => {
    await nothingHappensAfterStep(follower, HOUR_MS);
    await nothingHappensAfterStep(follower, -HOUR_MS);
    await heals(8);
  });

  it('does not let a leader that cannot renew go on for longer when its clock is set back', async () => {
    let cutOffAt = Number.NaN;
    leader.proxy.intercept = (request) => {
      if (resourceOf(request) !== 'leases') return 'pass';
      if (Number.isNaN(cutOffAt)) {
        cutOffAt = request.at;
        step(leader, -HOUR_MS);
      }
      return 'black-hole';
    };
    await leads(follower);
    assertTookOver(performance.now() - cutOffAt);
    assert.equal(await isLeading(leader), false, 'two leaders by their metrics');
    leader.proxy.intercept = () => 'pass';
    [leader, follower] = [follower, leader];
    await heals(9);
  });

  it('does not let a follower take over earlier when its clock is set ahead', async () => {
    const { operator } = leader;
    const killedAt = performance.now();
    operator.signal('SIGKILL');
    await operator.exited();
    step(follower, HOUR_MS);
    await leads(follower);
    assertTookOver(performance.now() - killedAt);
    leader = follower;
    await renewedAt(HOUR_MS);
    await heals(10);
  });

  for (const [what, offsetMs] of LONG_FORM ? ([AHEAD, BACK] as const) : ([AHEAD] as const)) {
    it(`changes nothing when it is an hour ${what} from the start`, async () => {
      follower = await start(offsetMs);
      assert.equal(await leader.operator.stop(), 0);
      leader = follower;
      await leads(leader);
      await renewedAt(offsetMs);
      const run = `started-${what}`;
      const workload = new Workload(demo, oracle, run);
      await workload.perform();
      await eventually(
        async () => {
          assert.deepEqual(await oracle.outcome(run), clean);
        },
        { timeout: 60_000, interval: 200 },
      );
      const { status } = await demo.kube.baselinePolicies.get(run);
      assertShifted(conditionOf(status, 'Ready')?.lastTransitionTime, offsetMs);
      await oracle.assertNothingOpenedOrBroken();
      await metricsAreSane();
      await quiet(leader.proxy, 10_000);
    });
  }

  /** Starts one more operator, with a proxy of its own, and a clock that is ahead by these in turn. */
  async function start(...offsetsMs: readonly [number, ...number[]]): Promise<Replica> {
    const proxy = await FaultProxy.start(demo.serviceAccount);
    const env = clock(...offsetsMs);
    const operator = await OperatorProcess.start({ kubeconfig: proxy.kubeconfig, flags: FLAGS, env });
    const replica = { proxy, operator, offsetMs: offsetsMs[0] };
    started.push(replica);
    return replica;
  }

  /** Sets the clock of a replica, which was started with this as the next one. */
  function step(replica: Replica, offsetMs: number): void {
    replica.operator.signal('SIGUSR2');
    replica.offsetMs = offsetMs;
  }

  async function isLeading({ operator }: Replica): Promise<boolean> {
    return (await operator.metric(`leader_election_master_status{name="${OPERATOR_LEASE}"}`)) === 1;
  }

  async function leads(replica: Replica): Promise<void> {
    await eventually(async () => {
      assert.equal(await isLeading(replica), true);
    });
  }

  /** Resolves when the Lease has been renewed by a clock that is so much ahead. */
  async function renewedAt(offsetMs: number): Promise<void> {
    await eventually(async () => {
      const { spec } = await demo.kube
        .resource<Lease>('coordination.k8s.io/v1', 'leases', OPERATOR_NAMESPACE)
        .get(OPERATOR_LEASE);
      assertShifted(spec?.renewTime, offsetMs);
    });
  }

  /** Sets the clock of a replica; fails unless both stay what they are for longer than a Lease holds, and ask for nothing. */
  async function nothingHappensAfterStep(replica: Replica, offsetMs: number): Promise<void> {
    const before = [leader, follower].map(({ proxy, operator }) => {
      return { requests: proxy.requests.length, accepted: proxy.accepted, lines: operator.log.length };
    });
    step(replica, offsetMs);
    await consistently(
      async () => {
        assert.deepEqual([await isLeading(leader), await isLeading(follower)], [true, false]);
        for (const { operator } of [leader, follower]) {
          assert.equal((await fetch(`${operator.url('health')}/readyz`)).status, 200);
        }
      },
      { for: 1.2 * LEASE_MS, interval: 100 },
    );
    for (const [index, { proxy, operator }] of [leader, follower].entries()) {
      const { requests = 0, accepted = 0, lines = 0 } = before[index] ?? {};
      const asked = proxy.requests.slice(requests);
      const renewals = asked.filter((request) => resourceOf(request) === 'leases').length;
      assert.ok(renewals > 0 && renewals <= (2 * LEASE_MS) / RETRY_MS, `asked for the Lease ${renewals} times`);
      // A watch that was silent for 50 s is opened again, whatever the clock says.
      const others = asked.filter((request) => resourceOf(request) !== 'leases').map(describeRequest);
      const watches = WATCHED.map((resource) => `watch ${resource}`);
      assert.deepEqual(
        others.filter((request) => !watches.includes(request)),
        [],
      );
      assert.equal(new Set(others).size, others.length, others.join());
      assert.ok(proxy.accepted - accepted <= others.length, 'new connections');
      assert.deepEqual(operator.log.slice(lines), []);
    }
  }

  /** Fails unless drift in a namespace of the clean run is healed as ever, and no metric shows the wrong clock. */
  async function heals(n: number): Promise<void> {
    const [namespace, child] = [`clean-${n}`, childName('clean', 'allow-dns')];
    const { status: before } = await demo.kube.baselinePolicies.get('clean');
    await oracle.tamper(namespace, child, () => demo.kube.networkPolicies(namespace).delete(child));
    await demo.holds(namespace, 'clean', CHANGED_RULES);
    // The status tells of it up to two seconds later; after that nothing is left to write.
    await demo.status('clean', ({ drift }) => {
      assert.equal(drift?.healedTotal, (before?.drift?.healedTotal ?? 0) + 1);
    });
    await oracle.assertNothingOpenedOrBroken();
    await metricsAreSane();
  }

  /** Fails when a duration is that of a clock that was set. The time of the last event is the operator's own. */
  async function metricsAreSane(): Promise<void> {
    const { operator, offsetMs } = leader;
    const metrics = await operator.metrics();
    const durations = [...metrics].filter(([sample]) => /_seconds_sum(\{|$)/.test(sample));
    assert.ok(durations.length > 5);
    for (const [sample, value] of durations) assert.ok(value >= 0 && value < HOUR_MS / 10_000, `${sample} ${value}`);
    const at = metrics.get('watch_last_event_timestamp_seconds{resource="networkpolicies"}') ?? Number.NaN;
    assertShifted(new Date(at * 1_000).toISOString(), offsetMs);
  }
});

/** Environment of a process whose clock is ahead by these in turn; each SIGUSR2 goes on to the next. */
function clock(...offsetsMs: readonly number[]): NodeJS.ProcessEnv {
  return { NODE_OPTIONS: `--import=${PRELOAD.href}`, CLOCK_OFFSETS_MS: offsetsMs.join() };
}

/** Fails unless the Lease was taken when it had expired, and soon. The last renewal was up to a retry period before. */
function assertTookOver(afterMs: number): void {
  const isInTime = afterMs > LEASE_MS - 2 * RETRY_MS && afterMs < LEASE_MS + 3 * RETRY_MS;
  assert.ok(isInTime, `took over after ${afterMs} ms`);
}

/** Fails unless a time was told by a clock that is so much ahead. */
function assertShifted(time: string | undefined, offsetMs: number): void {
  const ahead = Date.parse(time ?? '') - Date.now();
  assert.ok(Math.abs(ahead - offsetMs) < TOLERANCE_MS, `${time ?? 'none'} is ${ahead} ms ahead`);
}

function describeRequest(request: ProxiedRequest): string {
  return `${isWatch(request) ? 'watch' : request.method} ${resourceOf(request)}`;
}
