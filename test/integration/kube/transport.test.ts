import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { ControlPlane } from '../../../hack/envtest/control-plane.ts';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { KubeClient, RESOURCES } from '../../../src/kube/client.ts';
import {
  APIError,
  ConnectionError,
  FencedError,
  isAlreadyExists,
  isConflict,
  isNamespaceGone,
} from '../../../src/kube/errors.ts';
import { type ClusterAccess, loadClusterAccess } from '../../../src/kube/kubeconfig.ts';
import { Transport } from '../../../src/kube/transport.ts';
import { eventually } from '../../support/await.ts';
import { FaultProxy, type Intercept, type ProxiedRequest } from '../../support/fault-proxy.ts';
import { KubeClient as TestClient } from '../../support/kube.ts';

describe('Transport and KubeClient', function () {
  this.timeout(30_000);
  let controlPlane: ControlPlane;
  let proxy: FaultProxy;
  let world: TestClient;
  let access: ClusterAccess;
  let transport: Transport;
  let client: KubeClient;
  let observed: [method: string, resource: string, code: number | '<error>', seconds: number][];
  let limits: number[];
  let latencyLimits: number[];
  let namespaces = 0;

  before(async () => {
    controlPlane = await ControlPlane.start({ controllerManager: false });
    world = TestClient.fromKubeconfig(controlPlane.kubeconfig);
  });

  after(async () => {
    await world.close();
    await controlPlane.stop();
  });

  beforeEach(async () => {
    proxy = await FaultProxy.start(controlPlane.kubeconfig);
    access = await loadClusterAccess(proxy.kubeconfig, {});
    observed = [];
    open({});
  });

  afterEach(async () => {
    await transport.close();
    await proxy.close();
  });

  function open(options: { access?: ClusterAccess; connections?: number; timeoutMs?: number }): void {
    limits = [];
    latencyLimits = [];
    transport = new Transport({
      access,
      userAgent: 'agent/1.2.3',
      connections: 4,
      timeoutMs: 5_000,
      observer: {
        observeRequest: (...measure) => observed.push(measure),
        observeConcurrencyLimit: (limit) => limits.push(limit),
        observeLatencyLimit: (limit) => latencyLimits.push(limit),
      },
      ...options,
    });
    client = new KubeClient(transport);
  }

  async function reopen(options: Parameters<typeof open>[0]): Promise<void> {
    await transport.close();
    open(options);
  }

  const getDefault = () => client.get(RESOURCES.namespaces, 'default');

  /** Intercepts the first requests, one by one; those after them pass. */
  function first(...faults: Intercept[]): void {
    proxy.intercept = (request) => faults.shift()?.(request) ?? 'pass';
  }

  async function newNamespace(): Promise<string> {
    const name = `transport-${++namespaces}`;
    await world.namespaces.create({ metadata: { name } });
    return name;
  }

  async function apiError(promise: Promise<unknown>): Promise<APIError> {
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof APIError, `expected an APIError, got ${String(error)}`);
    return error;
  }

  it('uses its connections again, and no more of them than it may', async () => {
    for (let index = 0; index < 20; index++) await getDefault();
    assert.ok(proxy.accepted <= 2, `expected at most 2 connections, got ${proxy.accepted}`);
    await Promise.all(Array.from({ length: 200 }, getDefault));
    assert.equal(proxy.requests.length, 220);
    assert.ok(proxy.accepted <= 4, `expected at most 4 connections, got ${proxy.accepted}`);
  });

  it('gives a watch a connection of its own, so that requests never wait for it', async () => {
    await reopen({ connections: 1 });
    const controller = new AbortController();
    const from = { resourceVersion: '0', timeoutSeconds: 60, signal: controller.signal };
    const streams = await Promise.all([1, 2, 3].map(() => client.watch(RESOURCES.namespaces, {}, from)));
    await getDefault();
    assert.equal(proxy.open, 4);
    for (const stream of streams) stream.on('error', () => undefined);
    controller.abort();
    await eventually(() => {
      assert.equal(proxy.open, 1, 'an ended watch leaves no connection');
    });
  });

  it('says who it is, and what it wants', async () => {
    await getDefault();
    const { headers } = onlyRequest();
    assert.equal(headers['user-agent'], 'agent/1.2.3');
    assert.equal(headers.accept, 'application/json');
    assert.equal(headers.authorization, `Bearer ${controlPlane.adminToken}`);
  });

  it('measures requests: method, resource, code and seconds', async () => {
    await getDefault();
    await apiError(client.get(RESOURCES.networkPolicies, 'none', 'default'));
    first(() => 'reset');
    await assert.rejects(getDefault());
    assert.deepEqual(
      observed.map((measure) => measure.slice(0, 3)),
      [
        ['GET', 'namespaces', 200],
        ['GET', 'networkpolicies', 404],
        ['GET', 'namespaces', '<error>'],
      ],
    );
    for (const [, , , seconds] of observed) assert.ok(seconds > 0 && seconds < 5, String(seconds));
  });

  it('reaches a server below a path', async () => {
    const server = new URL('/k8s/clusters/c-1', proxy.server);
    first(() => ({ status: 200, body: { metadata: { name: 'behind' } } }));
    await reopen({ access: { ...access, server } });
    assert.equal((await getDefault()).metadata.name, 'behind');
    assert.equal(onlyRequest().url.pathname, '/k8s/clusters/c-1/api/v1/namespaces/default');
  });

  it('goes through an HTTP proxy', async () => {
    const tunnels: string[] = [];
    const forward: Server = createServer();
    forward.on('connect', (request, socket) => {
      tunnels.push(request.url ?? '');
      const { hostname, port } = new URL(proxy.server);
      const onward = connect(Number(port), hostname, () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        onward.pipe(socket).pipe(onward);
      });
      socket.on('error', () => onward.destroy());
      onward.on('error', () => socket.destroy());
    });
    forward.listen(0, '127.0.0.1');
    await once(forward, 'listening');
    try {
      const { port } = forward.address() as AddressInfo;
      await reopen({ access: { ...access, proxy: `http://127.0.0.1:${port}` } });
      assert.equal((await getDefault()).metadata.name, 'default');
      assert.deepEqual(tunnels, [new URL(proxy.server).host]);
    } finally {
      await transport.close();
      forward.close();
    }
  });

  it('does not trust a server that the kubeconfig does not vouch for', async () => {
    await reopen({ access: { ...access, tls: { ca: controlPlane.caData } } });
    await assert.rejects(getDefault(), (error: unknown) => {
      assert.ok(error instanceof ConnectionError);
      assert.match(error.message, /^GET \/api\/v1\/namespaces\/default: .*certificate/);
      return true;
    });
    assert.equal(proxy.requests.length, 0);
  });

  describe('when the server is busy', () => {
    it('waits for as long as the server asks, and tries again', async () => {
      first(
        () => ({ status: 429, headers: { 'retry-after': '1' }, body: { reason: 'TooManyRequests' } }),
        () => ({ status: 503, body: { reason: 'ServiceUnavailable', details: { retryAfterSeconds: 1 } } }),
      );
      assert.equal((await getDefault()).metadata.name, 'default');
      const [one, two, three] = proxy.requests.map(({ at }) => at);
      assert.ok(one !== undefined && two !== undefined && three !== undefined);
      for (const pause of [two - one, three - two]) {
        assert.ok(pause >= 990 && pause < 1_500, `expected a pause of 1 to 1.2 s, got ${pause} ms`);
      }
      assert.deepEqual(
        observed.map(([, , code]) => code),
        [429, 503, 200],
      );
    });

    it('sends a write again as it was', async () => {
      const namespace = await newNamespace();
      first(() => ({ status: 429, headers: { 'retry-after': '0' } }));
      await client.create(RESOURCES.networkPolicies, policyBody('retried', namespace), namespace);
      const [one, two] = proxy.requests;
      assert.deepEqual([two?.method, two?.url.href, two?.body], [one?.method, one?.url.href, one?.body]);
    });

    it('gives up after ten tries', async () => {
      proxy.intercept = () => ({ status: 429, headers: { 'retry-after': '0' }, body: { message: 'too busy' } });
      const error = await apiError(getDefault());
      assert.deepEqual([error.status, error.retryAfterMs], [429, 0]);
      assert.equal(error.message, 'GET /api/v1/namespaces/default: 429 too busy');
      assert.equal(proxy.requests.length, 10);
    });

    it('does not wait when the server does not ask for it', async () => {
      first(() => ({ status: 503, body: { message: 'down' } }));
      assert.equal((await apiError(getDefault())).status, 503);
      first(() => ({ status: 500, headers: { 'retry-after': '1' } }));
      assert.equal((await apiError(getDefault())).status, 500);
      assert.equal(proxy.requests.length, 2);
    });

    it('stops to wait when the request is aborted, or its time is over', async () => {
      proxy.intercept = () => ({ status: 429, headers: { 'retry-after': '30' } });
      const controller = new AbortController();
      const listed = client.list(RESOURCES.namespaces, {}, { limit: 1, signal: controller.signal });
      const timed = client.get(RESOURCES.namespaces, 'default', undefined, 200);
      await eventually(() => {
        assert.equal(proxy.requests.length, 2);
      });
      controller.abort();
      await assert.rejects(listed, ConnectionError);
      await assert.rejects(timed, ConnectionError);
    });
  });

  describe('when more requests in flight make the server slower', () => {
    const max = 24;

    /** Writes to a server that takes a time for each of them which depends on how many it has in hand. */
    async function write(count: number, latencyMs: (inFlight: number) => number): Promise<{ peak: number }> {
      await reopen({ connections: max });
      const namespace = await newNamespace();
      let inFlight = 0;
      let peak = 0;
      proxy.intercept = async () => {
        peak = Math.max(peak, ++inFlight);
        await delay(latencyMs(inFlight));
        inFlight--;
        return 'pass' as const;
      };
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          client.create(RESOURCES.networkPolicies, policyBody(`written-${index}`, namespace), namespace),
        ),
      );
      return { peak };
    }

    it('keeps few writes in flight where more are no faster', async () => {
      // Ten milliseconds of work for each, one after the other.
      const { peak } = await write(300, (inFlight) => 10 * inFlight);
      assert.equal(latencyLimits[0], 4);
      assert.ok(peak <= 12, `expected at most 12 in flight, got ${peak}`);
      assert.equal(peak, Math.max(...latencyLimits));
      assert.deepEqual(limits, [max], 'the server refused none');
    });

    it('sends as many as it may where each takes as long as before', async () => {
      const { peak } = await write(500, () => 40);
      assert.equal(peak, max);
      assert.equal(Math.max(...latencyLimits), max);
    });

    it('holds up no read', async () => {
      await reopen({ connections: max });
      const namespace = await newNamespace();
      const held = Promise.withResolvers<'pass'>();
      proxy.intercept = ({ method }) => (method === 'GET' ? 'pass' : held.promise);
      const writes = Array.from({ length: 10 }, (_, index) =>
        client.create(RESOURCES.networkPolicies, policyBody(`held-${index}`, namespace), namespace),
      );
      await eventually(() => {
        assert.equal(proxy.requests.length, 4);
      });
      await getDefault();
      assert.deepEqual(
        proxy.requests.map(({ method }) => method),
        ['POST', 'POST', 'POST', 'POST', 'GET'],
      );
      held.resolve('pass');
      await Promise.all(writes);
    });
  });

  describe('when the server throttles', () => {
    const refuse = (seconds: number) => ({ status: 429, headers: { 'retry-after': String(seconds) } });

    it('sends less at a time, comes back no earlier than asked, and recovers', async () => {
      const max = 8;
      await reopen({ connections: max });
      let open = 0;
      /** Most that were open at a time: ever, since it was last reset, and when each client had been refused once. */
      let highest = 0;
      let peak = 0;
      let peakThrottled = 0;
      const count = 2 * max;
      let refusals = 0;
      let throttles = false;
      /** How long those that were refused stayed away, in milliseconds. */
      const cameBack: number[] = [];
      const refusedAt = new Map<string | null, number>();
      proxy.intercept = async ({ url, at }) => {
        const client = url.searchParams.get('labelSelector');
        const before = refusedAt.get(client);
        if (before !== undefined) cameBack.push(at - before);
        refusedAt.delete(client);
        peak = Math.max(peak, ++open);
        highest = Math.max(highest, open);
        if (refusals >= count && refusals < 2 * count) peakThrottled = Math.max(peakThrottled, open);
        // As long as a server takes: those sent at the same time are seen at the same time.
        await delay(20);
        open--;
        // It throttles for about two seconds, until as many were refused as if each client were twice.
        if (!throttles || refusals === 2 * count) return 'pass';
        refusals++;
        refusedAt.set(client, performance.now());
        return refuse(1);
      };
      let stopped = false;
      const clients = Array.from({ length: count }, async (_, index) => {
        const scope = { labelSelector: `client=${index}` };
        while (!stopped) await client.list(RESOURCES.namespaces, scope, { limit: 1 });
      });
      const ended = Promise.allSettled(clients);
      const reachPeak = () =>
        eventually(() => {
          assert.equal(peak, max);
        });
      try {
        await reachPeak();
        assert.deepEqual(limits, [max]);

        throttles = true;
        await eventually(() => {
          assert.deepEqual([refusals, limits.at(-1)], [2 * count, max]);
        });
        assert.deepEqual(limits, [8, 4, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert.equal(peakThrottled, 1, 'they come back one by one');
        peak = 0;
        await reachPeak();
        await eventually(() => {
          assert.equal(cameBack.length, 2 * count);
        });
      } finally {
        stopped = true;
      }
      assert.deepEqual(new Set((await ended).map(({ status }) => status)), new Set(['fulfilled']));
      assert.equal(highest, max);
      for (const pause of cameBack) assert.ok(pause >= 990, `was asked to wait 1 s, came back after ${pause} ms`);
    });

    it('takes the answers to requests that were sent at once for one signal', async () => {
      const arrived = Promise.withResolvers<undefined>();
      const hold: Intercept = async () => {
        if (proxy.requests.length === 4) arrived.resolve(undefined);
        await arrived.promise;
        return refuse(0);
      };
      first(hold, hold, hold, hold);
      await Promise.all([1, 2, 3, 4].map(getDefault));
      assert.deepEqual(limits, [4, 2, 3]);
      assert.equal(proxy.requests.length, 8);
    });

    it('counts every answer but 401, 429 and 5xx as a sign of recovery', async () => {
      const missing = () => apiError(client.get(RESOURCES.namespaces, 'missing'));
      first(
        () => refuse(0),
        () => ({ status: 500 }),
      );
      await apiError(getDefault());
      assert.deepEqual(limits, [4, 2]);
      await missing();
      first(
        () => 'reset',
        () => ({ status: 401 }),
        () => ({ status: 401 }),
      );
      await assert.rejects(getDefault(), ConnectionError);
      await apiError(getDefault());
      assert.deepEqual(limits, [4, 2]);
      await missing();
      assert.deepEqual(limits, [4, 2, 3]);
    });

    it('lets others pass while a request waits to come back', async () => {
      await reopen({ connections: 1 });
      first(() => refuse(30));
      const controller = new AbortController();
      const waiting = client.list(RESOURCES.namespaces, {}, { limit: 1, signal: controller.signal });
      await eventually(() => {
        assert.equal(observed.length, 1);
      });
      await getDefault();
      controller.abort();
      await assert.rejects(waiting, ConnectionError);
    });

    it('opens watches all the same', async () => {
      await reopen({ connections: 1 });
      proxy.intercept = ({ url }) => (url.searchParams.has('watch') ? 'pass' : 'black-hole');
      const blocked = assert.rejects(getDefault(), ConnectionError);
      const from = { resourceVersion: '0', timeoutSeconds: 60, signal: AbortSignal.timeout(5_000) };
      (await client.watch(RESOURCES.namespaces, {}, from)).destroy();
      await transport.close();
      await blocked;
    });

    it('never lets the Lease wait behind other requests', async () => {
      const namespace = await newNamespace();
      await reopen({ connections: 2 });
      proxy.intercept = ({ url }) => (url.pathname.includes('/leases') ? 'pass' : 'black-hole');
      const blocked = [1, 2, 3].map(() => assert.rejects(getDefault(), ConnectionError));
      await eventually(() => {
        assert.equal(proxy.requests.length, 2);
      });
      const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'l', namespace } };
      await client.create(RESOURCES.leases, JSON.stringify(lease), namespace);
      const read = await client.get<KubernetesObject>(RESOURCES.leases, 'l', namespace);
      await client.replace(RESOURCES.leases, read);
      assert.equal(proxy.requests.length, 5, 'the third of the others still waits');
      await transport.close();
      await Promise.all(blocked);
    });

    it('leaves the line when it is aborted, and is never sent', async () => {
      await reopen({ connections: 1 });
      const answered = Promise.withResolvers<'pass'>();
      first(() => answered.promise);
      const held = getDefault();
      const controller = new AbortController();
      const waiting = client.list(RESOURCES.namespaces, {}, { limit: 1, signal: controller.signal });
      controller.abort(new Error('no longer needed'));
      await assert.rejects(waiting, /^ConnectionError: GET \/api\/v1\/namespaces\?limit=1: no longer needed/);
      answered.resolve('pass');
      await held;
      await getDefault();
      const paths = proxy.requests.map(({ url }) => url.pathname);
      assert.deepEqual(paths, ['/api/v1/namespaces/default', '/api/v1/namespaces/default']);
      assert.equal(observed.length, 2, 'what was not sent is not measured');
    });
  });

  describe('when this process may not write any more', () => {
    let mayWrite: boolean;
    let fenced: KubeClient;

    beforeEach(() => {
      mayWrite = true;
      fenced = new KubeClient(transport, () => mayWrite);
    });

    const create = () =>
      fenced.create(RESOURCES.networkPolicies, JSON.stringify({ metadata: { name: 'fenced' } }), 'default');
    const NOT_SENT =
      /^FencedError: POST \/apis\/networking\.k8s\.io\/v1\/namespaces\/default\/networkpolicies\?.*: not sent/;

    it('sends no write of any kind, but reads', async () => {
      mayWrite = false;
      const object = { metadata: { name: 'fenced', namespace: 'default' } };
      const seen = { uid: 'u', resourceVersion: '1' };
      await assert.rejects(create(), FencedError);
      await assert.rejects(fenced.createText(RESOURCES.networkPolicies, '{}', 'default'), FencedError);
      await assert.rejects(fenced.replace(RESOURCES.networkPolicies, object), FencedError);
      await assert.rejects(fenced.patch(RESOURCES.networkPolicies, object.metadata, []), FencedError);
      await assert.rejects(fenced.remove(RESOURCES.networkPolicies, object.metadata, seen), FencedError);
      await fenced.get(RESOURCES.namespaces, 'default');
      assert.deepEqual(
        proxy.requests.map(({ method }) => method),
        ['GET'],
      );
      assert.equal(observed.length, 1, 'what was not sent is not measured');
    });

    it('does not send one again that waited to come back', async () => {
      first(() => {
        mayWrite = false;
        return { status: 429, headers: { 'retry-after': '1' } };
      });
      await assert.rejects(create(), NOT_SENT);
      assert.equal(proxy.requests.length, 1);
    });

    it('does not send one that waited behind others', async () => {
      const answered = Promise.withResolvers<'pass'>();
      first(...[1, 2, 3, 4].map((): Intercept => () => answered.promise));
      const held = [1, 2, 3, 4].map(getDefault);
      const waiting = create();
      mayWrite = false;
      answered.resolve('pass');
      await assert.rejects(waiting, NOT_SENT);
      await Promise.all(held);
      assert.equal(proxy.requests.length, 4);
      await fenced.get(RESOURCES.namespaces, 'default');
    });

    it('does not send one that waited for its connection', async () => {
      proxy.stall();
      const waiting = create();
      await eventually(() => {
        assert.equal(proxy.accepted, 1);
      });
      mayWrite = false;
      proxy.resume();
      await assert.rejects(waiting, NOT_SENT);
      await fenced.get(RESOURCES.namespaces, 'default');
      assert.deepEqual([proxy.requests.length, proxy.accepted], [1, 1], 'the connection is as good as new');
    });
  });

  describe('when credentials are not accepted', () => {
    it('asks for new ones, once', async () => {
      let asked = 0;
      const headers = async () => (await access.headers(), { authorization: `Bearer ${asked++ ? 'new' : 'old'}` });
      await reopen({ access: { ...access, headers } });
      proxy.intercept = (request) =>
        request.headers.authorization === 'Bearer new' ? { status: 200, body: { ok: true } } : { status: 401 };
      assert.deepEqual(await getDefault(), { ok: true });
      await getDefault();
      assert.equal(asked, 2);
      assert.equal(proxy.requests.length, 3);
    });

    it('does not try a second time', async () => {
      proxy.intercept = () => ({ status: 401, body: { reason: 'Unauthorized' } });
      assert.equal((await apiError(getDefault())).status, 401);
      assert.equal(proxy.requests.length, 2);
    });

    it('asks for new ones after a watch was refused', async () => {
      let asked = 0;
      await reopen({ access: { ...access, headers: () => (asked++, access.headers()) } });
      first(() => ({ status: 401 }));
      const from = { resourceVersion: '0', timeoutSeconds: 1, signal: AbortSignal.timeout(5_000) };
      assert.equal((await apiError(client.watch(RESOURCES.namespaces, {}, from))).status, 401);
      (await client.watch(RESOURCES.namespaces, {}, from)).destroy();
      assert.equal(asked, 2);
    });

    it('asks only once for all requests that start at the same time', async () => {
      let asked = 0;
      await reopen({ access: { ...access, headers: () => (asked++, access.headers()) } });
      await Promise.all(Array.from({ length: 10 }, getDefault));
      assert.equal(asked, 1);
    });

    it('tells that there are none, and asks again the next time', async () => {
      let asked = 0;
      const headers = () => (asked++ ? access.headers() : Promise.reject(new Error('the plugin failed')));
      await reopen({ access: { ...access, headers } });
      await assert.rejects(getDefault(), (error: unknown) => {
        assert.ok(error instanceof ConnectionError);
        assert.equal(error.message, 'GET /api/v1/namespaces/default: the plugin failed');
        return true;
      });
      await getDefault();
    });
  });

  describe('when no answer comes', () => {
    const cases: readonly [what: string, fault: Intercept][] = [
      ['the connection is reset', () => 'reset'],
      ['the answer is lost', () => 'lose-answer'],
      ['the answer breaks off', () => ({ editLine: (line) => ({ text: line.slice(0, 20), then: 'break' }) })],
      ['the answer is no JSON', () => ({ status: 200, body: '<html>Sign in</html>' })],
      ['the answer is cut', () => ({ editLine: (line) => ({ text: line.slice(0, 20), then: 'end' }) })],
    ];
    for (const [what, fault] of cases) {
      it(`throws a ConnectionError that names the request: ${what}`, async () => {
        first(fault);
        await assert.rejects(getDefault(), (error: unknown) => {
          assert.ok(error instanceof ConnectionError, String(error));
          assert.match(error.message, /^GET \/api\/v1\/namespaces\/default: ./);
          return true;
        });
        assert.equal(proxy.requests.length, 1, 'nothing is sent twice that may have been done');
        assert.equal((await getDefault()).metadata.name, 'default');
      });
    }

    it('waits no longer than its time-out for an answer', async () => {
      await reopen({ timeoutMs: 300 });
      first(() => 'black-hole');
      const started = performance.now();
      await assert.rejects(getDefault(), ConnectionError);
      const waited = performance.now() - started;
      assert.ok(waited < 2_000, `expected less than 2 s, got ${waited} ms`);
    });

    it('waits no longer than its time-out for the rest of an answer', async () => {
      await reopen({ timeoutMs: 300 });
      first(() => ({ editLine: (line) => ({ text: line.slice(0, 20), then: 'silence' }) }));
      await assert.rejects(getDefault(), ConnectionError);
    });

    it('waits no longer than its time-out for a connection', async () => {
      await reopen({ timeoutMs: 300 });
      proxy.stall();
      await assert.rejects(getDefault(), ConnectionError);
      assert.equal(proxy.requests.length, 0);
      proxy.resume();
    });

    it("keeps to the request's own time-out, also while it waits for a connection", async () => {
      await reopen({ connections: 1 });
      proxy.intercept = () => 'black-hole';
      const blocking = assert.rejects(getDefault(), ConnectionError);
      const started = performance.now();
      const timed = client.get(RESOURCES.namespaces, 'default', undefined, 200);
      await assert.rejects(timed, /^ConnectionError: GET .*timeout/);
      assert.ok(performance.now() - started < 1_000);
      await transport.close();
      await blocking;
    });

    it('throws a ConnectionError when nobody listens', async () => {
      await reopen({ access: { ...access, server: new URL('https://127.0.0.1:1') } });
      await assert.rejects(getDefault(), /^ConnectionError: GET .*ECONNREFUSED/);
    });

    it('throws a ConnectionError when it is closed', async () => {
      proxy.intercept = () => 'black-hole';
      const request = getDefault();
      await eventually(() => {
        assert.equal(proxy.requests.length, 1);
      });
      const rejected = assert.rejects(request, ConnectionError);
      await transport.close();
      await rejected;
      await assert.rejects(getDefault(), ConnectionError);
    });
  });

  it('tells what the server says that is no Status', async () => {
    first(() => ({ status: 502, body: '<html>Bad gateway</html>\n' }));
    assert.equal(
      (await apiError(getDefault())).message,
      'GET /api/v1/namespaces/default: 502 <html>Bad gateway</html>',
    );
  });

  describe('writes of NetworkPolicies', () => {
    const spec = {
      podSelector: {},
      policyTypes: ['Ingress' as const],
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }] }],
    };
    const tenantLabels = { team: 'red' };
    let namespace: string;

    beforeEach(async () => {
      namespace = await newNamespace();
    });

    const live = () => world.networkPolicies(namespace).get('p');
    const create = () =>
      client.create<NetworkPolicy>(
        RESOURCES.networkPolicies,
        JSON.stringify({
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { name: 'p', namespace },
          spec,
        }),
        namespace,
      );
    const patch = (resourceVersion: string | undefined) =>
      client.patch<NetworkPolicy>(RESOURCES.networkPolicies, { name: 'p', namespace }, [
        { op: 'replace', path: '/metadata/resourceVersion', value: resourceVersion },
        { op: 'add', path: '/spec', value: spec },
      ]);

    it('send "from" as it is: a peer that is lost on the way would allow everyone', async () => {
      const created = await create();
      const { body } = onlyRequest();
      assert.match(body, /"ingress":\[\{"from":\[\{"podSelector":\{"matchLabels":\{"app":"web"\}\}\}\]\}\]/);
      assert.doesNotMatch(body, /_from/);
      assert.deepEqual((await live()).spec?.ingress, spec.ingress);
      assert.deepEqual(created.spec?.ingress, spec.ingress);

      const patched = await patch(created.metadata.resourceVersion);
      await client.replace(RESOURCES.networkPolicies, { ...patched, spec: { ...spec, policyTypes: ['Ingress'] } });
      for (const request of proxy.requests) {
        assert.match(request.body, /"from":\[/, request.method);
        assert.doesNotMatch(request.body, /_from/, request.method);
      }
      assert.deepEqual((await live()).spec?.ingress, spec.ingress);
    });

    it('name the field manager', async () => {
      const { metadata } = (await create()) as unknown as { metadata: { managedFields: { manager: string }[] } };
      assert.deepEqual(
        metadata.managedFields.map(({ manager }) => manager),
        ['baseline-policy-operator'],
      );
    });

    it('replace the whole spec by a patch, and leave what others added to the metadata', async () => {
      const { metadata } = await create();
      await world.networkPolicies(namespace).merge('p', {
        metadata: { labels: tenantLabels },
        spec: { ingress: [{}], egress: [{}], policyTypes: ['Ingress', 'Egress'] },
      });
      const before = await live();
      const patched = await patch(before.metadata.resourceVersion);
      assert.deepEqual(patched.spec, spec);
      const after = await live();
      assert.deepEqual(after.spec, spec);
      assert.deepEqual(after.metadata.labels, tenantLabels);
      assert.equal(after.metadata.uid, metadata.uid);
    });

    it('are refused as a conflict when the patched object is not the one that was seen', async () => {
      const { metadata } = await create();
      await world.networkPolicies(namespace).merge('p', { spec: { ingress: [{}] } });
      const before = await live();
      assert.ok(isConflict(await apiError(patch(metadata.resourceVersion))));
      assert.deepEqual(await live(), before);
    });

    it('are refused as a conflict when the replaced object is not the one that was seen', async () => {
      const created = await create();
      await world.networkPolicies(namespace).merge('p', { metadata: { labels: tenantLabels } });
      assert.ok(isConflict(await apiError(client.replace(RESOURCES.networkPolicies, created))));
    });

    it('delete only the object that was seen', async () => {
      const { metadata } = await create();
      const { uid = '', resourceVersion = '' } = metadata;
      await world.networkPolicies(namespace).merge('p', { metadata: { labels: tenantLabels } });
      const current = (await live()).metadata.resourceVersion ?? '';
      const remove = (preconditions: { uid: string; resourceVersion: string }) =>
        client.remove(RESOURCES.networkPolicies, { name: 'p', namespace }, preconditions);
      assert.ok(isConflict(await apiError(remove({ uid, resourceVersion }))));
      assert.ok(isConflict(await apiError(remove({ uid: 'another', resourceVersion: current }))));
      assert.equal((await live()).metadata.uid, uid);
      await remove({ uid, resourceVersion: current });
      assert.equal(await world.networkPolicies(namespace).find('p'), undefined);
    });

    it('tell an object that exists from a namespace that is gone', async () => {
      await create();
      assert.ok(isAlreadyExists(await apiError(create())));
      await world.namespaces.delete(namespace);
      await apiError(create()).then((error) => {
        assert.ok(isNamespaceGone(error), error.message);
      });
      namespace = 'never-existed';
      assert.ok(isNamespaceGone(await apiError(create())));
    });
  });

  function onlyRequest(): ProxiedRequest {
    const [request] = proxy.requests;
    assert.ok(
      request !== undefined && proxy.requests.length === 1,
      `expected one request, got ${proxy.requests.length}`,
    );
    return request;
  }

  function policyBody(name: string, namespace: string): string {
    return JSON.stringify({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name, namespace },
      spec: { podSelector: {} },
    });
  }
});
