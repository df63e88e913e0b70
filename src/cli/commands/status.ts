import type { BaselinePolicy } from '../../api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../api/names.ts';
import { reasonOf } from '../../policy/diff.ts';
import { selectsNamespace, type SelectableNamespace } from '../../policy/select.ts';
import type { Labels } from '../../policy/selector.ts';
import { outputFlag, type Command } from '../command.ts';
import { deviations, type Deviation } from '../deviation.ts';
import { INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { namespacesOf, notModelled, PROTECTED_FLAG, protectedNamespacesOf, wantedOf } from '../input/inventory.ts';
import { isStructured, writeStructured } from '../output/structured.ts';
import { alignColumns } from '../output/table.ts';
import { paintFor, writeLines, type Paint, type Style } from '../terminal.ts';

/** How a namespace stands with a policy. With none it is `unselected`, or `uncovered` when it has opted in. */
type State = 'compliant' | 'drifted' | 'failed' | 'uncovered' | 'unselected';

const STYLES: Readonly<Record<State, Style>> = {
  compliant: 'green',
  drifted: 'yellow',
  failed: 'red',
  uncovered: 'red',
  unselected: 'dim',
};

interface NamespaceStatus {
  readonly namespace: string;
  /** Absent when no policy selects the namespace. */
  readonly policy?: string;
  readonly state: State;
  /** Empty when it is compliant. */
  readonly why: string;
}

interface PolicyStatus {
  readonly policy: string;
  readonly mode: string;
  readonly selected: number;
  readonly compliant: number;
  readonly drifted: number;
  readonly failed: number;
  /** What the operator says: True, False, or Unknown when it has said nothing of this generation. */
  readonly ready: string;
  readonly why: string;
}

/** Shows how policies and namespaces stand. */
export const status: Command = {
  usage: 'status',
  about: 'Show how policies and namespaces stand: compliant, drifted or failed, and why; exit 1 when not all is well',
  details:
    'What namespaces have is compared with what policies want, here and now; READY is what the operator says.\n' +
    'A namespace that no policy selects is listed as unselected; as uncovered, if it has opted in by its label.',
  options: { ...outputFlag('text', 'json', 'yaml'), ...PROTECTED_FLAG, ...INPUT_FLAGS },
  examples: [
    ['status', 'Which namespaces are really protected?'],
    ['status -n shop -o json', 'One namespace, for a script'],
  ],
  run: async (flags, terminal) => {
    const { objects, isLive } = await readInput(flags, terminal, { workloads: false, policies: true });
    const only = flags.text('namespace');
    const protectedNamespaces = protectedNamespacesOf(flags);
    const { wanted, warnings } = wantedOf(objects, { protectedNamespaces, isLive });
    warn(terminal, [...notModelled(objects), ...warnings]);
    const found = deviations(objects, wanted);
    const policies = objects.baselinePolicies
      .map((policy) => policyStatus(policy, found))
      .sort((a, b) => (a.policy < b.policy ? -1 : 1));
    const unselected = (name: string, labels: Labels): NamespaceStatus =>
      judgeUnselected({ name, labels }, objects.baselinePolicies, new Set(protectedNamespaces));
    const namespaces = namespaceStatuses(namespacesOf(objects), found, unselected).filter(
      ({ namespace }) => only === undefined || namespace === only,
    );
    const format = flags.required('output');
    if (isStructured(format)) writeStructured(terminal.stdout, format, { policies, namespaces });
    else await writeLines(terminal.stdout, textLines(policies, namespaces, paintFor(terminal)));
    const isWell =
      namespaces.every(({ state }) => state === 'compliant' || state === 'unselected') &&
      (only !== undefined || policies.every(({ ready }) => ready !== 'False'));
    return isWell ? 0 : 1;
  },
};

function namespaceStatuses(
  namespaces: ReadonlyMap<string, Labels>,
  found: readonly Deviation[],
  unselected: (name: string, labels: Labels) => NamespaceStatus,
): NamespaceStatus[] {
  const byNamespace = Map.groupBy(found, ({ namespace }) => namespace);
  return [...namespaces].flatMap(([namespace, labels]): NamespaceStatus[] => {
    const ofNamespace = (byNamespace.get(namespace) ?? []).map((deviation) => ({
      namespace,
      policy: deviation.policy.metadata.name,
      ...judge(deviation),
    }));
    return ofNamespace.length > 0 ? ofNamespace : [unselected(namespace, labels)];
  });
}

/** How a namespace stands that no policy selects: whether anybody wants that. */
function judgeUnselected(
  namespace: SelectableNamespace,
  policies: readonly BaselinePolicy[],
  protectedNamespaces: ReadonlySet<string>,
): NamespaceStatus {
  const { name, labels } = namespace;
  const because = (why: string, state: State = 'unselected'): NamespaceStatus => ({ namespace: name, state, why });
  if (protectedNamespaces.has(name)) return because('it is protected: no BaselinePolicy selects it');
  const excluding = policies.find(({ spec }) =>
    selectsNamespace({ ...spec, excludedNamespaces: [] }, namespace, protectedNamespaces),
  );
  if (excluding) return because(`BaselinePolicy ${excluding.metadata.name} excludes it by name`);
  const { [LABEL_ENFORCE]: enforce = 'false' } = labels;
  if (enforce === 'false') return because('no BaselinePolicy selects it');
  return because(`it has opted in (${LABEL_ENFORCE}=${enforce}), but no BaselinePolicy selects it`, 'uncovered');
}

/** How a namespace stands with one policy. */
function judge({ policy, namespace, desired, changes }: Deviation): { state: State; why: string } {
  const reported = (policy.status?.failures ?? []).filter((failure) => failure.namespace === namespace);
  const failures = [
    ...changes.filter(({ kind }) => kind === 'conflict').map(({ name }) => `${name} is not the operator's`),
    ...desired.withheld.map(({ message }) => message),
    ...desired.unresolved.map(({ message }) => message),
    ...(changes.length === 0 ? [] : reported.map(({ rule, reason, message }) => `${rule}: ${reason}: ${message}`)),
  ];
  const drift = changes
    .filter(({ kind }) => kind !== 'conflict')
    .map((change) => `${change.name} ${DRIFT_WORDS[reasonOf(change)]}`);
  if (failures.length > 0) return { state: 'failed', why: [...failures, ...drift].join('; ') };
  if (drift.length === 0) return { state: 'compliant', why: '' };
  const prefix = policy.spec.mode === 'Audit' ? 'mode Audit: ' : '';
  return { state: 'drifted', why: prefix + drift.join(', ') };
}

const DRIFT_WORDS = {
  Missing: 'is missing',
  Modified: 'is modified',
  Metadata: 'has other labels or owners',
  Unexpected: 'is left over',
  NameConflict: 'is of others',
} as const;

function policyStatus(policy: BaselinePolicy, found: readonly Deviation[]): PolicyStatus {
  const own = found.filter((deviation) => deviation.policy === policy);
  const states = own.map((deviation) => judge(deviation).state);
  const count = (state: State): number => states.filter((one) => one === state).length;
  const { metadata, spec, status: reported } = policy;
  const isCurrent = reported?.observedGeneration === metadata.generation;
  const ready = isCurrent ? reported?.conditions?.find(({ type }) => type === 'Ready') : undefined;
  return {
    policy: metadata.name,
    mode: spec.mode ?? 'Enforce',
    selected: own.filter(({ isSelected }) => isSelected).length,
    compliant: count('compliant'),
    drifted: count('drifted'),
    failed: count('failed'),
    ready: ready?.status ?? 'Unknown',
    why: ready?.status === 'True' ? '' : (ready?.message ?? 'the operator has not reported on it'),
  };
}

function* textLines(
  policies: readonly PolicyStatus[],
  namespaces: readonly NamespaceStatus[],
  paint: Paint,
): Generator<string> {
  if (policies.length === 0) yield 'There are no BaselinePolicies.';
  else {
    const rows = policies.map(({ policy, mode, selected, compliant, drifted, failed, ready, why }) => [
      policy,
      mode,
      ...[selected, compliant, drifted, failed].map(String),
      ready,
      why,
    ]);
    const header = ['POLICY', 'MODE', 'SELECTED', 'COMPLIANT', 'DRIFTED', 'FAILED', 'READY', 'WHY'];
    for (const row of alignColumns([header, ...rows])) yield row.join('  ').trimEnd();
  }
  yield '';
  const rows = namespaces.map(({ namespace, policy = '-', state, why }) => [namespace, policy, state, why]);
  const [header = [], ...lines] = alignColumns([['NAMESPACE', 'POLICY', 'STATE', 'WHY'], ...rows]);
  yield header.join('  ').trimEnd();
  for (const [row, cells] of lines.entries()) {
    const state = namespaces[row]?.state ?? 'unselected';
    yield cells
      .map((cell, column) => (column === 2 ? paint(STYLES[state], cell) : cell))
      .join('  ')
      .trimEnd();
  }
}
