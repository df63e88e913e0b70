import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import type { IncomingHttpHeaders, RequestOptions } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { ListenError, startHttpEndpoints } from '../../../src/observability/http.ts';
import type { HttpEndpoints, HttpEndpointsOptions } from '../../../src/observability/http.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

const OPTIONS: HttpEndpointsOptions = {
  metricsBindAddress: LOOPBACK,
  healthProbeBindAddress: LOOPBACK,
  metrics: { contentType: 'text/plain; version=0.0.4; charset=utf-8', metrics: () => Promise.resolve('up 1\n') },
  liveness: [],
  readiness: [],
};

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function ask(port: number | undefined, path: string, options: RequestOptions = {}): Promise<Answer> {
  assert.ok(port, 'the server has a port');
  const sent = request({ host: '127.0.0.1', port, path, agent: false, ...options }).end();
  const [response] = (await once(sent, 'response')) as [
    NodeJS.ReadableStream & { statusCode?: number; headers: IncomingHttpHeaders },
  ];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('HTTP endpoints', () => {
  const running: HttpEndpoints[] = [];

  async function start(options: Partial<HttpEndpointsOptions> = {}): Promise<HttpEndpoints> {
    const endpoints = await startHttpEndpoints({ ...OPTIONS, ...options });
    running.push(endpoints);
    return endpoints;
  }

  afterEach(async () => {
    await Promise.all(running.splice(0).map((endpoints) => endpoints.close()));
  });

  it('serve metrics in the content type of their source', async () => {
    const { metricsAddress } = await start();
    const { status, headers, body } = await ask(metricsAddress?.port, '/metrics');
    assert.deepEqual([status, body], [200, 'up 1\n']);
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  });

  it('answer 500 when the metrics cannot be collected', async () => {
    const metrics = { contentType: 'text/plain', metrics: () => Promise.reject(new Error('collector broke')) };
    const { metricsAddress } = await start({ metrics });
    const { status, body } = await ask(metricsAddress?.port, '/metrics');
    assert.deepEqual([status, body], [500, '500 /metrics failed: collector broke\n']);
  });

  describe('of health', () => {
    it('answer ok when all checks pass, and list them with ?verbose', async () => {
      const { healthProbeAddress } = await start({
        liveness: [{ name: 'ping', failure: () => undefined }],
        readiness: [
          { name: 'caches', failure: () => undefined },
          { name: 'later', failure: () => Promise.resolve(undefined) },
        ],
      });
      const port = healthProbeAddress?.port;
      for (const path of ['/healthz', '/livez', '/readyz']) {
        const { status, headers, body } = await ask(port, path);
        assert.deepEqual([status, body, headers['content-type']], [200, 'ok', 'text/plain; charset=utf-8']);
      }
      assert.equal((await ask(port, '/readyz?verbose')).body, '[+]caches ok\n[+]later ok\nreadyz check passed\n');
      assert.equal((await ask(port, '/livez?verbose=1')).body, '[+]ping ok\nlivez check passed\n');
      assert.equal((await ask(port, '/healthz?verbose')).body, '[+]ping ok\nhealthz check passed\n');
    });

    it('answer 500 and the reasons when a check fails, and ok again when it passes', async () => {
      let reason: string | undefined = 'NetworkPolicy not listed yet';
      const { healthProbeAddress } = await start({
        readiness: [
          { name: 'ping', failure: () => undefined },
          { name: 'caches', failure: () => reason },
          { name: 'throws', failure: () => (reason === undefined ? undefined : assert.fail('broken')) },
          { name: 'rejects', failure: () => (reason === undefined ? undefined : Promise.reject(new Error('gone'))) },
        ],
      });
      const port = healthProbeAddress?.port;
      const { status, body } = await ask(port, '/readyz');
      assert.equal(status, 500);
      assert.equal(
        body,
        '[+]ping ok\n[-]caches failed: NetworkPolicy not listed yet\n[-]throws failed: broken\n[-]rejects failed: gone\nreadyz check failed\n',
      );
      assert.equal((await ask(port, '/livez')).status, 200);
      reason = undefined;
      assert.equal((await ask(port, '/readyz')).status, 200);
    });
  });

  it('answer 404 for other paths, and name those there are', async () => {
    const { metricsAddress, healthProbeAddress } = await start();
    for (const path of ['/', '/healthz', '/metrics/', '/toString', '//x', '/%']) {
      const { status, body } = await ask(metricsAddress?.port, path);
      assert.deepEqual([status, body], [404, '404 not found; this server has /metrics\n'], path);
    }
    const { status, body } = await ask(healthProbeAddress?.port, '/metrics');
    assert.deepEqual([status, body], [404, '404 not found; this server has /healthz, /livez, /readyz\n']);
  });

  it('answer 405 for methods other than GET and HEAD', async () => {
    const { metricsAddress, healthProbeAddress } = await start();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, headers, body } = await ask(healthProbeAddress?.port, '/healthz', { method });
      assert.deepEqual([status, headers.allow], [405, 'GET, HEAD']);
      assert.equal(body, `405 method not allowed: expected GET or HEAD, got ${method}\n`);
    }
    const head = await ask(metricsAddress?.port, '/metrics', { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '5', '']);
  });

  it('are on one server when the addresses are the same', async () => {
    const address = { host: '127.0.0.1', port: await freePort() };
    const { metricsAddress, healthProbeAddress } = await start({
      metricsBindAddress: address,
      healthProbeBindAddress: { ...address },
    });
    assert.deepEqual([metricsAddress, healthProbeAddress], [address, address]);
    assert.equal((await ask(address.port, '/metrics')).status, 200);
    assert.equal((await ask(address.port, '/readyz')).status, 200);
  });

  it('are on two servers when each asks for a free port', async () => {
    const { metricsAddress, healthProbeAddress } = await start();
    assert.notEqual(metricsAddress?.port, healthProbeAddress?.port);
  });

  it('can be switched off', async () => {
    const noMetrics = await start({ metricsBindAddress: undefined });
    assert.equal(noMetrics.metricsAddress, undefined);
    assert.equal((await ask(noMetrics.healthProbeAddress?.port, '/healthz')).status, 200);
    const noHealth = await start({ healthProbeBindAddress: undefined });
    assert.equal(noHealth.healthProbeAddress, undefined);
    assert.equal((await ask(noHealth.metricsAddress?.port, '/metrics')).status, 200);
    const none = await start({ metricsBindAddress: undefined, healthProbeBindAddress: undefined });
    assert.deepEqual([none.metricsAddress, none.healthProbeAddress], [undefined, undefined]);
  });

  it('listen on every address without a host', async () => {
    const { metricsAddress } = await start({ metricsBindAddress: { host: undefined, port: 0 } });
    assert.equal(metricsAddress?.host, undefined);
    assert.equal((await ask(metricsAddress?.port, '/metrics')).status, 200);
  });

  it('name the flag and the address when the port is taken, and leave nothing listening', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const free = await freePort();
    try {
      await assert.rejects(
        startHttpEndpoints({
          ...OPTIONS,
          metricsBindAddress: { host: '127.0.0.1', port: free },
          healthProbeBindAddress: { host: '127.0.0.1', port },
        }),
        (error) => {
          assert.ok(error instanceof ListenError);
          assert.equal(error.flag, '--health-probe-bind-address');
          assert.equal(error.address, `127.0.0.1:${port}`);
          assert.equal(
            error.message,
            `--health-probe-bind-address: cannot listen on 127.0.0.1:${port}: something already listens there (EADDRINUSE); give another address, or "0" for none`,
          );
          return true;
        },
      );
      const [refused] = (await once(connect(free, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException];
      assert.equal(refused.code, 'ECONNREFUSED');
      await assert.rejects(
        startHttpEndpoints({ ...OPTIONS, metricsBindAddress: { host: '127.0.0.1', port } }),
        /^ListenError: --metrics-bind-address: /,
      );
    } finally {
      taken.close();
    }
  });

  it('say what is wrong with an address of another host', async () => {
    await assert.rejects(
      // A documentation address (RFC 5737): no host has it.
      startHttpEndpoints({ ...OPTIONS, metricsBindAddress: { host: '192.0.2.1', port: 0 } }),
      /cannot listen on 192\.0\.2\.1:0: this host does not have that address \(EADDRNOTAVAIL\)/,
    );
  });

  describe('on close()', () => {
    it('end idle keep-alive connections at once', async () => {
      const endpoints = await start();
      const { metricsAddress } = endpoints;
      const agent = new Agent({ keepAlive: true });
      const { headers } = await ask(metricsAddress?.port, '/metrics', { agent });
      assert.equal(headers.connection, 'keep-alive');
      const begin = performance.now();
      await endpoints.close();
      assert.ok(performance.now() - begin < 900, 'close() waited for an idle connection');
      agent.destroy();
    });

    it('let a response under way finish, and then end its connection', async () => {
      const asked = Promise.withResolvers<undefined>();
      const release = Promise.withResolvers<string>();
      const metrics = {
        contentType: 'text/plain',
        metrics: () => {
          asked.resolve(undefined);
          return release.promise;
        },
      };
      const endpoints = await start({ metrics });
      const { metricsAddress } = endpoints;
      const agent = new Agent({ keepAlive: true });
      const answer = ask(metricsAddress?.port, '/metrics', { agent });
      await asked.promise;
      const begin = performance.now();
      const closed = endpoints.close();
      release.resolve('late 1\n');
      const { body, headers } = await answer;
      assert.deepEqual([body, headers.connection], ['late 1\n', 'close']);
      await closed;
      assert.ok(performance.now() - begin < 900, 'close() waited for a connection that was done');
      agent.destroy();
    });

    it('cut a request that never ends', async () => {
      const endpoints = await start();
      const { metricsAddress } = endpoints;
      assert.ok(metricsAddress);
      const socket = connect(metricsAddress.port, '127.0.0.1');
      await once(socket, 'connect');
      socket.write('GET /metrics HTTP/1.1\r\n');
      socket.on('error', () => undefined);
      const ended = once(socket, 'close');
      socket.resume();
      await endpoints.close();
      await ended;
    });
  });
});
