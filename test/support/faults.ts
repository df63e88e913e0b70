import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Fault, Forwarding, Intercept, LineEdit, ProxiedRequest } from './fault-proxy.ts';

/** Names of the resources that the operator watches, by their plurals. */
export type Watched = 'namespaces' | 'networkpolicies' | 'baselinepolicies';

/** The resource that the URL is about, by its plural; a subresource is not told apart. */
export function resourceOf({ url }: ProxiedRequest): string {
  const parts = url.pathname.split('/').slice(1);
  const [root] = parts;
  const path = parts.slice(root === 'api' ? 2 : 3);
  return (path[0] === 'namespaces' && path.length > 2 ? path[2] : path[0]) ?? '';
}

/** Whether the request opens a watch; of that resource if one is given. */
export function isWatch(request: ProxiedRequest, resource?: string): boolean {
  return request.url.searchParams.has('watch') && (resource ?? resourceOf(request)) === resourceOf(request);
}

/** Whether the request is for a list, or a page of one; of that resource if one is given. */
export function isList(request: ProxiedRequest, resource?: string): boolean {
  return request.url.searchParams.has('limit') && (resource ?? resourceOf(request)) === resourceOf(request);
}

/** Whether the request changes something of these resources. */
export function isWrite(request: ProxiedRequest, ...resources: readonly string[]): boolean {
  return request.method !== 'GET' && resources.includes(resourceOf(request));
}

/** An answer as the API server gives it to a client that it refuses: a Status with code and reason. */
export function refusal(status: number, reason: string, headers: Record<string, string> = {}): Fault {
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, reason, message: 'made by a test' };
  return { status, headers, body };
}

/** 429, and when to come back. */
export function tooManyRequests(retryAfterSeconds: number): Fault {
  return refusal(429, 'TooManyRequests', { 'retry-after': String(retryAfterSeconds) });
}

/** 410 instead of a watch, or of the next page of a list. */
export function expired(): Fault {
  return refusal(410, 'Expired');
}

/** The event by which a running watch says 410, and then ends. */
export function expiredEvent(): LineEdit {
  const object = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 410, reason: 'Expired', message: 'test' };
  return { text: `${JSON.stringify({ type: 'ERROR', object })}\n`, then: 'end' };
}

/**
 * What can happen to one event of a watch; a reader must get over each.
 *
 * - `lose`: it never comes, and nobody says so;
 * - `duplicate`: it comes twice;
 * - `delay`: it comes 200 ms late, and so do all that follow;
 * - `reorder`: it comes after the one that follows it, if one follows soon;
 * - `garble`: it is no JSON any more;
 * - `replace`: it is JSON, but no event;
 * - `cut`: the connection ends in its midst;
 * - `end`: the server closes the watch after it;
 * - `expire`: the watch says 410 in its place, and ends.
 */
export const EVENT_FAULTS = [
  'lose',
  'duplicate',
  'delay',
  'reorder',
  'garble',
  'replace',
  'cut',
  'end',
  'expire',
] as const;

/** One of {@link EVENT_FAULTS}. */
export type EventFault = (typeof EVENT_FAULTS)[number];

/** A way for one watch on which `decide` says what happens to each event. */
export function faultyWatch(decide: (line: string) => EventFault | undefined): Forwarding {
  return {
    editLine: async (line): Promise<LineEdit> => {
      const fault = decide(line);
      if (fault === 'delay') await delay(EVENT_DELAY_MS);
      return faultyLine(line, fault);
    },
  };
}

/** How late an event is that is delayed, or waits for another one to go ahead; milliseconds. */
const EVENT_DELAY_MS = 200;

function faultyLine(line: string, fault: EventFault | undefined): LineEdit {
  const half = Math.floor(line.length / 2);
  switch (fault) {
    case 'lose':
      return '';
    case 'reorder':
      // The last event of a step would else be lost, until the bookmark of the next minute.
      return { text: line, holdForMs: EVENT_DELAY_MS };
    case 'duplicate':
      return line + line;
    case 'garble':
      return `${line.slice(0, half)}\u0000${line.slice(half + 7)}`;
    case 'replace':
      return '{"kind":"Status"}\n';
    case 'cut':
      return { text: line.slice(0, half), then: 'break' };
    case 'end':
      return { text: line, then: 'end' };
    case 'expire':
      return expiredEvent();
    default:
      return line;
  }
}

/** How much goes wrong in a {@link chaos}: shares between 0 and 1. */
export interface ChaosRates {
  /** Of requests that are no watch. */
  readonly requests: number;
  /** Of opened watches. */
  readonly watches: number;
  /** Of the events of each watch. */
  readonly events: number;
}

/** How many faults of each kind a {@link chaos} has made. */
export type ChaosTally = Record<keyof ChaosRates, number>;

/** What a chaos does to events: whatever a reader can notice. */
const NOTICEABLE = EVENT_FAULTS.filter((fault) => fault !== 'lose');

/**
 * Faults of the lists and watches of one resource, after which a chaos leaves them alone. A client waits twice as long
 * after each failure, up to half a minute, until a watch has stood for a while: with more of them, or with those that it
 * met before, it would be right to do nothing for minutes, and nothing could be expected.
 */
const MOST_OF_A_RESOURCE = 4;

/**
 * Random faults of all kinds that a client can notice, the same for the same seed: what happens to a request depends on
 * the seed, the request and how often it came before, not on the order among different requests. Counts in `made`.
 */
export function chaos(seed: number, rates: ChaosRates, made: ChaosTally): Intercept {
  const seen = new Map<string, number>();
  const held = new Map<string, number>();
  const draw = (key: string): ((below: number) => number) => {
    const nth = (seen.get(key) ?? 0) + 1;
    seen.set(key, nth);
    const digest = createHash('sha256').update(`${seed} ${key} ${nth}`).digest();
    let offset = 0;
    // Each call takes the next four bytes.
    return (below) => {
      offset += 4;
      return Math.floor((digest.readUInt32BE(offset - 4) / 2 ** 32) * below);
    };
  };
  return (request) => {
    const resource = resourceOf(request);
    if (resource === 'leases') return 'pass';
    const watch = isWatch(request);
    const isSpent = (): boolean => (held.get(resource) ?? 0) >= MOST_OF_A_RESOURCE;
    if ((watch || isList(request)) && isSpent()) return 'pass';
    const count = (): void => {
      held.set(resource, (held.get(resource) ?? 0) + 1);
    };
    const random = draw(`${request.method} ${request.url.pathname} ${watch}`);
    const hit = random(1000) < 1000 * (watch ? rates.watches : rates.requests);
    if (watch) {
      if (hit) {
        made.watches++;
        count();
        return pick<Fault>([expired(), 'reset', refusal(503, 'ServiceUnavailable')], random);
      }
      return faultyWatch(() => {
        const event = draw(`${resource} event`);
        if (isSpent() || event(1000) >= 1000 * rates.events) return undefined;
        made.events++;
        count();
        return pick(NOTICEABLE, event);
      });
    }
    if (!hit) return 'pass';
    made.requests++;
    if (isList(request)) count();
    const faults: Fault[] = [
      'reset',
      'lose-answer',
      'withhold-answer',
      'black-hole',
      tooManyRequests(1),
      refusal(500, 'InternalError'),
      refusal(503, 'ServiceUnavailable', { 'retry-after': '1' }),
      refusal(504, 'Timeout'),
      { delayMs: 300 },
    ];
    return pick(faults, random);
  };
}

function pick<T>(choices: readonly T[], random: (below: number) => number): T {
  const choice = choices[random(choices.length)];
  if (choice === undefined) throw new Error('Expected a choice, got none');
  return choice;
}
