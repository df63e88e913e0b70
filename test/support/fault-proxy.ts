import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { Agent, type Server as HttpsServer, createServer as createHttpsServer, request as send } from 'node:https';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { CertificateAuthority } from '../../hack/envtest/certificates.ts';

/** A request as it came to the proxy. */
export interface ProxiedRequest {
  readonly method: string;
  /** The URL that was asked for; its host is the proxy. */
  readonly url: URL;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** When it came, by performance.now(). */
  readonly at: number;
}

/**
 * What the client gets in place of a line of an answer: this text (an untouched line ends with a newline), and then
 * what comes next, or the regular end of the answer, the end of the connection in its midst, or nothing ever more.
 * Or the text is held until the next line has gone ahead of it, but no longer than a time in milliseconds.
 */
export type LineEdit =
  | string
  | { readonly text: string; readonly then: 'end' | 'break' | 'silence' }
  | { readonly text: string; readonly holdForMs: number };

/** How a request that reaches an API server fares. */
export interface Forwarding {
  /** URL of another API server that gets the request, with the same certificate authority and users. */
  readonly server?: string;
  /** Called when the API server has done what was asked, before the client hears of it. */
  readonly onAnswer?: (status: number) => void;
  /** How long the answer is held back; milliseconds. */
  readonly delayMs?: number;
  /** What becomes of each line of the answer, for watches; a promise holds up this line and those after it. */
  readonly editLine?: (line: string) => LineEdit | Promise<LineEdit>;
}

/**
 * What happens to a request.
 *
 * - `pass`: it goes to the API server, and its answer to the client;
 * - `reset`: the connection is reset, the API server never sees the request;
 * - `lose-answer`: the API server does what was asked, then the connection is reset;
 * - `withhold-answer`: the API server does what was asked, but there is never an answer;
 * - `black-hole`: there is never an answer, and the API server never sees the request;
 * - an answer of the proxy's own; a body that is no string is sent as JSON;
 * - a way to an API server that is not the plain one.
 */
export type Fault =
  | 'pass'
  | 'reset'
  | 'lose-answer'
  | 'withhold-answer'
  | 'black-hole'
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown }
  | Forwarding;

/** Decides what happens to a request, when it has come whole; a promise delays it. */
export type Intercept = (request: ProxiedRequest) => Fault | Promise<Fault>;

interface Kubeconfig {
  clusters: { cluster: { server: string; 'certificate-authority-data': string } }[];
  users: { user: { token?: string } }[];
}

/** The two halves of a connection: from the client, and on to the HTTP server of this process. */
interface Link {
  readonly client: Socket;
  readonly inner: Socket;
}

/** Headers that are about one connection (RFC 9110, 7.6.1) and are not passed on. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding']);

/**
 * A proxy in front of a real API server that makes faults: per request by `intercept`, and of the whole network by
 * `cut` and `stall`. It ends TLS, with a certificate of its own that `kubeconfig` trusts, and passes the client's
 * bearer token on.
 */
export class FaultProxy implements AsyncDisposable {
  /** URL of the proxy. */
  readonly server: string;
  /** Path of a kubeconfig that leads to the proxy, with the credentials of the one that it was started with. */
  readonly kubeconfig: string;
  /** All requests so far, in the order of their coming. */
  readonly requests: ProxiedRequest[] = [];
  /** Decides what happens to each request; by default it passes. */
  intercept: Intercept = () => 'pass';

  readonly #upstream: { readonly url: URL; readonly agent: Agent };
  readonly #front: Server;
  readonly #inner: HttpsServer;
  readonly #folder: string;
  readonly #links = new Set<Link>();
  #accepted = 0;
  #stalled = false;

  private constructor(kubeconfig: Kubeconfig, front: Server, inner: HttpsServer, folder: string, ca: string) {
    const { cluster } = only(kubeconfig.clusters, 'cluster');
    const { user } = only(kubeconfig.users, 'user');
    if (user.token === undefined) throw new Error('Expected a user with a token: no certificate passes a proxy');
    const trusted = Buffer.from(cluster['certificate-authority-data'], 'base64').toString();
    this.#upstream = { url: new URL(cluster.server), agent: new Agent({ ca: trusted, keepAlive: true }) };
    this.#front = front;
    this.#inner = inner;
    this.#folder = folder;
    this.server = `https://127.0.0.1:${portOf(front)}`;
    this.kubeconfig = join(folder, 'kubeconfig');
    cluster.server = this.server;
    cluster['certificate-authority-data'] = Buffer.from(ca).toString('base64');
    writeFileSync(this.kubeconfig, stringify(kubeconfig, { lineWidth: 0 }), { mode: 0o600 });
    front.on('connection', (client) => {
      this.#accept(client);
    });
    inner.on('request', (request, response) => {
      void this.#serve(request, response);
    });
  }

  /** Starts a proxy to the API server of a kubeconfig that has one cluster, and one user with a token. */
  static async start(kubeconfig: string): Promise<FaultProxy> {
    const ca = new CertificateAuthority('fault-proxy');
    const { certificate, key } = ca.issueServer(['127.0.0.1']);
    // Pauses of a client are for tests to make, not for time-outs of the server.
    const inner = createHttpsServer({ cert: certificate, key, keepAliveTimeout: 0 });
    const front = createServer();
    for (const server of [inner, front]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    const folder = mkdtempSync(join(tmpdir(), 'fault-proxy-'));
    const config = parse(readFileSync(kubeconfig, 'utf8')) as Kubeconfig;
    return new FaultProxy(config, front, inner, folder, ca.certificate);
  }

  /** How many connections clients have made so far. */
  get accepted(): number {
    return this.#accepted;
  }

  /** How many connections are open. */
  get open(): number {
    return this.#links.size;
  }

  /** Resets all connections; new ones work. */
  cut(): void {
    for (const { client } of this.#links) client.resetAndDestroy();
  }

  /** From now on no byte goes through in any direction, as in a network partition; nobody is told. */
  stall(): void {
    this.#stalled = true;
    for (const { client, inner } of this.#links) {
      client.unpipe(inner).pause();
      inner.unpipe(client).pause();
    }
  }

  /** Ends a stall; what was sent meanwhile arrives now. */
  resume(): void {
    this.#stalled = false;
    for (const link of this.#links) pass(link);
  }

  /** Ends all connections and removes the kubeconfig. */
  async close(): Promise<void> {
    const closed = [once(this.#front, 'close'), once(this.#inner, 'close')];
    this.#front.close();
    this.#inner.close();
    this.cut();
    await Promise.all(closed);
    this.#upstream.agent.destroy();
    rmSync(this.#folder, { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #accept(client: Socket): void {
    this.#accepted++;
    client.setNoDelay();
    const link = { client, inner: connect(portOf(this.#inner), '127.0.0.1') };
    this.#links.add(link);
    for (const socket of [client, link.inner]) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#links.delete(link);
        client.destroy();
        link.inner.destroy();
      });
    }
    if (!this.#stalled) pass(link);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await buffer(request);
      const { method = 'GET', headers } = request;
      const url = new URL(request.url ?? '/', this.server);
      const proxied = { method, url, headers, body: body.toString(), at: performance.now() };
      this.requests.push(proxied);
      await this.#answer(await this.intercept(proxied), request, body, response);
    } catch {
      // The client or the API server broke off: the other one must see that too.
      this.#reset(request);
    }
  }

  async #answer(fault: Fault, request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
    if (fault === 'black-hole') return;
    if (fault === 'reset') {
      this.#reset(request);
      return;
    }
    if (typeof fault === 'object' && 'status' in fault) {
      const text = typeof fault.body === 'string' ? fault.body : JSON.stringify(fault.body ?? {});
      response.writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers }).end(text);
      return;
    }
    const forwarding: Forwarding = typeof fault === 'object' ? fault : {};
    const answer = await this.#forward(request, body, response, forwarding.server);
    const { statusCode = 500 } = answer;
    forwarding.onAnswer?.(statusCode);
    if (fault === 'lose-answer' || fault === 'withhold-answer') {
      await buffer(answer);
      if (fault === 'lose-answer') this.#reset(request);
      return;
    }
    if (forwarding.delayMs !== undefined) await delay(forwarding.delayMs);
    const { editLine } = forwarding;
    const dropped = new Set([...HOP_BY_HOP, ...(editLine === undefined ? [] : ['content-length'])]);
    const headers = Object.entries(answer.headers).filter(([name]) => !dropped.has(name));
    response.writeHead(statusCode, Object.fromEntries(headers)).flushHeaders();
    if (editLine === undefined) {
      for await (const chunk of answer) response.write(chunk);
    } else {
      const held = new HeldText(response);
      for await (const line of linesOf(answer)) {
        const edit = await editLine(line);
        if (typeof edit === 'object' && 'holdForMs' in edit) {
          held.hold(edit.text, edit.holdForMs);
          continue;
        }
        response.write(typeof edit === 'string' ? edit : edit.text);
        held.release();
        if (typeof edit === 'string') continue;
        if (edit.then === 'silence') return;
        if (edit.then === 'break') request.socket.destroySoon();
        else response.end();
        return;
      }
      held.release();
    }
    response.end();
  }

  /** Sends the request on; resolves with the head of the answer. */
  async #forward(
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse,
    server?: string,
  ): Promise<IncomingMessage> {
    const { agent } = this.#upstream;
    const url = server === undefined ? this.#upstream.url : new URL(server);
    const headers = Object.entries(request.headers).filter(([name]) => !HOP_BY_HOP.has(name));
    const forwarded = send(new URL(request.url ?? '/', url), {
      method: request.method,
      agent,
      headers: { ...Object.fromEntries(headers), host: url.host },
    });
    response.once('close', () => forwarded.destroy());
    forwarded.end(body);
    const [answer] = (await once(forwarded, 'response')) as [IncomingMessage];
    return answer;
  }

  /** Resets the client's connection that the request came on. */
  #reset(request: IncomingMessage): void {
    for (const { client, inner } of this.#links) {
      if (inner.localPort === request.socket.remotePort) client.resetAndDestroy();
    }
  }
}

/** A text of an answer that waits for another one to go ahead of it. */
class HeldText {
  readonly #response: ServerResponse;
  #text = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.once('close', () => {
      clearTimeout(this.#timer);
    });
  }

  /** Holds a text for so many milliseconds at most; one that is held already goes first. */
  hold(text: string, forMs: number): void {
    this.release();
    this.#text = text;
    this.#timer = setTimeout(() => {
      this.release();
    }, forMs);
  }

  /** Writes what is held, if anything is. */
  release(): void {
    clearTimeout(this.#timer);
    if (this.#text !== '') this.#response.write(this.#text);
    this.#text = '';
  }
}

/** Lets bytes go through in both directions. */
function pass({ client, inner }: Link): void {
  client.pipe(inner);
  inner.pipe(client);
}

async function* linesOf(stream: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream.setEncoding('utf8') as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield `${line}\n`;
  }
  if (rest !== '') yield rest;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

function only<T>(entries: readonly T[], what: string): T {
  const [entry] = entries;
  if (entry === undefined || entries.length > 1) {
    throw new Error(`Expected a kubeconfig with one ${what}, got ${entries.length}`);
  }
  return entry;
}
