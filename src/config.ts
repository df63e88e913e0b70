import { parseArgs } from 'node:util';
import { BIND_ADDRESS_SYNTAX, formatBindAddress, parseBindAddress } from './observability/bind-address.ts';
import type { BindAddress } from './observability/bind-address.ts';
import { LOG_FORMATS, LOG_LEVELS } from './observability/log-format.ts';
import type { LogFormat, LogLevel } from './observability/log-format.ts';

/** What the operator runs with. Names that end in `Ms` are milliseconds. */
export interface Options {
  /** Undefined: KUBECONFIG, then the in-cluster configuration, then ~/.kube/config. */
  readonly kubeconfig: string | undefined;
  /** Undefined: no metrics endpoint. */
  readonly metricsBindAddress: BindAddress | undefined;
  /** Metrics by HTTPS, to those whom the API server allows; else by plain HTTP, to everybody. */
  readonly metricsSecure: boolean;
  /** Folder of the certificate for HTTPS. Undefined: a self-signed one. */
  readonly metricsCertPath: string | undefined;
  /** Names of the files in that folder: the certificate and its key, both PEM. */
  readonly metricsCertName: string;
  readonly metricsCertKey: string;
  /** Undefined: no health endpoints. */
  readonly healthProbeBindAddress: BindAddress | undefined;
  readonly leaderElect: boolean;
  /** Undefined: the operator's own namespace. */
  readonly leaderElectionNamespace: string | undefined;
  /** Name of the Lease. */
  readonly leaderElectionId: string;
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryPeriodMs: number;
  /** Reconciles, and so connections to the API server, at a time. */
  readonly concurrency: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Namespaces that are never touched, whatever a policy selects. The default does not name the operator's own. */
  readonly protectedNamespaces: readonly string[];
  /** The operator's own namespace. Undefined: that of the service account. */
  readonly namespace: string | undefined;
  /** 0: no periodic resync. */
  readonly resyncPeriodMs: number;
  /** A deletion is held when it is more than this many children and more than `deletionBrakePercent`. */
  readonly deletionBrakeCount: number;
  readonly deletionBrakePercent: number;
  /** Objects per page of a list. */
  readonly listPageSize: number;
  /** Time for one request to the API server, watches excepted. */
  readonly kubeApiTimeoutMs: number;
  /** Time for writes in flight to finish after SIGTERM. */
  readonly shutdownTimeoutMs: number;
}

/** What a command line asks for. */
export type CommandLine =
  { readonly kind: 'help' } | { readonly kind: 'version' } | { readonly kind: 'run'; readonly options: Options };

/** The command line or the environment is wrong. The message lists every problem, one per line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `Cannot start with these flags:\n${problems.map((problem) => `  ${problem}\n`).join('')}Run with --help to see all flags.`,
    );
    this.problems = problems;
  }
}

/**
 * Reads the command line (without the names of program and script). `isTTY` says whether standard output is a
 * terminal. --help and --version win over problems. A flag that is given twice has its last value, as in Go.
 * Throws one UsageError for all problems.
 */
export function parseFlags(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  isTTY = false,
): CommandLine {
  const { texts, problems, asksFor } = readArguments(argv);
  if (asksFor !== undefined) return { kind: asksFor };

  const values: Partial<Record<keyof Options, unknown>> = {};
  for (const key of FLAG_KEYS) {
    const flag = FLAGS[key];
    values[key] = flagValue(flag, texts.get(flag.name) ?? [], env, isTTY, problems);
  }
  for (const [longer, shorter, factor] of LEASE_ORDER) {
    const [long, short] = [values[longer], values[shorter]];
    if (typeof long !== 'number' || typeof short !== 'number' || long > short * factor) continue;
    const limit = `${factor === 1 ? '' : `${factor} times `}--${FLAGS[shorter].name} (${seconds(short)})`;
    problems.push(`--${FLAGS[longer].name}: expected more than ${limit}, got ${seconds(long)}`);
  }
  if (problems.length === 0) problems.push(...metricsProblems(values as Options, texts));
  if (problems.length > 0) throw new UsageError(problems);
  // The type of FLAGS ties each parser to its option, and no value is INVALID here.
  return { kind: 'run', options: Object.freeze(values as Options) };
}

/** The text of --help: every flag with its default. */
export function helpText(): string {
  const flags = Object.values(FLAGS).map((flag) => {
    const value = flag.kind.placeholder === '' ? '' : ` ${flag.kind.placeholder}`;
    return `  --${flag.name}${value}\n        ${flag.help}${defaultNote(flag)}\n`;
  });
  return [
    'Keeps a baseline of NetworkPolicies in every selected namespace, and heals drift.\n\n',
    'Usage: baseline-policy-operator [flags]\n\n',
    'Flags:\n',
    ...flags,
    '  --help, -h\n        Print this text and exit\n',
    '  --version\n        Print the version and exit\n\n',
    'A duration is written as in Go: 500ms, 15s, 1m30s, 2h.\n',
  ].join('');
}

/** Timers of Node take at most 2^31-1 milliseconds; a longer one would fire at once. */
const LONGEST_DURATION_MS = 2 ** 31 - 1;

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Reads a duration as Go's time.ParseDuration writes it (`1m30s`, `500ms`, `1.5h`, `0`) into milliseconds. Returns
 * undefined when the text is none, is negative, or is longer than a timer of Node can wait (about 24 days).
 */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let milliseconds = 0;
  for (const [, amount, unit = ''] of text.matchAll(/([\d.]+)([^\d.]+)/g)) {
    milliseconds += Number(amount) * (UNIT_MS[unit] ?? Number.NaN);
  }
  return milliseconds <= LONGEST_DURATION_MS ? milliseconds : undefined;
}

const INVALID = Symbol('invalid');

/** A kind of value: how it is called, what it must be, how it is read. */
interface ValueKind<T> {
  /** Stands for the value in the help; empty when the flag needs none. */
  readonly placeholder: string;
  readonly expected: string;
  readonly parse: (text: string) => T | typeof INVALID;
}

interface Flag<T> {
  readonly name: string;
  readonly kind: ValueKind<T>;
  readonly help: string;
  /** Written as on the command line. A flag without one is undefined when it is not given. */
  readonly default?: string;
  /** Default when standard output is a terminal. */
  readonly terminalDefault?: string;
  /** Environment variable that is read before the default. */
  readonly variable?: string;
}

/** A flag whose option is never undefined has a default. */
type FlagFor<T> = undefined extends T ? Flag<T> : Flag<T> & { readonly default: string };

function kind<T>(placeholder: string, expected: string, parse: (text: string) => T | typeof INVALID): ValueKind<T> {
  return { placeholder, expected, parse };
}

const BOOLEAN = kind('', 'true or false', (text) => (text === 'true' ? true : text === 'false' ? false : INVALID));

const PATH = kind('path', 'a path', (text) => (text === '' ? INVALID : text));

const FILE_NAME = kind('name', 'the name of a file, without a folder', (text) =>
  ['', '.', '..'].includes(text) || text.includes('/') ? INVALID : text,
);

const BIND_ADDRESS = kind('address', `${BIND_ADDRESS_SYNTAX}, or "0" for none`, (text) =>
  text === '0' ? undefined : (parseBindAddress(text) ?? INVALID),
);

/** RFC 1123, as Kubernetes checks names: k8s.io/apimachinery/pkg/util/validation. */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

const NAMESPACE = kind('namespace', 'the name of a namespace (a DNS label)', (text) =>
  LABEL.test(text) ? text : INVALID,
);

const NAMESPACES = kind('namespaces', 'names of namespaces (DNS labels) with commas between', (text) => {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return names.every((name) => LABEL.test(name)) ? Object.freeze(names) : INVALID;
});

const LEASE_NAME = kind('name', 'the name of a Lease (a DNS subdomain)', (text) =>
  text.length <= 253 && SUBDOMAIN.test(text) ? text : INVALID,
);

function duration(least: string): ValueKind<number> {
  const minimum = parseDuration(least) ?? 0;
  return kind('duration', `a duration from ${least} to 596h, such as 15s`, (text) => {
    const milliseconds = parseDuration(text);
    return milliseconds === undefined || milliseconds < minimum ? INVALID : milliseconds;
  });
}

function wholeNumber(least: number, most: number): ValueKind<number> {
  return kind('number', `a whole number from ${least} to ${most}`, (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most ? value : INVALID;
  });
}

function oneOf<T extends string>(values: readonly T[]): ValueKind<T> {
  return kind(values.join('|'), values.join(', '), (text) => values.find((value) => value === text) ?? INVALID);
}

const FLAGS: { readonly [K in keyof Options]: FlagFor<Options[K]> } = {
  kubeconfig: {
    name: 'kubeconfig',
    kind: PATH,
    help: 'Kubeconfig file (default $KUBECONFIG, then the in-cluster configuration, then ~/.kube/config)',
  },
  metricsBindAddress: {
    name: 'metrics-bind-address',
    kind: BIND_ADDRESS,
    default: ':8080',
    help: 'Address of /metrics; 0 switches it off',
  },
  metricsSecure: {
    name: 'metrics-secure',
    kind: BOOLEAN,
    default: 'false',
    help: 'Serve /metrics by HTTPS, to bearer tokens that the API server lets get that path',
  },
  metricsCertPath: {
    name: 'metrics-cert-path',
    kind: PATH,
    help: 'Folder of the certificate of --metrics-secure, read again when it changes (default a self-signed one)',
  },
  metricsCertName: {
    name: 'metrics-cert-name',
    kind: FILE_NAME,
    default: 'tls.crt',
    help: 'File with the certificate in --metrics-cert-path',
  },
  metricsCertKey: {
    name: 'metrics-cert-key',
    kind: FILE_NAME,
    default: 'tls.key',
    help: 'File with the key of the certificate in --metrics-cert-path',
  },
  healthProbeBindAddress: {
    name: 'health-probe-bind-address',
    kind: BIND_ADDRESS,
    default: ':8081',
    help: 'Address of /healthz, /livez and /readyz; 0 switches them off',
  },
  leaderElect: {
    name: 'leader-elect',
    kind: BOOLEAN,
    default: 'false',
    help: 'Elect a leader, so that of several operators only one writes',
  },
  leaderElectionNamespace: {
    name: 'leader-election-namespace',
    kind: NAMESPACE,
    help: "Namespace of the Lease (default the operator's own namespace)",
  },
  leaderElectionId: {
    name: 'leader-election-id',
    kind: LEASE_NAME,
    default: 'baseline-policy-operator.baselinepolicy.dev',
    help: 'Name of the Lease',
  },
  leaseDurationMs: {
    name: 'leader-election-lease-duration',
    kind: duration('1s'),
    default: '15s',
    help: 'How long followers wait after the last renewal before they take the Lease',
  },
  renewDeadlineMs: {
    name: 'leader-election-renew-deadline',
    kind: duration('1ms'),
    default: '10s',
    help: 'How long a leader that cannot renew keeps trying before it stops writing',
  },
  retryPeriodMs: {
    name: 'leader-election-retry-period',
    kind: duration('1ms'),
    default: '2s',
    help: 'Time between attempts to take or renew the Lease',
  },
  concurrency: {
    name: 'concurrency',
    kind: wholeNumber(1, 256),
    default: '16',
    help: 'Namespaces reconciled at a time, and connections to the API server',
  },
  logLevel: { name: 'log-level', kind: oneOf(LOG_LEVELS), default: 'info', help: 'Least severe level that is logged' },
  logFormat: {
    name: 'log-format',
    kind: oneOf(LOG_FORMATS),
    default: 'json',
    terminalDefault: 'text',
    help: 'Form of log lines',
  },
  protectedNamespaces: {
    name: 'protected-namespaces',
    kind: NAMESPACES,
    default: 'kube-system,kube-public,kube-node-lease',
    help: 'Namespaces that are never touched, with commas between; replaces the default list',
  },
  namespace: {
    name: 'namespace',
    kind: NAMESPACE,
    variable: 'POD_NAMESPACE',
    help: "The operator's own namespace (default $POD_NAMESPACE, then that of the service account)",
  },
  resyncPeriodMs: {
    name: 'resync-period',
    kind: duration('0'),
    default: '1h',
    help: 'How often everything is compared again without an event; 0 for never',
  },
  deletionBrakeCount: {
    name: 'deletion-brake-count',
    kind: wholeNumber(0, 1_000_000),
    default: '10',
    help: "Hold a change that deletes more than this many of a policy's children, if it passes the percentage too",
  },
  deletionBrakePercent: {
    name: 'deletion-brake-percent',
    kind: wholeNumber(0, 100),
    default: '25',
    help: "Hold a change that deletes more than this share of a policy's children, if it passes the count too; 100 for never",
  },
  listPageSize: {
    name: 'list-page-size',
    kind: wholeNumber(1, 10_000),
    default: '500',
    help: 'Objects per page when a list is read',
  },
  kubeApiTimeoutMs: {
    name: 'kube-api-timeout',
    kind: duration('1ms'),
    default: '30s',
    help: 'Time for one request to the API server',
  },
  shutdownTimeoutMs: {
    name: 'shutdown-timeout',
    kind: duration('0'),
    default: '30s',
    help: 'Time for writes in flight to finish after SIGTERM',
  },
};

const FLAG_KEYS = Object.keys(FLAGS) as (keyof Options)[];
const FLAG_BY_NAME = new Map<string, { readonly kind: ValueKind<unknown> }>(
  Object.values(FLAGS).map((flag) => [flag.name, flag]),
);

/** What client-go checks in leaderelection.NewLeaderElector; 1.2 is its JitterFactor, by which a retry may be late. */
const LEASE_ORDER = [
  ['leaseDurationMs', 'renewDeadlineMs', 1],
  ['renewDeadlineMs', 'retryPeriodMs', 1.2],
] as const;

/** What of the flags for metrics does not go together: nobody is to believe in a certificate that is not used. */
function metricsProblems(options: Options, given: Arguments['texts']): string[] {
  const { metricsSecure, metricsCertPath, metricsBindAddress, healthProbeBindAddress } = options;
  const path = `--${FLAGS.metricsCertPath.name}`;
  const secure = `--${FLAGS.metricsSecure.name}`;
  const problems: string[] = [];
  if (metricsCertPath !== undefined && !metricsSecure) {
    problems.push(`${path}: expected ${secure} with it, got ${secure}=false`);
  }
  for (const { name } of [FLAGS.metricsCertName, FLAGS.metricsCertKey]) {
    if (given.has(name) && metricsCertPath === undefined)
      problems.push(`--${name}: expected ${path} with it, got none`);
  }
  if (metricsSecure && metricsBindAddress !== undefined && healthProbeBindAddress !== undefined) {
    const [metrics, health] = [metricsBindAddress, healthProbeBindAddress].map(formatBindAddress);
    if (metrics === health && metricsBindAddress.port !== 0) {
      problems.push(
        `--${FLAGS.healthProbeBindAddress.name}: expected another address than --${FLAGS.metricsBindAddress.name}, ` +
          `as probes use plain HTTP and ${secure} means HTTPS, got ${JSON.stringify(health)}`,
      );
    }
  }
  return problems;
}

interface Arguments {
  /** Values by name of flag, in the order given. */
  readonly texts: ReadonlyMap<string, string[]>;
  readonly problems: string[];
  readonly asksFor: 'help' | 'version' | undefined;
}

function readArguments(argv: readonly string[]): Arguments {
  const texts = new Map<string, string[]>();
  const problems: string[] = [];
  let asksFor: Arguments['asksFor'];
  // parseArgs takes -name for a group of one-letter flags; it is more likely a flag with one dash too few.
  const args = argv.map((arg) => arg.replace(/^-(?=[^-].)/, '--'));
  // parseArgs knows no flags here: a flag of kind string would take a following flag for its value.
  const { tokens } = parseArgs({ args, strict: false, allowPositionals: true, tokens: true });
  let read = -1;
  for (const token of tokens) {
    if (token.index <= read) continue;
    read = token.index;
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') {
      problems.push(strayArgument(token.value, argv[token.index - 1]));
      continue;
    }
    const given = argv[token.index] ?? token.rawName;
    const flag = given.startsWith('--') ? FLAG_BY_NAME.get(token.name) : undefined;
    if (given === '--help' || given === '-h') {
      asksFor = 'help';
    } else if (given === '--version') {
      asksFor ??= 'version';
    } else if (flag === undefined) {
      problems.push(unknownFlag(given));
    } else if (token.value !== undefined) {
      append(texts, token.name, token.value);
    } else if (flag.kind === BOOLEAN) {
      append(texts, token.name, 'true');
    } else {
      const next = argv[token.index + 1];
      if (next === undefined || next.startsWith('--')) {
        problems.push(`--${token.name}: expected ${flag.kind.expected}, got no value`);
      } else {
        append(texts, token.name, next);
        read = token.index + 1;
      }
    }
  }
  return { texts, problems, asksFor };
}

function append(texts: Map<string, string[]>, name: string, text: string): void {
  const earlier = texts.get(name);
  if (earlier === undefined) texts.set(name, [text]);
  else earlier.push(text);
}

/** The value of a flag, or INVALID after adding to `problems` what is wrong with each text given. */
function flagValue(
  flag: Flag<unknown>,
  given: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  isTTY: boolean,
  problems: string[],
): unknown {
  const read = (source: string, text: string) => {
    const value = flag.kind.parse(text);
    if (value === INVALID) problems.push(`${source}: expected ${flag.kind.expected}, got ${JSON.stringify(text)}`);
    return value;
  };
  if (given.length > 0) {
    const values = given.map((text) => read(`--${flag.name}`, text));
    return values.includes(INVALID) ? INVALID : values.at(-1);
  }
  if (flag.variable !== undefined) {
    const text = env[flag.variable] ?? '';
    if (text !== '') return read(`environment variable ${flag.variable}`, text);
  }
  const text = isTTY ? (flag.terminalDefault ?? flag.default) : flag.default;
  return text === undefined ? undefined : read(`default of --${flag.name}`, text);
}

function strayArgument(value: string, previous: string | undefined): string {
  const flag = previous?.startsWith('--') === true ? FLAG_BY_NAME.get(previous.slice(2)) : undefined;
  const hint = flag?.kind === BOOLEAN ? `; write ${previous ?? ''}=${value}` : '';
  return `unexpected argument ${JSON.stringify(value)}: expected only flags${hint}`;
}

function unknownFlag(given: string): string {
  const [name = given] = given.split('=', 1);
  const bare = name.replace(/^-+/, '').toLowerCase().replaceAll('_', '-');
  const [nearest] = ['help', 'version', ...FLAG_BY_NAME.keys()]
    .map((known) => ({ known, distance: editDistance(bare, known) }))
    .sort((one, other) => one.distance - other.distance);
  const near = nearest !== undefined && nearest.distance <= Math.max(2, Math.floor(bare.length / 4));
  return `unknown flag ${name}${near ? `; did you mean --${nearest.known}?` : '; see --help'}`;
}

/** Levenshtein distance: how many letters to insert, delete or replace. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let index = 0; index < from.length; index++) {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (from[index] === to[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

function defaultNote(flag: Flag<unknown>): string {
  if (flag.default === undefined) return '';
  return flag.terminalDefault === undefined
    ? ` (default ${flag.default})`
    : ` (default ${flag.default}, or ${flag.terminalDefault} on a terminal)`;
}

function seconds(milliseconds: number): string {
  return `${milliseconds / 1000}s`;
}
