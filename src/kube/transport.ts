import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, ProxyAgent, type Dispatcher } from 'undici';
import { collect, type CollectedResponse } from './collect.ts';
import { ConcurrencyLimit, type Slot, type Verdict } from './concurrency-limit.ts';
import { APIError, ConnectionError, FencedError, OversizedAnswerError, type StatusBody } from './errors.ts';
import type { ClusterAccess, RequestHeaders } from './kubeconfig.ts';
import { LatencyLimit } from './latency-limit.ts';

/** Sees every answer of the API server, and how many requests it bears at a time; for metrics and the log. */
export interface RequestObserver {
  /**
   * @param code HTTP status, or `<error>` when no answer came
   * @param seconds from sending until the answer was read, or until its headers for a stream
   */
  observeRequest(method: string, resource: string, code: number | '<error>', seconds: number): void;
  /**
   * Called once at the start, and at each change.
   * @param limit how many requests may be in flight now
   * @param max how many may be when the server does not throttle
   */
  observeConcurrencyLimit(limit: number, max: number): void;
  /**
   * Called once at the start, and at each change.
   * @param limit how many requests in flight make the server faster
   */
  observeLatencyLimit(limit: number): void;
}

/** Options of a {@link Transport}. */
export interface TransportOptions {
  readonly access: ClusterAccess;
  readonly userAgent: string;
  /** Most requests at a time, each on a connection; streams and urgent requests have connections of their own. */
  readonly connections: number;
  /** Longest wait for a connection, for an answer, and for more of it; in milliseconds. */
  readonly timeoutMs: number;
  readonly observer?: RequestObserver;
}

/** One request to the API server. */
export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query. */
  readonly path: string;
  /** Plural of the resource, for metrics. */
  readonly resource: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  /** Longest wait for the answer, all tries and waits together, in milliseconds; the transport's is for each try. */
  readonly timeoutMs?: number;
  /** Never waits behind other requests, for a connection or because the server throttles; for the Lease. */
  readonly urgent?: boolean | undefined;
  /** Asked at the moment of each sending, after all waits; when it says no, the request fails with a FencedError. */
  readonly maySend?: (() => boolean) | undefined;
  /** Longest answer that is read, in bytes; with a longer one the request fails with an OversizedAnswerError. */
  readonly maxBytes?: number | undefined;
}

/** Tries of one request when the server asks to come back later; as in client-go. */
const MAX_ATTEMPTS = 10;
/** Longest that credentials are reused before they are asked for again: plugins and token files cost. */
const HEADERS_MAX_AGE_MS = 30_000;
/** Longest wait that a Retry-After is followed for. */
const MAX_RETRY_AFTER_MS = 30_000;
/** TCP keep-alive probes start early, so that a dead peer is noticed before load balancers forget the connection. */
const KEEP_ALIVE_INITIAL_DELAY_MS = 15_000;

/**
 * The only way to the API server: HTTP/1.1 on kept-alive connections of one agent (a new agent a request costs a TLS
 * handshake each, and HTTP/2 was slower against a kube-apiserver). Waits and retries when the server answers 429, or
 * 503 with a Retry-After; sends fewer requests at a time after a 429, and no more than make the server faster; asks for
 * new credentials once after a 401.
 */
export class Transport {
  readonly #access: ClusterAccess;
  readonly #userAgent: string;
  readonly #timeoutMs: number;
  readonly #observer: RequestObserver | undefined;
  readonly #limit: ConcurrencyLimit;
  readonly #bounded: Dispatcher;
  readonly #unbounded: Dispatcher;
  readonly #prefix: string;
  #headers: { readonly values: Promise<Readonly<RequestHeaders>>; readonly since: number } | undefined;

  constructor(options: TransportOptions) {
    this.#access = options.access;
    this.#userAgent = options.userAgent;
    this.#timeoutMs = options.timeoutMs;
    this.#observer = options.observer;
    this.#prefix = options.access.server.pathname.replace(/\/$/, '');
    const { observer, connections } = options;
    const latency = new LatencyLimit(connections, (limit) => observer?.observeLatencyLimit(limit));
    this.#limit = new ConcurrencyLimit(connections, {
      onChange: (limit) => observer?.observeConcurrencyLimit(limit, connections),
      latency,
    });
    observer?.observeConcurrencyLimit(connections, connections);
    observer?.observeLatencyLimit(latency.limit);
    this.#bounded = createAgent(options.access, connections, options.timeoutMs);
    // A watch holds its connection for minutes: requests must never queue behind one, nor urgent ones behind others.
    this.#unbounded = createAgent(options.access, null, options.timeoutMs);
  }

  /**
   * Sends a request and reads the whole answer.
   * @returns the parsed JSON body
   * @throws APIError for a status of 400 or more, ConnectionError when no answer came, FencedError when it was not sent
   */
  async request<T>(request: Request): Promise<T> {
    return parseAnswer(request, await this.requestText(request)) as T;
  }

  /**
   * Sends a request and reads the whole answer, without parsing it.
   * @throws APIError for a status of 400 or more, ConnectionError when no answer came, FencedError when it was not sent
   */
  async requestText(request: Request): Promise<string> {
    if (request.timeoutMs === undefined) return this.#try(request);
    const limit = AbortSignal.timeout(request.timeoutMs);
    return this.#try({ ...request, signal: request.signal ? AbortSignal.any([request.signal, limit]) : limit });
  }

  async #try(request: Request): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      // Each try takes a slot of its own: nobody holds one while it waits to come back.
      const response = await (request.urgent === true
        ? this.#send(request, this.#unbounded)
        : this.#sendInTurn(request));
      if (response.oversized) throw new OversizedAnswerError(describe(request), request.maxBytes ?? 0);
      if (response.statusCode < 400) return response.text;
      const error = toAPIError(request, response, response.text);
      if (response.statusCode === 401 && attempt === 1) {
        this.#headers = undefined;
        continue;
      }
      const wait = error.status === 429 || error.status === 503 ? error.retryAfterMs : undefined;
      if (wait === undefined || attempt >= MAX_ATTEMPTS) throw error;
      // A little more than asked, so that many waiters do not come back at once.
      const jittered = Math.min(wait, MAX_RETRY_AFTER_MS) * (1 + Math.random() * 0.2);
      await delay(jittered, undefined, request.signal && { signal: request.signal }).catch((aborted: unknown) => {
        throw new ConnectionError(describe(request), aborted);
      });
    }
  }

  /** Sends a request once when fewer are in flight than the server bears. */
  async #sendInTurn(request: Request): Promise<CollectedResponse> {
    const slot = this.#limit.tryAcquire(isMeasure(request)) ?? (await this.#waitForSlot(request));
    let verdict: Verdict = 'unknown';
    try {
      const response = await this.#send(request, this.#bounded);
      verdict = verdictOf(response.statusCode);
      return response;
    } finally {
      this.#limit.release(slot, verdict);
    }
  }

  async #waitForSlot(request: Request): Promise<Slot> {
    try {
      return await this.#limit.acquire(request.signal, isMeasure(request));
    } catch (aborted) {
      throw new ConnectionError(describe(request), aborted);
    }
  }

  async #send(request: Request, dispatcher: Dispatcher): Promise<CollectedResponse> {
    const started = performance.now();
    const response = await this.#reportFailure(request, started, async () =>
      collect(dispatcher, await this.#dispatchOptions(request, this.#timeoutMs), {
        signal: request.signal,
        maxBytes: request.maxBytes,
        onSend:
          request.maySend &&
          (() => {
            if (request.maySend?.() === false) throw new FencedError(describe(request));
          }),
      }),
    );
    this.#observe(request, response.statusCode, started);
    return response;
  }

  /**
   * Sends a GET and hands out the body as it comes; the caller ends it by the request's signal.
   * @throws APIError for a status of 400 or more, ConnectionError when no answer came
   */
  async stream(request: Request): Promise<Readable> {
    const started = performance.now();
    const response = await this.#reportFailure(request, started, async () => {
      // A stream is silent for as long as nothing changes; its reader has a timer of its own.
      const options = await this.#dispatchOptions(request, 0);
      return orAborted(this.#unbounded.request({ ...options, signal: request.signal ?? null }), request.signal);
    });
    this.#observe(request, response.statusCode, started);
    if (response.statusCode < 400) return response.body;
    if (response.statusCode === 401) this.#headers = undefined;
    throw toAPIError(request, response, await response.body.text().catch(() => ''));
  }

  /** Ends all connections, also those of streams. */
  async close(): Promise<void> {
    await Promise.all([this.#bounded.destroy(), this.#unbounded.destroy()]);
  }

  async #dispatchOptions(request: Request, bodyTimeout: number) {
    const headers = await this.#currentHeaders();
    return {
      origin: this.#access.server.origin,
      path: this.#prefix + request.path,
      method: request.method,
      headers: request.body === undefined ? headers : { ...headers, 'content-type': request.contentType ?? JSON_TYPE },
      body: request.body ?? null,
      headersTimeout: this.#timeoutMs,
      bodyTimeout,
    };
  }

  async #reportFailure<T>(request: Request, started: number, send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      if (error instanceof FencedError) throw error;
      this.#observe(request, '<error>', started);
      throw new ConnectionError(describe(request), error);
    }
  }

  async #currentHeaders(): Promise<Readonly<RequestHeaders>> {
    if (this.#headers === undefined || performance.now() - this.#headers.since > HEADERS_MAX_AGE_MS) {
      // Requests that start meanwhile wait for the same answer: a plugin must not run once for each of them.
      const values = this.#access
        .headers()
        .then((headers) => ({ accept: JSON_TYPE, 'user-agent': this.#userAgent, ...headers }));
      this.#headers = { values, since: performance.now() };
    }
    const current = this.#headers;
    try {
      return await current.values;
    } catch (error) {
      if (this.#headers === current) this.#headers = undefined;
      throw error;
    }
  }

  #observe(request: Request, code: number | '<error>', started: number): void {
    this.#observer?.observeRequest(request.method, request.resource, code, (performance.now() - started) / 1000);
  }
}

const JSON_TYPE = 'application/json';

function createAgent(access: ClusterAccess, connections: number | null, timeoutMs: number): Dispatcher {
  const common = { connections, pipelining: 1, allowH2: false, keepAliveTimeout: 60_000 };
  const tcp = { timeout: timeoutMs, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_INITIAL_DELAY_MS };
  if (access.proxy !== undefined) {
    return new ProxyAgent({ ...common, uri: access.proxy, requestTls: { ...access.tls, ...tcp } });
  }
  return new Agent({ ...common, connect: { ...access.tls, ...tcp } });
}

/**
 * What the promise gives, unless the signal is aborted before: undici heeds the signal of a request only once the
 * request has got a connection, and never sends it then.
 */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => {
    reject(signal.reason as Error);
  };
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * A kube-apiserver authenticates, then throttles, then does all else (DefaultBuildHandlerChain): whoever got another
 * answer than 401 or 429 was let in, be it 403, 404 or 409. What 5xx says of the load is not known.
 */
function verdictOf(status: number): Verdict {
  if (status === 429) return 'throttled';
  return status === 401 || status >= 500 ? 'unknown' : 'accepted';
}

/** How long a read takes depends on how much there is to read; a write says how busy the server is. */
function isMeasure({ method }: Request): boolean {
  return method !== 'GET';
}

function describe(request: Request): string {
  return `${request.method} ${request.path}`;
}

function parseAnswer(request: Request, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ConnectionError(`${describe(request)}: expected JSON, got ${JSON.stringify(text.slice(0, 80))}`, error);
  }
}

function toAPIError(
  request: Request,
  response: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>,
  text: string,
): APIError {
  let body: StatusBody;
  try {
    body = JSON.parse(text) as StatusBody;
  } catch {
    body = { message: text.trim().slice(0, 200) };
  }
  const header = Number(response.headers['retry-after']);
  const seconds = Number.isFinite(header) ? header : body.details?.retryAfterSeconds;
  return new APIError(describe(request), response.statusCode, body, seconds === undefined ? undefined : seconds * 1000);
}
