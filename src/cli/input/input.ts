import type { Options } from 'yargs';
import type { Flags } from '../command.ts';
import { UsageError } from '../errors.ts';
import type { Terminal } from '../terminal.ts';
import { CLUSTER_FLAGS, givenClusterFlags } from './cluster-flags.ts';
import type { ObjectSet } from './objects.ts';

/** Flags that say what is read: files, or else a live cluster; named as kubectl names them. */
export const INPUT_FLAGS: Readonly<Record<string, Options>> = {
  filename: {
    alias: 'f',
    type: 'string',
    requiresArg: true,
    description: 'File, folder or - to read in place of a live cluster; may be given more than once',
  },
  recursive: { alias: 'R', type: 'boolean', description: 'Read folders in the folders of --filename too' },
  'request-timeout': {
    type: 'string',
    requiresArg: true,
    default: '30s',
    description: 'Longest wait for an answer of the cluster, such as 5s, 1m or 500ms',
  },
  namespace: {
    alias: 'n',
    type: 'string',
    requiresArg: true,
    description: 'Namespace of what is named without one; only it is reported on',
  },
  ...CLUSTER_FLAGS,
};

/** The flag to report on every namespace. */
export const ALL_NAMESPACES_FLAG: Readonly<Record<string, Options>> = {
  'all-namespaces': {
    alias: 'A',
    type: 'boolean',
    description: 'Report on every namespace; the default with files, while a cluster has that of the context',
  },
};

/** What was read. */
export interface Input {
  readonly objects: ObjectSet;
  /** Namespace of what is named without one. */
  readonly namespace: string;
  readonly isLive: boolean;
  /** The only namespace to report on; undefined for all. */
  readonly only: string | undefined;
}

/**
 * Reads the input that flags name, and tells what of a cluster it may not read. Where only one namespace is asked for,
 * that one is read alone when the user may not read the whole cluster. Throws UsageError for flags that do not go
 * together, and InputError for input that is not there, is wrong, or may not be read.
 * @param workloads whether pods and their controllers of a cluster are needed
 * @param policies whether the BaselinePolicies of a cluster are needed, and with them all of it
 */
export async function readInput(
  flags: Flags,
  terminal: Terminal,
  { workloads = true, policies = false } = {},
): Promise<Input> {
  const filenames = flags.texts('filename');
  const given = flags.text('namespace');
  const all = flags.isOn('all-namespaces');
  if (all && given !== undefined) {
    throw new UsageError('--all-namespaces: expected without --namespace, got both');
  }
  if (filenames.length > 0) {
    const [name] = givenClusterFlags(flags);
    if (name !== undefined) throw new UsageError(`--${name}: expected without --filename, got both`);
    const { readFiles } = await import('./files.ts');
    const namespace = given ?? 'default';
    const recursive = flags.isOn('recursive');
    const objects = await readFiles({ filenames, recursive, namespace, stdin: terminal.stdin });
    return { objects, namespace, isLive: false, only: given };
  }
  if (flags.isOn('recursive')) throw new UsageError('--recursive: expected with --filename, got none');
  const requestTimeoutMs = durationMs(flags.required('request-timeout'));
  const { loadContext } = await import('./kubeconfig-context.ts');
  const context = await loadContext(flags, terminal.env);
  const namespace = given ?? context.namespace;
  // The client of the API server takes long to load.
  const { readLive } = await import('./live.ts');
  if (terminal.stderr.isTTY === true) terminal.stderr.write('Reading the cluster\n');
  const only = all ? undefined : namespace;
  const { objects, warnings } = await readLive({
    access: context.access,
    requestTimeoutMs,
    workloads,
    policies,
    mayBeConfinedTo: policies ? undefined : only,
  });
  warn(terminal, warnings);
  return { objects, namespace, isLive: true, only };
}

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration such as `30s`; a number alone is seconds, as for kubectl. */
function durationMs(text: string): number {
  const [, number = '', unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? [];
  const milliseconds = Number(number) * UNITS[unit as keyof typeof UNITS];
  if (number === '' || milliseconds <= 0) {
    throw new UsageError(`--request-timeout: expected a duration such as 30s, got ${JSON.stringify(text)}`);
  }
  return milliseconds;
}

/** Tells a person what they should know of the input. */
export function warn(terminal: Terminal, warnings: readonly string[]): void {
  for (const warning of warnings) terminal.stderr.write(`warning: ${warning}\n`);
}
