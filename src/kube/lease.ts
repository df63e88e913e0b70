import { setTimeout as delay } from 'node:timers/promises';
import type { KubernetesObject } from '../api/metadata.ts';
import type { Logger } from '../observability/log.ts';
import { RESOURCES, type KubeClient } from './client.ts';
import { isAlreadyExists, isConflict, isNotFound } from './errors.ts';

/** A coordination.k8s.io/v1 Lease as it is on the wire. */
interface Lease extends KubernetesObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

/** Options of a {@link LeaderElector}; durations in milliseconds, as in client-go: lease > renew > retry. */
export interface LeaderElectorOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly leaseDurationMs: number;
  /** A leader that could not renew for so long stops leading. */
  readonly renewDeadlineMs: number;
  readonly retryPeriodMs: number;
  readonly logger: Logger;
  readonly onStartedLeading: () => void;
  readonly onStoppedLeading: () => void;
  /** Told when a try succeeds after one that failed. Whoever leads or not, the API server is asked every few seconds. */
  readonly onReachedAgain?: () => void;
  /** Monotonic clock in milliseconds; expiry is never judged by wall clocks, which differ and jump. */
  readonly monotonic?: () => number;
}

/**
 * Leader election by Lease, with the algorithm of client-go's leaderelection: a candidate takes the Lease over when its
 * record did not change for its duration on the candidate's own monotonic clock. A leader counts its own time from the
 * moment it sent its last successful renewal, so it stops before anybody else can have seen the Lease expire.
 */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #monotonic: () => number;
  readonly #logger: Logger;
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;
  #lease: Lease | undefined;
  #observedRecord = '';
  #observedAt = 0;
  #leading = false;
  #renewedAt = 0;
  #failures = 0;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#monotonic = options.monotonic ?? (() => performance.now());
    this.#logger = options.logger.with({ lease: `${options.namespace}/${options.name}`, identity: options.identity });
  }

  /** Whether this process may write now. Judged at the moment of the call, also after the process was stopped. */
  isLeader(): boolean {
    return this.#leading && this.#monotonic() - this.#renewedAt < this.#options.renewDeadlineMs;
  }

  /** Starts to run for leader; returns at once. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops, and gives the Lease back if it is held, so that the next leader need not wait for it to expire. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
    this.#leading = false;
    await this.#release();
  }

  async #run(): Promise<void> {
    const { retryPeriodMs, renewDeadlineMs } = this.#options;
    const { signal } = this.#stopped;
    while (!this.#isStopped()) {
      const started = this.#monotonic();
      const reached = await this.#tryAcquireOrRenew();
      if (this.#isStopped()) break;
      // An answer that is seen so late, as when this process was stopped meanwhile, says nothing of who leads now.
      const won = reached && this.#monotonic() - started < renewDeadlineMs;
      // Also when nobody took the Lease meanwhile: what was refused to be written since must be looked at again.
      if (this.#leading && (!this.isLeader() || (!won && this.#heldByOther()))) this.#lose();
      if (won) {
        this.#renewedAt = started;
        if (!this.#leading) {
          this.#leading = true;
          this.#logger.info('Became leader');
          this.#options.onStartedLeading();
        }
      }
      // Candidates spread their tries, so that they do not all ask at once; a leader renews steadily.
      const waitMs = this.#leading
        ? Math.min(retryPeriodMs, this.#leftMs())
        : retryPeriodMs * (1 + Math.random() * 0.2);
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
      // Told at the deadline, not after one more try: by then another process may lead.
      if (this.#leading && !this.isLeader() && !this.#isStopped()) this.#lose();
    }
  }

  #lose(): void {
    this.#leading = false;
    this.#logger.warn('Lost leadership');
    this.#options.onStoppedLeading();
  }

  /** How long the last renewal still holds, in milliseconds. */
  #leftMs(): number {
    return Math.max(0, this.#renewedAt + this.#options.renewDeadlineMs - this.#monotonic());
  }

  /** A try that takes longer than half the deadline is better made anew; one past the deadline can't save anything. */
  #tryTimeoutMs(): number {
    const halfMs = this.#options.renewDeadlineMs / 2;
    return Math.ceil(Math.max(1, this.#leading ? Math.min(halfMs, this.#leftMs()) : halfMs));
  }

  #isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** One try; whether the Lease is ours afterwards. Failures are logged and count as no. */
  async #tryAcquireOrRenew(): Promise<boolean> {
    try {
      const won = this.#leading ? await this.#renew() : await this.#acquire();
      if (this.#failures > 0) {
        this.#logger.info('Reached the Lease again', { failures: this.#failures });
        this.#failures = 0;
        this.#options.onReachedAgain?.();
      }
      return won;
    } catch (error) {
      if (isConflict(error) || isAlreadyExists(error)) {
        // Somebody else wrote or deleted it: look again at the next try.
        this.#lease = undefined;
        return false;
      }
      this.#failures++;
      if ((this.#failures & (this.#failures - 1)) === 0) {
        this.#logger.warn('Failed to reach the Lease', { error, failures: this.#failures });
      }
      return false;
    }
  }

  async #renew(): Promise<boolean> {
    const lease = this.#lease ?? (await this.#read());
    if (lease === undefined) return this.#create();
    this.#lease = lease;
    if (lease.spec?.holderIdentity !== this.#options.identity) return false;
    const renewed = { ...lease, spec: { ...lease.spec, renewTime: microTime() } };
    this.#remember(await this.#replace(renewed));
    return true;
  }

  async #acquire(): Promise<boolean> {
    const lease = await this.#read();
    if (lease === undefined) return this.#create();
    this.#observe(lease);
    const holder = lease.spec?.holderIdentity ?? '';
    const durationMs = (lease.spec?.leaseDurationSeconds ?? 0) * 1000;
    const expired = this.#monotonic() - this.#observedAt >= durationMs;
    if (holder !== '' && holder !== this.#options.identity && !expired) return false;
    // Our own from before, a holder that comes back: no transition.
    const transitions = (lease.spec?.leaseTransitions ?? 0) + (holder === this.#options.identity ? 0 : 1);
    const spec = { ...this.#record(microTime()), leaseTransitions: transitions };
    this.#remember(await this.#replace({ ...lease, spec }));
    return true;
  }

  async #create(): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const lease: Lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, namespace },
      spec: { ...this.#record(microTime()), leaseTransitions: 0 },
    };
    this.#remember(await client.create<Lease>(RESOURCES.leases, JSON.stringify(lease), namespace));
    return true;
  }

  async #release(): Promise<void> {
    if (this.#lease?.spec?.holderIdentity !== this.#options.identity) return;
    try {
      await this.#replace({
        ...this.#lease,
        spec: { ...this.#lease.spec, holderIdentity: '', leaseDurationSeconds: 1 },
      });
      this.#logger.info('Released the Lease');
    } catch (error) {
      // After a conflict it is somebody else's.
      if (!isConflict(error)) this.#logger.warn('Failed to release the Lease', { error });
    }
  }

  #record(now: string): NonNullable<Lease['spec']> {
    const { identity, leaseDurationMs } = this.#options;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDurationMs / 1000),
      acquireTime: now,
      renewTime: now,
    };
  }

  async #read(): Promise<Lease | undefined> {
    const { client, name, namespace } = this.#options;
    try {
      return await client.get<Lease>(RESOURCES.leases, name, namespace, this.#tryTimeoutMs());
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #replace(lease: Lease): Promise<Lease> {
    return this.#options.client.replace(RESOURCES.leases, lease, this.#tryTimeoutMs());
  }

  #remember(lease: Lease): void {
    this.#lease = lease;
    this.#observe(lease);
  }

  #observe(lease: Lease): void {
    const record = JSON.stringify(lease.spec ?? {});
    if (record === this.#observedRecord) return;
    this.#observedRecord = record;
    this.#observedAt = this.#monotonic();
  }

  #heldByOther(): boolean {
    const holder = this.#lease?.spec?.holderIdentity;
    return holder !== undefined && holder !== this.#options.identity;
  }
}

/** Now, as `metav1.MicroTime` has it. For people to read; nobody decides by it. */
function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
