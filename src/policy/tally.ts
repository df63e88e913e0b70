import type { AuditStatus, NamespaceFailure } from '../api/baselinepolicy.ts';

/** How a namespace stands with one BaselinePolicy. */
export type NamespaceState = 'compliant' | 'drifted' | 'failed' | 'pending';

/** All states, in the order of the status. */
export const NAMESPACE_STATES: readonly NamespaceState[] = ['compliant', 'drifted', 'failed', 'pending'];

/** What the last look at a namespace found for one BaselinePolicy. */
export interface NamespaceReport {
  readonly state: NamespaceState;
  /** Whether the policy selects the namespace; a namespace that leaves is reported until its children are gone. */
  readonly selected: boolean;
  /** Number of children that the policy wants there. */
  readonly desired: number;
  /** Number of children that are not right and not healed now. */
  readonly drifted: number;
  /** What would be written, in Audit mode. */
  readonly audit: AuditStatus;
  readonly failures: readonly Omit<NamespaceFailure, 'namespace'>[];
}

const NOTHING: AuditStatus = { create: 0, update: 0, delete: 0 };

/** The report of a namespace that was selected and not looked at yet. */
export const PENDING: NamespaceReport = {
  state: 'pending',
  selected: true,
  desired: 0,
  drifted: 0,
  audit: NOTHING,
  failures: [],
};

/** Sums of all reports. */
export interface TallySums {
  readonly selected: number;
  /** Selected namespaces. */
  readonly states: Readonly<Record<NamespaceState, number>>;
  /** Namespaces that are not selected any more and still have children. */
  readonly leaving: Readonly<Record<NamespaceState, number>>;
  readonly desired: number;
  readonly drifted: number;
  readonly audit: Readonly<AuditStatus>;
}

/**
 * The reports of one BaselinePolicy over all namespaces, with their sums kept up at every change, so that a status
 * costs the same for ten namespaces and for ten thousand.
 */
export class ComplianceTally {
  readonly #reports = new Map<string, NamespaceReport>();
  readonly #failing = new Map<string, NamespaceReport>();
  readonly #states = noStates();
  readonly #leaving = noStates();
  readonly #audit: AuditStatus = { create: 0, update: 0, delete: 0 };
  #selected = 0;
  #desired = 0;
  #drifted = 0;

  /** The last report of a namespace. */
  get(namespace: string): NamespaceReport | undefined {
    return this.#reports.get(namespace);
  }

  /** Replaces the report of a namespace. */
  set(namespace: string, report: NamespaceReport): void {
    this.#count(this.#reports.get(namespace), -1);
    this.#reports.set(namespace, report);
    this.#count(report, 1);
    if (report.failures.length > 0) this.#failing.set(namespace, report);
    else this.#failing.delete(namespace);
  }

  /** Forgets a namespace. */
  delete(namespace: string): void {
    this.#count(this.#reports.get(namespace), -1);
    this.#reports.delete(namespace);
    this.#failing.delete(namespace);
  }

  /** Names of all namespaces with a report. */
  namespaces(): IterableIterator<string> {
    return this.#reports.keys();
  }

  /** The sums over all reports. */
  sums(): TallySums {
    return {
      selected: this.#selected,
      states: { ...this.#states },
      leaving: { ...this.#leaving },
      desired: this.#desired,
      drifted: this.#drifted,
      audit: { ...this.#audit },
    };
  }

  /** The first `limit` failures by namespace and rule, and how many more there are. */
  failures(limit: number): { listed: NamespaceFailure[]; more: number } {
    const listed: NamespaceFailure[] = [];
    let total = 0;
    for (const namespace of [...this.#failing.keys()].sort()) {
      const { failures } = this.#failing.get(namespace) ?? PENDING;
      total += failures.length;
      if (listed.length >= limit) continue;
      const byRule = [...failures].sort((a, b) => (a.rule < b.rule ? -1 : 1)).slice(0, limit - listed.length);
      listed.push(...byRule.map((failure) => ({ namespace, ...failure })));
    }
    return { listed, more: total - listed.length };
  }

  #count(report: NamespaceReport | undefined, sign: 1 | -1): void {
    if (report === undefined) return;
    (report.selected ? this.#states : this.#leaving)[report.state] += sign;
    if (report.selected) this.#selected += sign;
    this.#desired += sign * report.desired;
    this.#drifted += sign * report.drifted;
    this.#audit.create += sign * report.audit.create;
    this.#audit.update += sign * report.audit.update;
    this.#audit.delete += sign * report.audit.delete;
  }
}

function noStates(): Record<NamespaceState, number> {
  return { compliant: 0, drifted: 0, failed: 0, pending: 0 };
}
