import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import { formatBindAddress } from './bind-address.ts';
import type { BindAddress } from './bind-address.ts';
import { errorText } from './log-format.ts';
import type { AccessDecision } from './metrics-access.ts';
import type { KeyedCertificate, ServingCertificate } from './serving-certificate.ts';

/** One named condition of health. */
export interface HealthCheck {
  readonly name: string;
  /** Says why the check fails; undefined when it passes. A check that throws has failed. */
  readonly failure: () => string | undefined | Promise<string | undefined>;
}

/** Where the text of `/metrics` comes from; a registry of prom-client is one. */
export interface MetricsSource {
  readonly contentType: string;
  metrics(): Promise<string>;
}

/** What guards `/metrics`: HTTPS, and who may read. */
export interface MetricsSecurity {
  /** Shown to new connections, also after it has changed. Closed with the endpoints, or when they do not start. */
  readonly certificate: ServingCertificate;
  /** Decides by the header Authorization of a request; must not reject. */
  readonly access: { decide(authorization: string | undefined): Promise<AccessDecision> };
}

/** What `startHttpEndpoints` serves, and where. An undefined address switches that endpoint off. */
export interface HttpEndpointsOptions {
  readonly metricsBindAddress: BindAddress | undefined;
  readonly healthProbeBindAddress: BindAddress | undefined;
  readonly metrics: MetricsSource;
  /** Undefined: metrics by plain HTTP, to everybody. */
  readonly metricsSecurity?: MetricsSecurity | undefined;
  /** Checks of /livez and /healthz: a failure means that only a restart helps. */
  readonly liveness: readonly HealthCheck[];
  /** Checks of /readyz. */
  readonly readiness: readonly HealthCheck[];
}

/** The running servers. */
export interface HttpEndpoints {
  /** Where /metrics is, with the real port; undefined when it is off. */
  readonly metricsAddress: BindAddress | undefined;
  /** Where the health endpoints are, with the real port; undefined when they are off. */
  readonly healthProbeAddress: BindAddress | undefined;
  /** Stops listening and resolves when no connection is left; a response under way gets one second to finish. */
  close(): Promise<void>;
}

/** A server could not listen. The message names the flag, the address and what is wrong with it. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  readonly flag: string;
  readonly address: string;

  constructor(flag: string, address: BindAddress, cause: Error) {
    const text = formatBindAddress(address);
    super(`${flag}: cannot listen on ${text}: ${listenProblem(cause)}; give another address, or "0" for none`, {
      cause,
    });
    this.flag = flag;
    this.address = text;
  }
}

/**
 * Serves `/metrics`, and `/healthz`, `/livez` and `/readyz` in the form of the Kubernetes API server: 200 `ok`, or 500
 * with the list of checks; `?verbose` always lists them. One server serves both when the addresses are the same and
 * metrics have no security; two addresses with port 0 are not the same. With security, `/metrics` answers 401 without a
 * token that is known, 403 when its holder may not read, and 503 when that cannot be told; probes stay plain HTTP, as the
 * kubelet wants them. Throws `ListenError`; then nothing is left listening.
 */
export async function startHttpEndpoints(options: HttpEndpointsOptions): Promise<HttpEndpoints> {
  const { metricsBindAddress, healthProbeBindAddress, metrics, metricsSecurity, liveness, readiness } = options;
  const metricsRoutes: Routes = {
    '/metrics': async (_query, { authorization }) =>
      refusal(await metricsSecurity?.access.decide(authorization)) ?? metricsReply(metrics),
  };
  const healthRoutes: Routes = {
    '/healthz': (query) => healthReply('healthz', liveness, query),
    '/livez': (query) => healthReply('livez', liveness, query),
    '/readyz': (query) => healthReply('readyz', readiness, query),
  };

  if (metricsSecurity === undefined && metricsBindAddress !== undefined && healthProbeBindAddress !== undefined) {
    if (sameAddress(metricsBindAddress, healthProbeBindAddress)) {
      const both = await listen(METRICS_FLAG, metricsBindAddress, { ...metricsRoutes, ...healthRoutes });
      return { metricsAddress: both.address, healthProbeAddress: both.address, close: () => both.close() };
    }
  }
  const certificate = metricsSecurity?.certificate;
  let metricsServer: Listening | undefined;
  try {
    metricsServer = metricsBindAddress && (await listen(METRICS_FLAG, metricsBindAddress, metricsRoutes, certificate));
    const healthServer = healthProbeBindAddress && (await listen(HEALTH_FLAG, healthProbeBindAddress, healthRoutes));
    return {
      metricsAddress: metricsServer?.address,
      healthProbeAddress: healthServer?.address,
      async close() {
        certificate?.close();
        await Promise.all([metricsServer?.close(), healthServer?.close()]);
      },
    };
  } catch (error) {
    certificate?.close();
    await metricsServer?.close();
    throw error;
  }
}

const METRICS_FLAG = '--metrics-bind-address';
const HEALTH_FLAG = '--health-probe-bind-address';
const CLOSE_GRACE_MILLISECONDS = 1000;
/** Who connects and does not shake hands is let go after this. */
const HANDSHAKE_TIMEOUT_MILLISECONDS = 10_000;
const PLAIN_TEXT = 'text/plain; charset=utf-8';

interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  /** Further headers. */
  readonly headers?: Readonly<Record<string, string>>;
}

type Routes = Readonly<Record<string, (query: URLSearchParams, headers: IncomingMessage['headers']) => Promise<Reply>>>;

interface Listening {
  readonly address: BindAddress;
  close(): Promise<void>;
}

function sameAddress(one: BindAddress, other: BindAddress): boolean {
  return one.port !== 0 && one.port === other.port && one.host === other.host;
}

async function listen(
  flag: string,
  wanted: BindAddress,
  routes: Routes,
  certificate?: ServingCertificate,
): Promise<Listening> {
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    // Without this a keep-alive connection outlives its last response by keepAliveTimeout, and close() waits for it.
    void answer(request, response, routes, () => !server.listening);
  };
  const server = certificate === undefined ? createServer(handle) : createHttpsServer(certificate, handle);
  // HTTP knows no connection whose TLS handshake is not over, but close() waits for it.
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(new ListenError(flag, wanted, error));
    });
    server.listen({ port: wanted.port, host: wanted.host }, resolve);
  });
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : wanted.port;
  return { address: { host: wanted.host, port }, close: () => close(server, sockets) };
}

function createHttpsServer(
  certificate: ServingCertificate,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  const server = createSecureServer(
    {
      ...secureContext(certificate.current),
      // HTTP/2 has cost servers of Go several flaws that let anybody exhaust them; a scrape gains nothing by it.
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: HANDSHAKE_TIMEOUT_MILLISECONDS,
    },
    handle,
  );
  certificate.onChange((next) => {
    server.setSecureContext(secureContext(next));
  });
  return server;
}

function secureContext({ certificate, key }: KeyedCertificate) {
  return { cert: certificate, key, minVersion: 'TLSv1.2' } as const;
}

async function close(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  const patience = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, CLOSE_GRACE_MILLISECONDS);
  // Ends idle keep-alive connections too, since Node 19.
  await new Promise((resolve) => server.close(resolve));
  clearTimeout(patience);
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: Routes,
  isClosing: () => boolean,
): Promise<void> {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  let reply: Reply;
  if (route === undefined) {
    reply = text(404, `404 not found; this server has ${Object.keys(routes).join(', ')}\n`);
  } else if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    reply = text(405, `405 method not allowed: expected GET or HEAD, got ${request.method ?? 'none'}\n`);
  } else {
    try {
      reply = await route(new URLSearchParams(query), request.headers);
    } catch (error) {
      reply = text(500, `500 ${path} failed: ${reasonOf(error)}\n`);
    }
  }
  if (isClosing()) response.setHeader('Connection', 'close');
  response.writeHead(reply.status, {
    ...reply.headers,
    'Content-Type': reply.contentType,
    'Content-Length': Buffer.byteLength(reply.body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(reply.body);
}

/** The answer to somebody who may not read; undefined: may. Without security there is no decision. */
function refusal(decision: AccessDecision | undefined): Reply | undefined {
  switch (decision) {
    case undefined:
    case 'allowed':
      return undefined;
    case 'no-token':
      return {
        ...text(401, '401 unauthorized: expected the header "Authorization: Bearer TOKEN"\n'),
        headers: { 'WWW-Authenticate': 'Bearer' },
      };
    case 'unauthenticated':
      return {
        ...text(401, '401 unauthorized: the API server does not know this token, or it has expired\n'),
        headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' },
      };
    case 'forbidden':
      return text(403, '403 forbidden: expected the right to the verb get on the nonResourceURL /metrics\n');
    case 'unknown':
      return text(503, '503 unavailable: the API server could not be asked who may read\n');
  }
}

async function metricsReply(source: MetricsSource): Promise<Reply> {
  return { status: 200, contentType: source.contentType, body: await source.metrics() };
}

/** The lines are those of k8s.io/apiserver/pkg/server/healthz, but with the reason of a failure. */
async function healthReply(endpoint: string, checks: readonly HealthCheck[], query: URLSearchParams): Promise<Reply> {
  const failures = await Promise.all(checks.map(failureOf));
  const failed = failures.some((reason) => reason !== undefined);
  if (!failed && !query.has('verbose')) return text(200, 'ok');
  const lines = checks.map(({ name }, index) => {
    const reason = failures[index];
    return reason === undefined ? `[+]${name} ok` : `[-]${name} failed: ${reason}`;
  });
  return text(failed ? 500 : 200, [...lines, `${endpoint} check ${failed ? 'failed' : 'passed'}\n`].join('\n'));
}

async function failureOf({ failure }: HealthCheck): Promise<string | undefined> {
  try {
    return await failure();
  } catch (error) {
    return reasonOf(error);
  }
}

function text(status: number, body: string): Reply {
  return { status, contentType: PLAIN_TEXT, body };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? errorText(error) : String(error);
}

function listenProblem(cause: Error): string {
  switch ('code' in cause ? cause.code : undefined) {
    case 'EADDRINUSE':
      return 'something already listens there (EADDRINUSE)';
    case 'EACCES':
      return 'this user may not listen there (EACCES)';
    case 'EADDRNOTAVAIL':
      return 'this host does not have that address (EADDRNOTAVAIL)';
    case 'ENOTFOUND':
      return 'the host name is not known (ENOTFOUND)';
    default:
      return errorText(cause);
  }
}
