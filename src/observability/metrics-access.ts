import { createHmac, randomBytes } from 'node:crypto';
import type { Logger } from './log.ts';

/** What somebody who can tell says of a bearer token; see {@link MetricsAccessOptions}. */
export type AccessVerdict = 'unauthenticated' | 'forbidden' | 'allowed';

/** The same, and what can be told without asking: no token came, or nobody could be asked. */
export type AccessDecision = AccessVerdict | 'no-token' | 'unknown';

/** Whom to ask, and how time goes. */
export interface MetricsAccessOptions {
  /** Asks whether the holder of a token may read metrics; rejects when that cannot be told. */
  readonly review: (token: string) => Promise<AccessVerdict>;
  readonly logger: Logger;
  /** Clock in milliseconds. */
  readonly monotonic?: () => number;
}

/** How long a verdict counts, from when it was asked for; milliseconds. That is how late a change of rights is noticed. */
const ALLOWED_MS = 60_000;
const REFUSED_MS = 10_000;
/** Most tokens that are remembered, of those that were allowed and of the others. */
const MAX_REMEMBERED = 1_000;
/** Reviews at a time of tokens that were never allowed: whoever sends rubbish must not flood the API server. */
const MAX_REVIEWS = 16;
/** The scheme in any case, then b64token: RFC 6750, 2.1. */
const BEARER = /^bearer +([\w.~+/-]+=*) *$/i;

interface Remembered {
  readonly verdict: AccessVerdict;
  readonly until: number;
}

/**
 * Decides who may read metrics, as the filter of controller-runtime does (`WithAuthenticationAndAuthorization`), and
 * remembers it for a while. Requests of one token at a time make one review. Tokens are kept as keyed hashes, and only
 * by those; when nobody can be asked, nobody is let in but who was a moment ago.
 */
export class MetricsAccess {
  readonly #review: MetricsAccessOptions['review'];
  readonly #logger: Logger;
  readonly #monotonic: () => number;
  /** Of this process alone: what is in memory is no help to guess tokens. */
  readonly #hashKey = randomBytes(32);
  readonly #pending = new Map<string, Promise<AccessDecision>>();
  // Two, so that no flood of rubbish makes a good token forgotten.
  readonly #allowed = new Map<string, Remembered>();
  readonly #refused = new Map<string, Remembered>();
  #failures = 0;

  constructor({ review, logger, monotonic = () => performance.now() }: MetricsAccessOptions) {
    this.#review = review;
    this.#logger = logger;
    this.#monotonic = monotonic;
  }

  /** Decides by the header Authorization of a request. Never rejects. */
  async decide(authorization: string | undefined): Promise<AccessDecision> {
    const [, token] = BEARER.exec(authorization ?? '') ?? [];
    if (token === undefined) return 'no-token';
    const hash = createHmac('sha256', this.#hashKey).update(token).digest('base64');
    const now = this.#monotonic();
    const known = this.#allowed.get(hash) ?? this.#refused.get(hash);
    if (known !== undefined && now < known.until) return known.verdict;
    const pending = this.#pending.get(hash);
    if (pending !== undefined) return pending;
    if (this.#pending.size >= MAX_REVIEWS && !this.#allowed.has(hash)) return 'unknown';
    const asked = this.#ask(hash, token, now).finally(() => this.#pending.delete(hash));
    this.#pending.set(hash, asked);
    return asked;
  }

  async #ask(hash: string, token: string, now: number): Promise<AccessDecision> {
    try {
      const verdict = await this.#review(token);
      this.#failures = 0;
      this.#remember(hash, verdict, now);
      return verdict;
    } catch (error) {
      this.#failures++;
      // The first, second, fourth, eighth … time, as for all that happens again and again.
      if ((this.#failures & (this.#failures - 1)) === 0) {
        this.#logger.warn('Failed to ask the API server who may read metrics', { error, failures: this.#failures });
      }
      return 'unknown';
    }
  }

  #remember(hash: string, verdict: AccessVerdict, now: number): void {
    this.#allowed.delete(hash);
    this.#refused.delete(hash);
    const isAllowed = verdict === 'allowed';
    const verdicts = isAllowed ? this.#allowed : this.#refused;
    verdicts.set(hash, { verdict, until: now + (isAllowed ? ALLOWED_MS : REFUSED_MS) });
    if (verdicts.size <= MAX_REMEMBERED) return;
    const [oldest] = verdicts.keys();
    if (oldest !== undefined) verdicts.delete(oldest);
  }
}
