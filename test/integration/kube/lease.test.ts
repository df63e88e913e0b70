import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { ControlPlane } from '../../../hack/envtest/control-plane.ts';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterAccess } from '../../../src/kube/kubeconfig.ts';
import { LeaderElector, type LeaderElectorOptions } from '../../../src/kube/lease.ts';
import { Transport } from '../../../src/kube/transport.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { consistently, eventually } from '../../support/await.ts';
import { FaultProxy, type Fault } from '../../support/fault-proxy.ts';
import { KubeClient as TestClient, type ResourceClient } from '../../support/kube.ts';

interface Lease extends KubernetesObject {
  spec: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

const LEASE_MS = 1_000;
const DEADLINE_MS = 700;
const RETRY_MS = 100;

describe('LeaderElector', function () {
  this.timeout(20_000);
  let controlPlane: ControlPlane;
  let world: TestClient;
  let leases: ResourceClient<Lease>;
  let proxy: FaultProxy;
  /** One through the proxy, and one without it. */
  let proxied: Transport;
  let direct: Transport;
  let name: string;
  let electors: LeaderElector[];
  let told: string[];
  let log: PassThrough;
  let count = 0;

  before(async () => {
    controlPlane = await ControlPlane.start({ controllerManager: false });
    world = TestClient.fromKubeconfig(controlPlane.kubeconfig);
    leases = world.resource('coordination.k8s.io/v1', 'leases', 'default');
  });

  after(async () => {
    await world.close();
    await controlPlane.stop();
  });

  beforeEach(async () => {
    proxy = await FaultProxy.start(controlPlane.kubeconfig);
    proxied = await transport(proxy.kubeconfig);
    direct = await transport(controlPlane.kubeconfig);
    name = `lease-${++count}`;
    electors = [];
    told = [];
    log = new PassThrough();
  });

  afterEach(async () => {
    proxy.resume();
    await proxied.close();
    await Promise.all(electors.map((elector) => elector.stop()));
    await direct.close();
    await proxy.close();
  });

  async function transport(kubeconfig: string): Promise<Transport> {
    const access = await loadClusterAccess(kubeconfig, {});
    return new Transport({ access, userAgent: 'test', connections: 2, timeoutMs: 10_000 });
  }

  function elector(identity: string, through = direct, options: Partial<LeaderElectorOptions> = {}): LeaderElector {
    const made = new LeaderElector({
      client: new KubeClient(through),
      namespace: 'default',
      name,
      identity,
      leaseDurationMs: LEASE_MS,
      renewDeadlineMs: DEADLINE_MS,
      retryPeriodMs: RETRY_MS,
      logger: createLogger({ level: 'debug', format: 'json', stream: log }),
      onStartedLeading: () => told.push(`${identity} started`),
      onStoppedLeading: () => told.push(`${identity} stopped`),
      ...options,
    });
    electors.push(made);
    return made;
  }

  async function leading(identity: string, through = direct): Promise<LeaderElector> {
    const made = elector(identity, through);
    made.start();
    await leads(made);
    return made;
  }

  async function leads(candidate: LeaderElector): Promise<void> {
    await eventually(() => {
      assert.equal(candidate.isLeader(), true);
    });
  }

  /** Waits for another renewal by the holder. */
  async function renewed(): Promise<Lease> {
    const before = (await leases.get(name)).spec.renewTime;
    return eventually(async () => {
      const lease = await leases.get(name);
      assert.notEqual(lease.spec.renewTime, before);
      return lease;
    });
  }

  const holder = async () => (await leases.get(name)).spec.holderIdentity;

  async function hold(spec: Lease['spec']): Promise<void> {
    await leases.create({ metadata: { name }, spec });
  }

  it('creates the Lease, leads, and renews it', async () => {
    const a = elector('a');
    assert.equal(a.isLeader(), false);
    a.start();
    await leads(a);
    const { spec } = await leases.get(name);
    assert.deepEqual(
      { ...spec, acquireTime: undefined, renewTime: undefined },
      {
        holderIdentity: 'a',
        leaseDurationSeconds: 1,
        leaseTransitions: 0,
        acquireTime: undefined,
        renewTime: undefined,
      },
    );
    assert.equal(spec.renewTime, spec.acquireTime);
    const later = await renewed();
    assert.equal(later.spec.acquireTime, spec.acquireTime);
    assert.equal(later.spec.leaseTransitions, 0);
    assert.deepEqual(told, ['a started']);
  });

  it('keeps the others waiting for as long as it renews', async () => {
    await leading('a');
    const b = elector('b');
    b.start();
    await consistently(
      () => {
        assert.equal(b.isLeader(), false);
      },
      { for: LEASE_MS * 1.5 },
    );
    assert.deepEqual(told, ['a started']);
    assert.equal(await holder(), 'a');
  });

  it('makes exactly one of several candidates leader', async () => {
    const candidates = ['a', 'b', 'c', 'd', 'e'].map((identity) => elector(identity));
    for (const candidate of candidates) candidate.start();
    await eventually(() => {
      assert.equal(told.length, 1);
    });
    await consistently(
      () => {
        assert.equal(candidates.filter((candidate) => candidate.isLeader()).length, 1);
      },
      { for: 500 },
    );
    assert.equal(told[0], `${await holder()} started`);
  });

  it('hands over at once when it is stopped', async () => {
    const a = await leading('a');
    const b = elector('b');
    b.start();
    // Wait until b has seen that the Lease is held.
    await renewed();
    await renewed();
    const stopped = performance.now();
    await a.stop();
    assert.equal(a.isLeader(), false);
    await leads(b);
    const took = performance.now() - stopped;
    assert.ok(took < LEASE_MS / 2, `expected much less than the duration of the Lease, got ${took} ms`);
    const { spec } = await leases.get(name);
    assert.deepEqual([spec.holderIdentity, spec.leaseTransitions], ['b', 1]);
    assert.deepEqual(told, ['a started', 'b started'], 'who stops need not be told');
  });

  it('does not touch the Lease of another when it is stopped', async () => {
    await leading('a');
    const b = elector('b');
    b.start();
    await renewed();
    await b.stop();
    assert.equal(await holder(), 'a');
  });

  it('can be stopped before it was started, and twice', async () => {
    const a = elector('a');
    await a.stop();
    assert.equal(await leases.find(name), undefined);
    const b = await leading('b');
    await b.stop();
    await b.stop();
    assert.equal(await holder(), '');
  });

  it('gives a Lease back that it got while it was being stopped', async () => {
    const a = elector('a', proxied);
    const { promise: stopping, resolve } = Promise.withResolvers<undefined>();
    proxy.intercept = async ({ method }): Promise<Fault> => {
      if (method === 'POST') await stopping;
      return 'pass';
    };
    a.start();
    await eventually(() => {
      assert.ok(proxy.requests.some(({ method }) => method === 'POST'));
    });
    const stopped = a.stop();
    resolve(undefined);
    await stopped;
    assert.equal(await holder(), '');
    assert.equal(a.isLeader(), false);
    assert.deepEqual(told, []);
  });

  it('stops to lead before another can take the Lease when it cannot reach the server', async () => {
    const a = await leading('a', proxied);
    let together: boolean | undefined;
    const b = elector('b', direct, { onStartedLeading: () => (together = a.isLeader()) });
    b.start();
    await renewed();
    proxy.stall();
    let lost = 0;
    const since = performance.now();
    await eventually(
      () => {
        if (lost === 0 && !a.isLeader()) lost = performance.now() - since;
        assert.equal(b.isLeader(), true);
      },
      { interval: 2 },
    );
    const taken = performance.now() - since;
    assert.equal(together, false);
    assert.deepEqual(told, ['a started', 'a stopped'], 'told by then, too');
    assert.ok(lost > 0 && lost <= DEADLINE_MS + 50, `expected a to stop by its deadline, got ${lost} ms`);
    assert.ok(taken - lost >= (LEASE_MS - DEADLINE_MS) / 2, `expected a gap, got ${lost} ms and ${taken} ms`);
    proxy.resume();
    await consistently(
      () => {
        assert.deepEqual([a.isLeader(), b.isLeader()], [false, true]);
      },
      { for: 500 },
    );
  });

  it('leads again when it reaches the server again and nobody took the Lease', async () => {
    const a = await leading('a', proxied);
    proxy.stall();
    await eventually(() => {
      assert.deepEqual(told, ['a started', 'a stopped']);
    });
    proxy.resume();
    await leads(a);
    await eventually(() => {
      assert.deepEqual(told, ['a started', 'a stopped', 'a started']);
    });
    assert.equal((await leases.get(name)).spec.leaseTransitions, 0, 'the holder did not change');
  });

  it('does not lose the Lease by failures that are shorter than its deadline', async () => {
    const a = await leading('a', proxied);
    const faults = ['reset', { status: 500 }, 'lose-answer'] as const;
    let next = 0;
    proxy.intercept = ({ method }) => (method === 'PUT' ? (faults[next++] ?? 'pass') : 'pass');
    await eventually(async () => {
      assert.equal(a.isLeader(), true);
      assert.ok(next > faults.length);
      assert.equal(await holder(), 'a');
    });
    assert.deepEqual(told, ['a started']);
  });

  it('goes on to lead when somebody else writes to the Lease that it holds', async () => {
    const a = await leading('a');
    await leases.merge(name, { metadata: { annotations: { note: 'hands off' } } });
    const { metadata } = await renewed();
    assert.deepEqual(metadata.annotations, { note: 'hands off' });
    assert.equal(a.isLeader(), true);
    assert.deepEqual(told, ['a started']);
  });

  it('goes on to lead when the Lease that it holds is deleted', async () => {
    const a = await leading('a');
    const { metadata } = await leases.get(name);
    await leases.delete(name);
    await eventually(async () => {
      const lease = await leases.get(name);
      assert.notEqual(lease.metadata.uid, metadata.uid);
      assert.equal(lease.spec.holderIdentity, 'a');
    });
    assert.equal(a.isLeader(), true);
    assert.deepEqual(told, ['a started']);
  });

  it('stops to lead as soon as it sees that somebody else holds the Lease', async () => {
    const a = await leading('a');
    const seized = performance.now();
    await leases.merge(name, { spec: { holderIdentity: 'usurper', leaseDurationSeconds: 3600 } });
    await eventually(() => {
      assert.equal(a.isLeader(), false);
      assert.deepEqual(told, ['a started', 'a stopped']);
    });
    assert.ok(performance.now() - seized < DEADLINE_MS);
    await a.stop();
    assert.equal(await holder(), 'usurper');
  });

  it('takes durations of any number of milliseconds', async () => {
    const a = elector('a', direct, { renewDeadlineMs: DEADLINE_MS + 1.5 });
    a.start();
    await leads(a);
    await renewed();
  });

  it('takes a Lease at once that nobody holds', async () => {
    await hold({ holderIdentity: '', leaseDurationSeconds: 3600, leaseTransitions: 4 });
    const started = performance.now();
    await leading('a');
    assert.ok(performance.now() - started < LEASE_MS);
    assert.equal((await leases.get(name)).spec.leaseTransitions, 5);
  });

  describe('judges by its own clock', () => {
    let skew: number;

    beforeEach(() => {
      skew = 0;
    });

    const skewed = () => elector('a', proxied, { monotonic: () => performance.now() + skew });

    /** Waits until the candidate has looked at the Lease `times` more. */
    async function looked(times: number): Promise<void> {
      const before = proxy.requests.length;
      await eventually(() => {
        assert.ok(proxy.requests.length >= before + times);
      });
    }

    for (const [what, renewTime] of [
      ['in the past', '2001-01-01T00:00:00.000000Z'],
      ['in the future', '2101-01-01T00:00:00.000000Z'],
    ] as const) {
      it(`takes a Lease whose renewal is ${what} when it did not change for its duration, not before`, async () => {
        await hold({ holderIdentity: 'gone', leaseDurationSeconds: 3600, renewTime, acquireTime: renewTime });
        const a = skewed();
        a.start();
        await looked(3);
        assert.equal(a.isLeader(), false);
        skew = 3_590_000;
        await looked(2);
        assert.equal(a.isLeader(), false);
        skew = 3_600_000;
        await leads(a);
      });
    }

    it('waits anew each time that the Lease changes', async () => {
      await hold({ holderIdentity: 'other', leaseDurationSeconds: 3600, renewTime: '2001-01-01T00:00:00.000000Z' });
      const a = skewed();
      a.start();
      for (let renewal = 1; renewal <= 3; renewal++) {
        await looked(2);
        skew += 3_000_000;
        await leases.merge(name, { spec: { renewTime: `2001-01-01T00:00:0${renewal}.000000Z` } });
      }
      await looked(2);
      assert.equal(a.isLeader(), false);
      assert.equal(await holder(), 'other');
    });

    it('does not lead by an answer that it sees only after its deadline', async () => {
      const a = skewed();
      a.start();
      await leads(a);
      // As when the process is stopped while its renewal is on the way, and another one has taken over meanwhile.
      const { promise: seen, resolve } = Promise.withResolvers<undefined>();
      let renewals = 0;
      proxy.intercept = ({ method }) => {
        if (method !== 'PUT') return 'black-hole';
        return ++renewals > 1
          ? 'black-hole'
          : {
              onAnswer: () => {
                skew += DEADLINE_MS;
                resolve(undefined);
              },
            };
      };
      await seen;
      await eventually(() => {
        assert.deepEqual(told, ['a started', 'a stopped']);
      });
      await consistently(
        () => {
          assert.deepEqual([a.isLeader(), told.length], [false, 2]);
        },
        { for: 3 * RETRY_MS },
      );
    });

    it('stops to lead by it, without any request', async () => {
      const a = skewed();
      a.start();
      await leads(a);
      proxy.intercept = () => 'black-hole';
      skew += DEADLINE_MS;
      assert.equal(a.isLeader(), false);
    });
  });

  it('says that it cannot reach the Lease, not each time, and when it can again', async () => {
    let reachedAgain = 0;
    const a = elector('a', proxied, { namespace: 'missing', onReachedAgain: () => reachedAgain++ });
    a.start();
    await eventually(() => {
      assert.ok(proxy.requests.length >= 10);
    });
    await world.namespaces.create({ metadata: { name: 'missing' } });
    await leads(a);
    await a.stop();
    assert.equal(reachedAgain, 1);
    log.end();
    const lines = (await log.toArray()).join('').split('\n').filter(Boolean);
    const logged = lines.map((line) => JSON.parse(line) as { msg: string; failures?: number });
    assert.deepEqual(
      logged.filter(({ msg }) => msg === 'Failed to reach the Lease').map(({ failures }) => failures),
      [1, 2, 4],
    );
    assert.deepEqual(
      logged.filter(({ msg }) => msg !== 'Failed to reach the Lease').map(({ msg }) => msg),
      ['Reached the Lease again', 'Became leader', 'Released the Lease'],
    );
  });
});
