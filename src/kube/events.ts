import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { API_VERSION } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import { MANAGER } from '../api/names.ts';
import type { Logger } from '../observability/log.ts';
import { RESOURCES, type KubeClient } from './client.ts';
import { isAlreadyExists, isNotFound } from './errors.ts';

/** The object that an event is about; both kinds are cluster-scoped. */
export interface EventSubject {
  readonly kind: 'BaselinePolicy' | 'Namespace';
  readonly name: string;
  readonly uid: string;
}

/** A series goes on while its events come closer together than this, as in client-go's events recorder. */
const SERIES_ENDS_AFTER_MS = 6 * 60_000;
/** Least time between two writes of the same series. */
const SERIES_WRITE_EVERY_MS = 30_000;
/** Events that one object may cause at once, and how often one more; as client-go's spam filter. */
const BURST = 25;
const REFILL_EVERY_MS = 300_000;
/** Series remembered; the oldest are forgotten first. */
const MAX_SERIES = 1_000;
/** The API server refuses longer notes; bytes of UTF-8. */
const MAX_NOTE = 1_024;

interface Series {
  readonly body: EventObject;
  count: number;
  lastSeen: number;
  written: number | undefined;
  pending: boolean;
  /** Name of the Event, once it is created. */
  created: string | undefined;
}

interface EventObject extends KubernetesObject {
  eventTime: string;
  reportingController: string;
  reportingInstance: string;
  action: string;
  reason: string;
  regarding: { apiVersion: string; kind: string; name: string; uid: string };
  note: string;
  type: 'Normal' | 'Warning';
  series?: { count: number; lastObservedTime: string };
}

/**
 * Records Kubernetes Events (events.k8s.io/v1). Equal ones become one Event with a count, written at most every 30 s,
 * and one object can't cause a flood. Best effort: it never delays or fails what it tells of.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #logger: Logger;
  readonly #monotonic: () => number;
  readonly #series = new Map<string, Series>();
  readonly #tokens = new Map<string, { left: number; since: number }>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(client: KubeClient, logger: Logger, monotonic: () => number = () => performance.now()) {
    this.#client = client;
    this.#logger = logger;
    this.#monotonic = monotonic;
  }

  /**
   * Records that something happened to an object.
   * @param reason why, in CamelCase
   * @param action what was done or tried, in CamelCase
   * @param note for people; cut at 1,024 bytes
   */
  record(subject: EventSubject, type: 'Normal' | 'Warning', reason: string, action: string, note: string): void {
    if (this.#closed) return;
    const now = this.#monotonic();
    const key = JSON.stringify([subject.uid, type, reason, action, note]);
    let series = this.#series.get(key);
    if (series !== undefined && now - series.lastSeen > SERIES_ENDS_AFTER_MS) {
      this.#series.delete(key);
      series = undefined;
    }
    if (series === undefined) {
      if (!this.#takeToken(subject.uid, now)) return;
      series = newSeries(subject, type, reason, action, note, now);
      this.#remember(key, series);
    } else {
      series.count++;
      series.lastSeen = now;
    }
    this.#schedule(series, now);
  }

  /** Stops; resolves when the write in hand is finished. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await this.#writing;
  }

  #schedule(series: Series, now: number): void {
    if (series.pending) return;
    series.pending = true;
    const waitMs = series.written === undefined ? 0 : Math.max(0, series.written + SERIES_WRITE_EVERY_MS - now);
    if (waitMs === 0) {
      this.#enqueue(series);
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#enqueue(series);
    }, waitMs);
    timer.unref();
    this.#timers.add(timer);
  }

  #enqueue(series: Series): void {
    // One at a time: telling must never compete with doing.
    this.#writing = this.#writing.then(() => this.#write(series));
  }

  async #write(series: Series): Promise<void> {
    series.pending = false;
    if (this.#closed) return;
    series.written = this.#monotonic();
    const { body, count } = series;
    const namespace = body.metadata.namespace ?? '';
    const value = { count, lastObservedTime: microTime() };
    try {
      if (series.created === undefined) {
        const event = count === 1 ? body : { ...body, series: value };
        const created = await this.#client.create<EventObject>(RESOURCES.events, JSON.stringify(event), namespace);
        series.created = created.metadata.name;
        return;
      }
      await this.#client.patch(RESOURCES.events, { name: series.created, namespace }, [
        { op: 'add', path: '/series', value },
      ]);
    } catch (error) {
      // Somebody deleted it: the next write makes a new one.
      if (isNotFound(error)) series.created = undefined;
      // The answer to an earlier create was lost.
      if (isAlreadyExists(error)) series.created = body.metadata.name;
      this.#logger.debug('Failed to record event', { error, reason: body.reason });
    }
  }

  #takeToken(uid: string, now: number): boolean {
    const bucket = this.#tokens.get(uid) ?? { left: BURST, since: now };
    const refill = Math.floor((now - bucket.since) / REFILL_EVERY_MS);
    const left = Math.min(BURST, bucket.left + refill);
    if (left < 1) return false;
    this.#tokens.delete(uid);
    this.#tokens.set(uid, { left: left - 1, since: bucket.since + refill * REFILL_EVERY_MS });
    forgetOldest(this.#tokens);
    return true;
  }

  #remember(key: string, series: Series): void {
    this.#series.set(key, series);
    forgetOldest(this.#series);
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  if (map.size <= MAX_SERIES) return;
  const oldest = map.keys().next();
  if (oldest.done !== true) map.delete(oldest.value);
}

function newSeries(
  subject: EventSubject,
  type: 'Normal' | 'Warning',
  reason: string,
  action: string,
  note: string,
  now: number,
): Series {
  const name = `${subject.name.slice(0, 200)}.${randomBytes(8).toString('hex')}`;
  const body: EventObject = {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    // Events about cluster-scoped objects live in the namespace default, as the API server demands.
    metadata: { name, namespace: 'default' },
    eventTime: microTime(),
    reportingController: MANAGER,
    reportingInstance: hostname().slice(0, 128),
    action,
    reason,
    regarding: {
      apiVersion: subject.kind === 'Namespace' ? 'v1' : API_VERSION,
      kind: subject.kind,
      name: subject.name,
      uid: subject.uid,
    },
    note: cutNote(note),
    type,
  };
  return { body, count: 1, lastSeen: now, written: undefined, pending: false, created: undefined };
}

/** The note, or as many of its first whole characters as the API server takes. */
function cutNote(note: string): string {
  return note.slice(0, new TextEncoder().encodeInto(note, new Uint8Array(MAX_NOTE)).read);
}

function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
