import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from '../support/await.ts';
import { Demo } from '../support/demo.ts';
import type { Fault, FaultProxy, ProxiedRequest } from '../support/fault-proxy.ts';
import { isWatch, resourceOf, tooManyRequests } from '../support/faults.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { ELECTION_FLAGS } from '../support/service-account.ts';
import { assertSameOutcome, quiet, Workload } from '../support/workload.ts';

const NAMESPACES = 200;
/** Most requests that an operator has in flight beside its Lease: workers, and eight more. */
const CONNECTIONS = 16 + 8;
/** Writes that the API server bears at a time, and how long it takes for each; milliseconds. */
const CAPACITY = 4;
const WRITE_MS = 20;
const RETRY_AFTER_MS = 1_000;
/** After so many writes the API server refuses everything for a while; milliseconds. */
const COLLAPSES_AT = 200;
const COLLAPSE_MS = 3_000;
/** After so many writes it finishes none before the Lease has been renewed twice. */
const STUCK_AT = 400;
/** Default of --leader-election-renew-deadline. */
const RENEW_DEADLINE_MS = 10_000;
/** A timer of Node may fire that much early by performance.now(): it counts whole milliseconds. */
const TIMER_RESOLUTION_MS = 1;

describe('an API server that throttles', function () {
  this.timeout(180_000);
  let demo: Demo;
  let oracle: Oracle;
  let clean: Outcome;

  before(async () => {
    demo = await Demo.start({ faults: true, flags: ELECTION_FLAGS });
    oracle = await Oracle.start(demo.kube);
    await new Workload(demo, oracle, 'clean').fill(NAMESPACES);
    await eventually(() => quiet(demo.proxy, 3_000), { timeout: 60_000 });
    clean = await oracle.outcome('clean');
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  it('is asked for less at a time, never before it said, and for as much as ever when it is over', async () => {
    const server = new SmallServer(demo.proxy);
    const limits = new Set<number>();
    assert.equal(await limit(), CONNECTIONS);
    demo.proxy.intercept = (request) => server.serve(request);
    const filling = new Workload(demo, oracle, 'throttled').fill(NAMESPACES).then(() => 'filled');
    for (let state = 'filling'; state !== 'filled'; state = await Promise.race([filling, delay(50, 'filling')])) {
      limits.add(await limit());
    }
    demo.proxy.intercept = () => 'pass';
    const longestGapMs = server.longestRenewalGapMs();
    assert.ok(server.hasFailed, 'the API server refused everything for a while, and finished nothing for another');
    assert.ok(server.refused.has('leases PUT') && server.refused.has('namespaces watch'), [...server.refused].join());
    assert.ok(Math.min(...limits) <= CAPACITY, `the limit did not fall: ${[...limits].join()}`);
    assert.deepEqual(server.early, [], 'requests that came before their Retry-After');

    await new Workload(demo, oracle, 'recovered').fill(100);
    assert.equal(await limit(), CONNECTIONS);
    const said = demo.operator.log.map(({ msg }) => msg);
    for (const message of [
      'The API server throttles, sending fewer requests at a time',
      'The API server throttles no more',
    ]) {
      assert.equal(said.filter((msg) => msg === message).length, 1, message);
    }
    // The Lease never waits in line behind other requests.
    assert.ok(!said.includes('Lost leadership'));
    assert.ok(longestGapMs < RENEW_DEADLINE_MS, `renewed after ${longestGapMs} ms`);
    await assertSameOutcome(demo, oracle, 'throttled', clean);
  });

  function limit(): Promise<number> {
    return demo.operator.metric('rest_client_concurrency_limit');
  }
});

/**
 * An API server of little capacity: it refuses writes while too many are in flight. After some of them it loses its watches
 * and refuses everything for a while; later it is stuck until the Lease has been renewed. Sees to it that each request that
 * was refused is sent again no earlier than asked.
 */
class SmallServer {
  /** Kinds of requests that were refused. */
  readonly refused = new Set<string>();
  /** Requests that came too early, with how many milliseconds too early. */
  readonly early: string[] = [];
  readonly #proxy: FaultProxy;
  readonly #refusedAt = new Map<string, number>();
  readonly #renewedAt: number[] = [performance.now()];
  readonly #freed = Promise.withResolvers<undefined>();
  #renewalsUntilFreed = 2;
  #inFlight = 0;
  #accepted = 0;
  #collapsedAt: number | undefined;

  constructor(proxy: FaultProxy) {
    this.#proxy = proxy;
  }

  /** Whether it has gone through all that it is for. */
  get hasFailed(): boolean {
    return this.#collapsedAt !== undefined && this.#renewalsUntilFreed <= 0;
  }

  /** The longest time until now between two renewals of the Lease that succeeded; milliseconds. */
  longestRenewalGapMs(): number {
    const times = [...this.#renewedAt, performance.now()];
    return Math.max(...times.slice(1).map((at, index) => at - (times[index] ?? at)));
  }

  async serve(request: ProxiedRequest): Promise<Fault> {
    this.#checkRetryAfter(request);
    if (this.#isCollapsed()) return this.#refuse(request);
    if (request.method === 'GET') return 'pass';
    if (resourceOf(request) === 'leases') return { onAnswer: this.#renewed };
    if (this.#inFlight >= CAPACITY) return this.#refuse(request);
    this.#inFlight++;
    if (++this.#accepted === COLLAPSES_AT) this.#collapse();
    const collapsedAt = this.#collapsedAt;
    await delay(WRITE_MS);
    if (this.#accepted >= STUCK_AT) await this.#freed.promise;
    return {
      onAnswer: () => {
        if (collapsedAt === this.#collapsedAt) this.#inFlight--;
      },
    };
  }

  #checkRetryAfter(request: ProxiedRequest): void {
    const identity = identityOf(request);
    const refusedAt = this.#refusedAt.get(identity);
    if (refusedAt === undefined) return;
    this.#refusedAt.delete(identity);
    const earlyMs = refusedAt + RETRY_AFTER_MS - request.at;
    if (earlyMs > TIMER_RESOLUTION_MS) this.early.push(`${identity}: ${earlyMs}`);
  }

  #collapse(): void {
    this.#collapsedAt = performance.now();
    // What was in flight until now gets no answer.
    this.#inFlight = 0;
    this.#proxy.cut();
  }

  readonly #renewed = (): void => {
    this.#renewedAt.push(performance.now());
    if (this.#accepted >= STUCK_AT && --this.#renewalsUntilFreed === 0) this.#freed.resolve(undefined);
  };

  #isCollapsed(): boolean {
    return this.#collapsedAt !== undefined && performance.now() < this.#collapsedAt + COLLAPSE_MS;
  }

  #refuse(request: ProxiedRequest): Fault {
    this.refused.add(`${resourceOf(request)} ${isWatch(request) ? 'watch' : request.method}`);
    this.#refusedAt.set(identityOf(request), performance.now());
    return tooManyRequests(RETRY_AFTER_MS / 1_000);
  }
}

/** The same for all tries of one request. Tries of a watch differ in their time-outs. */
function identityOf(request: ProxiedRequest): string {
  const { method, url, body } = request;
  return isWatch(request) ? `watch ${resourceOf(request)}` : `${method} ${url.pathname}${url.search} ${body}`;
}
