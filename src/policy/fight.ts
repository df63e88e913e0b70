/** Heals of one child within {@link FIGHT_WINDOW_MS} that are still taken for chance. */
export const MAX_HEALS = 5;
/** See {@link MAX_HEALS}. */
export const FIGHT_WINDOW_MS = 60_000;

const FIRST_WAIT_MS = 60_000;
const LONGEST_WAIT_MS = 16 * 60_000;
/** Children to remember before those that are at peace are looked for and dropped. */
const SWEEP_AT = 1_000;

interface Record {
  /** Times of the last heals, oldest first; at most {@link MAX_HEALS}. */
  readonly heals: number[];
  blockedUntil: number;
  waitMs: number;
}

/** Whether a child may be healed now. `isNew` marks the moment at which a fight is found out. */
export type FightVerdict =
  { readonly fighting: false } | { readonly fighting: true; readonly isNew: boolean; readonly waitMs: number };

/**
 * Finds out when something else keeps changing a child back: after more than five heals within a minute it is left
 * alone for a minute, then for two, four, … up to sixteen, as long as it goes on. Times are monotonic milliseconds.
 */
export class FightDetector {
  readonly #children = new Map<string, Record>();

  /** Judges a child that has drifted and is about to be healed. */
  judge(child: string, now: number): FightVerdict {
    const record = this.#children.get(child);
    if (record === undefined) return { fighting: false };
    if (now < record.blockedUntil) return { fighting: true, isNew: false, waitMs: record.blockedUntil - now };
    if (isOver(record, now)) record.waitMs = 0;
    const recent = record.heals.filter((time) => now - time < FIGHT_WINDOW_MS);
    // After a pause one heal is tried; if that is undone at once, it is the same fight.
    const goesOn = record.waitMs > 0 && recent.length > 0;
    if (recent.length < MAX_HEALS && !goesOn) return { fighting: false };
    record.waitMs = record.waitMs === 0 ? FIRST_WAIT_MS : Math.min(record.waitMs * 2, LONGEST_WAIT_MS);
    record.blockedUntil = now + record.waitMs;
    record.heals.length = 0;
    return { fighting: true, isNew: true, waitMs: record.waitMs };
  }

  /** Notes that a child was healed. */
  recordHeal(child: string, now: number): void {
    if (this.#children.size >= SWEEP_AT) this.#sweep(now);
    let record = this.#children.get(child);
    if (record === undefined) {
      record = { heals: [], blockedUntil: 0, waitMs: 0 };
      this.#children.set(child, record);
    }
    record.heals.push(now);
    if (record.heals.length > MAX_HEALS) record.heals.shift();
  }

  /** Number of children remembered. */
  get size(): number {
    return this.#children.size;
  }

  #sweep(now: number): void {
    for (const [child, record] of this.#children) if (isOver(record, now)) this.#children.delete(child);
  }
}

/** Whether nothing has happened to a child for a whole window after its last heal or wait. */
function isOver(record: Record, now: number): boolean {
  return now - Math.max(record.blockedUntil, record.heals.at(-1) ?? 0) >= FIGHT_WINDOW_MS;
}
