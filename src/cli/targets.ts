import { workloadName, type Workload } from '../analysis/cluster.ts';
import { addressTarget, internetTarget, workloadTarget, type Target } from '../analysis/verdict.ts';
import { PortSet, PROTOCOLS, type Protocol } from '../analysis/port-set.ts';
import { PROFILES, type Profile, type ProfileName } from '../analysis/profiles.ts';
import { matchesSelector } from '../policy/selector.ts';
import type { LabelSelector } from '../api/networkpolicy.ts';
import type { Options } from 'yargs';
import { InputError, UsageError } from './errors.ts';
import type { Flags } from './command.ts';
import type { Inventory } from './input/inventory.ts';

/** How SOURCE and DESTINATION are written, for help texts. */
export const TARGET_SYNTAX = `SOURCE and DESTINATION are each one of
  shop/deployment/web   a workload, by namespace, kind and name
  shop/web              a workload or a pod of the namespace
  web                   the same, in the namespace of --namespace
  shop:app=web          the workloads of the namespace that a label selector matches
  203.0.113.7           an address outside the cluster, or of a pod
  internet              all public addresses`;

/** The flag for the network plugin. */
export const PROFILE_FLAG: Readonly<Record<string, Options>> = {
  'cni-profile': {
    type: 'string',
    requiresArg: true,
    choices: Object.keys(PROFILES),
    default: 'generic',
    description: 'Network plugin, which decides what the API leaves open',
  },
};

/** Flags of commands that ask for one connection. */
export const QUESTION_FLAGS: Readonly<Record<string, Options>> = {
  port: {
    alias: 'p',
    type: 'string',
    requiresArg: true,
    description:
      'Port of the destination, such as 5432, 53/UDP or 8000-8100/TCP; may be given more than once [default: all]',
  },
  ...PROFILE_FLAG,
};

/** The profile of the network plugin that is given. */
export function profileOf(flags: Flags): Profile {
  return PROFILES[flags.required('cni-profile') as ProfileName];
}

/** Short names of kinds, as kubectl has them. */
const KINDS: Readonly<Record<string, string>> = {
  po: 'pod',
  deploy: 'deployment',
  rs: 'replicaset',
  sts: 'statefulset',
  ds: 'daemonset',
  cj: 'cronjob',
  rc: 'replicationcontroller',
};

/**
 * The ends that a text names, in the syntax of TARGET_SYNTAX. Throws UsageError when it names nothing that is there, and
 * InputError when it names something of a namespace that could not be read.
 * @param argument name of the argument, for messages
 */
export function findTargets(argument: string, text: string, namespace: string, inventory: Inventory): Target[] {
  const { model, ofPod } = inventory;
  if (text === 'internet') return [internetTarget(model)];
  if (isAddress(text)) {
    const pod = model.workloads.filter(({ ips = [] }) => ips.includes(text));
    return pod.length > 0 ? pod.map(workloadTarget) : [addressTarget(text)];
  }
  const [, selectedNamespace, selectorText] = /^([a-z0-9-]*):(.*)$/.exec(text) ?? [];
  if (selectedNamespace !== undefined && selectorText !== undefined) {
    const selector = parseSelector(argument, selectorText);
    const candidates = workloadsIn(argument, text, selectedNamespace === '' ? namespace : selectedNamespace, inventory);
    const found = candidates.filter(({ labels }) => matchesSelector(selector, labels));
    return orRefuse(argument, `workloads with ${selectorText} in it`, found, text, candidates).map(workloadTarget);
  }
  const parts = text.split('/');
  const name = parts.at(-1) ?? '';
  const kind = parts.length === 3 ? parts[1]?.toLowerCase() : undefined;
  const [of = ''] = parts.length === 1 ? [namespace] : parts;
  if (parts.length > 3 || parts.includes('')) {
    throw new UsageError(`${argument}: expected namespace/kind/name or namespace/name, got ${JSON.stringify(text)}`);
  }
  const candidates = workloadsIn(argument, text, of, inventory);
  const named = candidates.filter((workload) => workload.name === name && isOfKind(workload, kind));
  if (named.length > 1) {
    const names = named.map((workload) => `${workload.namespace}/${workload.kind.toLowerCase()}/${workload.name}`);
    throw new UsageError(
      `${argument}: expected one of ${names.join(', ')}, got ${JSON.stringify(text)}, which is all of them`,
    );
  }
  const owner = kind === undefined || kind === 'pod' || kind === 'po' ? ofPod.get(`${of}/${name}`) : undefined;
  const found = named.length > 0 ? named : candidates.filter((workload) => workloadName(workload) === owner);
  return orRefuse(argument, 'a workload or pod', found, text, candidates).map(workloadTarget);
}

function isAddress(text: string): boolean {
  return (
    /^\d+\.\d+\.\d+\.\d+$/.test(text) ||
    (text.includes(':') && /^[0-9A-Fa-f:.]+$/.test(text) && text.split(':').length > 2)
  );
}

function workloadsIn(argument: string, text: string, namespace: string, { model }: Inventory): Workload[] {
  const { confinedTo = namespace } = model.cluster;
  if (namespace !== confinedTo) {
    throw new InputError([
      `${argument}: expected a workload of namespace ${confinedTo}, or an address, got ${JSON.stringify(text)}: ` +
        `namespace ${namespace} could not be read`,
    ]);
  }
  return model.workloads.filter((workload) => workload.namespace === namespace);
}

function isOfKind({ kind }: Workload, wanted: string | undefined): boolean {
  if (wanted === undefined) return true;
  const long = Object.hasOwn(KINDS, wanted) ? KINDS[wanted] : wanted.replace(/s$/, '');
  return kind.toLowerCase() === long || kind.toLowerCase() === wanted;
}

/** How many names a message lists. */
const LISTED = 8;

function orRefuse(
  argument: string,
  expected: string,
  found: readonly Workload[],
  text: string,
  candidates: readonly Workload[],
): readonly Workload[] {
  if (found.length > 0) return found;
  const names = candidates.slice(0, LISTED).map(workloadName);
  const more = candidates.length > LISTED ? ` and ${candidates.length - LISTED} more` : '';
  const there = names.length === 0 ? 'the namespace has no workloads' : `the namespace has ${names.join(', ')}${more}`;
  throw new UsageError(`${argument}: expected ${expected}, got ${JSON.stringify(text)}; ${there}`);
}

/** Reads a label selector as kubectl writes it. */
function parseSelector(argument: string, text: string): LabelSelector {
  const requirements = text.trim() === '' ? [] : text.split(/,(?![^(]*\))/);
  const matchExpressions = requirements.map((requirement) => {
    const [, key, operator, values] =
      /^\s*([\w./-]+)\s+(in|notin)\s*\(([^)]*)\)\s*$/.exec(requirement) ??
      /^\s*([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)\s*$/.exec(requirement) ??
      /^\s*([\w./-]+)()()\s*$/.exec(requirement) ??
      [];
    if (key === undefined) {
      const [, absent] = /^\s*!\s*([\w./-]+)\s*$/.exec(requirement) ?? [];
      if (absent !== undefined) return { key: absent, operator: 'DoesNotExist' as const };
      throw new UsageError(
        `${argument}: expected a label selector such as app=web, got ${JSON.stringify(requirement)}`,
      );
    }
    if (operator === '') return { key, operator: 'Exists' as const };
    const isPositive = operator === 'in' || operator === '=' || operator === '==';
    return {
      key,
      operator: isPositive ? ('In' as const) : ('NotIn' as const),
      values: (values ?? '').split(',').map((value) => value.trim()),
    };
  });
  return { matchExpressions };
}

/** The ports that flags name; all ports when they name none. Throws UsageError. */
export function portsOf(flags: Flags): PortSet {
  const texts = flags.texts('port').flatMap((text) => text.split(','));
  if (texts.length === 0) return PortSet.all;
  return texts.map(parsePort).reduce((ports, one) => ports.union(one), PortSet.empty);
}

function parsePort(text: string): PortSet {
  const [, first, last, protocol = 'TCP'] = /^(\d+)(?:-(\d+))?(?:\/(\w+))?$/.exec(text) ?? [];
  const known = PROTOCOLS.find((one): one is Protocol => one === protocol.toUpperCase());
  if (first === undefined || known === undefined) {
    throw new UsageError(`--port: expected a port such as 5432/TCP or 8000-8100/UDP, got ${JSON.stringify(text)}`);
  }
  try {
    return PortSet.range(known, Number(first), Number(last ?? first));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(`--port: ${error.message.replace('found', 'got')}`);
  }
}
