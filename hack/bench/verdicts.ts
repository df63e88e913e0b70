import { OURS, CONTROLLER_RUNTIME, CONTROLLER_RUNTIME_TUNED } from './contender.ts';
import type { OperatorRun, Work } from './operator-run.ts';
import { spread, type Spread } from './statistics.ts';

/** What all runs together measured. */
export interface Results {
  readonly operators: readonly OperatorRun[];
  readonly loops: readonly { readonly namespaces: number; readonly fill: Work; readonly specChange: Work }[];
  /** Requests of ten idle minutes, but of the Lease, by verb and resource. */
  readonly idle?: Record<string, number>;
  /** Bytes of heap for each NetworkPolicy, by cache. */
  readonly heap: readonly { readonly ours: number; readonly listWatch: number }[];
}

/** One line of the table. */
export interface Verdict {
  readonly id: string;
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
}

type Figure = (run: OperatorRun) => number;

/** Judges every target that the results can tell of. Ratios are of medians, both sides from one run of the benchmark. */
export function judge(results: Results): Verdict[] {
  const sizes = [...new Set(results.operators.map(({ namespaces }) => namespaces))].sort((a, b) => a - b);
  const runsOf = (contender: string, namespaces: number): OperatorRun[] =>
    results.operators.filter((run) => run.contender === contender && run.namespaces === namespaces);
  const of = (contender: string, namespaces: number, figure: Figure): Spread =>
    spread(runsOf(contender, namespaces).map(figure));
  const ours = (namespaces: number, figure: Figure): Spread => of(OURS.name, namespaces, figure);
  const loop = (namespaces: number, figure: (run: Results['loops'][number]) => number): Spread =>
    spread(results.loops.filter((run) => run.namespaces === namespaces).map(figure));

  const verdicts: Verdict[] = [];
  /** A line whose figure must be at least, or at most, so much. */
  const line = (id: string, what: string, figure: number, relation: '≥' | '≤', bound: number, detail: string): void => {
    if (!Number.isFinite(figure)) return;
    const met = relation === '≥' ? figure >= bound : figure <= bound;
    verdicts.push({ id, what, target: `${relation} ${bound}`, measured: `${round(figure)} (${detail})`, met });
  };
  const lineOfRatio = (
    id: string,
    what: string,
    top: Spread,
    bottom: Spread,
    relation: '≥' | '≤',
    bound: number,
    unit: string,
  ): void => {
    const detail = `${show(top)} against ${show(bottom)} ${unit}`;
    line(id, what, top.median / bottom.median, relation, bound, detail);
  };

  for (const n of sizes) {
    const at = `${n} namespaces`;
    const speed: Figure = ({ fill }) => fill.perSecond;
    lineOfRatio(
      'P1',
      `fill, ${at}: ours ÷ bare loop`,
      ours(n, speed),
      loop(n, ({ fill }) => fill.perSecond),
      '≥',
      0.9,
      'creates/s',
    );
    lineOfRatio(
      'P2',
      `fill, ${at}: ours ÷ controller-runtime`,
      ours(n, speed),
      of(CONTROLLER_RUNTIME.name, n, speed),
      '≥',
      2.8,
      'creates/s',
    );
    lineOfRatio(
      'P2',
      `fill, ${at}: ours ÷ controller-runtime with 16 workers`,
      ours(n, speed),
      of(CONTROLLER_RUNTIME_TUNED.name, n, speed),
      '≥',
      1.2,
      'creates/s',
    );
    const fills = runsOf(OURS.name, n).map(({ fill }) => fill);
    const shown = fills.find((fill) => !isExact(fill)) ?? fills[0];
    if (shown !== undefined) {
      verdicts.push({
        id: 'P3',
        what: `requests of a fill, ${at}`,
        target: 'exactly 4 creates a namespace, no GET, no conflict, no Event for a child',
        measured: JSON.stringify(shown.requests),
        met: isExact(shown),
      });
    }
    const restarts = runsOf(OURS.name, n).flatMap((run) => run.restarts);
    for (const { requests } of restarts.slice(0, 1)) {
      const writes = Object.entries(requests).filter(([key]) => /^(create|update|patch|delete) /.test(key));
      verdicts.push({
        id: 'P4',
        what: `requests of a restart, ${at}`,
        target: 'no write, one paged list a resource',
        measured: JSON.stringify(requests),
        met: writes.length === 0,
      });
    }
    lineOfRatio(
      'P4',
      `restart, ${at}: first list to ready ÷ bare lists`,
      spread(restarts.map(({ syncedAfterMs }) => syncedAfterMs)),
      spread(restarts.map(({ listMs }) => listMs)),
      '≤',
      1.3,
      'ms',
    );
    lineOfRatio(
      'P6',
      `new namespace, idle, ${at}: p99 ÷ p99 of a bare write`,
      ours(n, (run) => run.newNamespace.p99),
      ours(n, (run) => run.idleWrite.p99),
      '≤',
      4,
      'ms',
    );
    const probed = ours(n, (run) => run.fill.newNamespace?.p99 ?? Number.NaN);
    line('P7', `new namespace during the fill, ${at}: p99, ms`, probed.max, '≤', 1_000, show(probed));
    for (const [what, figure] of [
      ['edit', (run: OperatorRun) => run.healEdit.p99],
      ['delete', (run: OperatorRun) => run.healDelete.p99],
    ] as const) {
      lineOfRatio(
        'P8',
        `heal of ${what}, ${at}: p99 ÷ p99 of a bare write`,
        ours(n, figure),
        ours(n, (run) => run.idleWrite.p99),
        '≤',
        2,
        'ms',
      );
      lineOfRatio(
        'P8',
        `heal of ${what}, ${at}: p99 ÷ controller-runtime's`,
        ours(n, figure),
        of(CONTROLLER_RUNTIME.name, n, figure),
        '≤',
        1.2,
        'ms',
      );
    }
    line('P8', `writes for each heal, ${at}`, ours(n, (run) => run.writesPerHeal).max, '≤', 1, 'worst round');
    line(
      'P9',
      `writes of one changed rule ÷ namespaces, ${at}`,
      ours(n, ({ specChange }) => specChange.writes / specChange.wanted).max,
      '≤',
      1.02,
      'worst round',
    );
    lineOfRatio(
      'P9',
      `one changed rule, ${at}: ours ÷ bare loop`,
      ours(n, ({ specChange }) => specChange.perSecond),
      loop(n, ({ specChange }) => specChange.perSecond),
      '≥',
      0.8,
      'updates/s',
    );
    const noise = ours(n, (run) => Object.values(run.noise).reduce((sum, count) => sum + count, 0));
    line('P10', `requests for 1,000 changes that are no concern of ours, ${at}`, noise.max, '≤', 0, 'worst round');
    const steady: Figure = ({ memory }) => memory.steady;
    const bound = n >= 10_000 ? 0.8 : n <= 500 ? 2.2 : undefined;
    if (bound !== undefined) {
      lineOfRatio(
        'P12',
        `resident set, ${at}: ours ÷ controller-runtime`,
        ours(n, steady),
        of(CONTROLLER_RUNTIME.name, n, steady),
        '≤',
        bound,
        'MB',
      );
    }
    lineOfRatio(
      'P12',
      `resident set, ${at}: peak ÷ steady`,
      ours(n, ({ memory }) => memory.peak),
      ours(n, steady),
      '≤',
      1.25,
      'MB',
    );
    const lag = (key: 'p99' | 'max') => ours(n, ({ eventLoop }) => eventLoop?.[key] ?? Number.NaN);
    line('P14', `event-loop delay of the fill, ${at}: p99, ms`, lag('p99').median, '≤', 30, show(lag('p99')));
    line('P14', `event-loop delay of the fill, ${at}: max, ms`, lag('max').median, '≤', 150, show(lag('max')));
    lineOfRatio(
      'P15',
      `a bystander's write, ${at}: p99 during the fill ÷ idle`,
      ours(n, ({ fill }) => fill.bystander.p99),
      ours(n, (run) => run.idleBystander.p99),
      '≤',
      2.5,
      'ms',
    );
    line('P15', `answers 429 to anyone, ${at}`, ours(n, ({ fill }) => fill.tooManyRequests).max, '≤', 0, 'worst round');
    if (n === 500) {
      const starts = spread(restarts.map(({ readyAfterMs }) => readyAfterMs / 1000));
      line('P16', `start to synced, ${at}, s`, starts.median, '≤', 0.6, show(starts));
    }
  }
  const [small = Number.NaN, large = Number.NaN] = [sizes.find((n) => n >= 500), sizes.at(-1)];
  if (large > small) {
    const seconds: Figure = ({ fill }) => fill.seconds;
    // The bound is a tenth above what a linear growth would be.
    lineOfRatio(
      'P13',
      `fill time, ${large} ÷ ${small} namespaces`,
      ours(large, seconds),
      ours(small, seconds),
      '≤',
      (1.1 * large) / small,
      's',
    );
    const cpu: Figure = ({ fill, namespaces }) => (fill.cpuSeconds * 1000) / (4 * namespaces);
    lineOfRatio(
      'P13',
      `CPU for each child, ${large} ÷ ${small} namespaces`,
      ours(large, cpu),
      ours(small, cpu),
      '≤',
      1.2,
      'ms',
    );
  }
  if (results.idle !== undefined) {
    verdicts.push({
      id: 'P5',
      what: 'requests of ten idle minutes, but for the Lease',
      target: 'no write, no list',
      measured: JSON.stringify(results.idle),
      // A watch that ends goes on where it was.
      met: Object.keys(results.idle).every((request) => request.startsWith('watch ')),
    });
  }
  if (results.heap.length > 0) {
    lineOfRatio(
      'P11',
      'heap for each NetworkPolicy held: ours ÷ client-node',
      spread(results.heap.map(({ ours: bytes }) => bytes)),
      spread(results.heap.map(({ listWatch }) => listWatch)),
      '≤',
      0.25,
      'bytes',
    );
  }
  return verdicts.sort((a, b) => Number(a.id.slice(1)) - Number(b.id.slice(1)));
}

/**
 * Whether a fill made its creates and nothing else but what a policy costs once: its finalizer, its status every two
 * seconds, and the first list of the addresses that its rules use.
 */
function isExact({ wanted, requests }: OperatorRun['fill']): boolean {
  const once = new Set(['patch baselinepolicies', 'list services', 'list endpointslices']);
  return Object.entries(requests).every(([key, count]) => {
    if (key === 'create networkpolicies') return count === wanted;
    return once.has(key) ? count === 1 : /^watch | (leases|baselinepolicies\/status)$/.test(key);
  });
}

/** The table, as Markdown. */
export function table(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(
    ({ id, what, target, measured, met }) =>
      `| ${id} | ${what} | ${target} | ${measured} | ${met ? 'met' : '**missed**'} |`,
  );
  return [
    '| # | what | target | measured: median (min to max) | verdict |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

function show({ min, median, max }: Spread): string {
  return min === max ? round(median) : `${round(median)}, ${round(min)} to ${round(max)}`;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
