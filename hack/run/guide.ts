import { delimiter } from 'node:path';
import type { BaselinePolicy } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { LABEL_ENFORCE, LABEL_POLICY, LABEL_RULE } from '../../src/api/names.ts';
import { DEFAULT_NAMESPACE_SELECTOR } from '../../src/policy/select.ts';
import { matchesSelector } from '../../src/policy/selector.ts';

/** What the demo made, as the API server has it. */
export interface DemoObjects {
  readonly policy: BaselinePolicy;
  /** The namespaces of the demo. */
  readonly namespaces: readonly KubernetesObject[];
  /** All NetworkPolicies that the operator generated. */
  readonly children: readonly KubernetesObject[];
}

/** What the guide tells beside the objects. */
export interface DemoAccess {
  readonly kubeconfig: string;
  /** Folder of a kubectl, when none is on the PATH. */
  readonly kubectlFolder: string | undefined;
  readonly metricsURL: string;
  /** Whether deleted namespaces go: without a controller manager they stay Terminating. */
  readonly controllerManager: boolean;
}

/** The text that `make run` prints when the demo is up: what was made, how to get at it, what to try. */
export function guideText(objects: DemoObjects, access: DemoAccess): string {
  const { policy } = objects;
  const lines = [
    '',
    `The BaselinePolicy ${policy.metadata.name} is ready. In these namespaces it made:`,
    '',
    ...childTable(objects),
    '',
    'In a second terminal:',
    '',
    `  export KUBECONFIG=${quote(access.kubeconfig)}`,
    ...(access.kubectlFolder === undefined ? [] : [`  export PATH=${quote(access.kubectlFolder)}${delimiter}$PATH`]),
    '',
    `Try it, and watch this terminal or ${access.metricsURL} (baseline_policy_drift_total):`,
    '',
    ...experiments(objects).flatMap(({ what, command }, index) => [`  ${index + 1}. ${what}`, `     ${command}`]),
    '',
    'Then look: kubectl get blp, kubectl get networkpolicies -A, kubectl get events',
    ...(access.controllerManager
      ? []
      : ['No kube-controller-manager runs here, so namespaces that you delete stay Terminating.']),
    'Ctrl-C ends the operator and its cluster, and leaves nothing behind.',
    '',
  ];
  return lines.join('\n');
}

/** One line a child, one column a namespace; the last line says why. */
function childTable({ policy, namespaces, children }: DemoObjects): string[] {
  const ours = children.filter(({ metadata }) => metadata.labels?.[LABEL_POLICY] === policy.metadata.name);
  const names = [...new Set(ours.map(({ metadata }) => metadata.name))].sort();
  const made = new Set(ours.map(({ metadata }) => `${metadata.namespace ?? ''}/${metadata.name}`));
  const rows = names.map((name) => [
    name,
    ...namespaces.map(({ metadata }) => (made.has(`${metadata.name}/${name}`) ? 'yes' : '-')),
  ]);
  return columns([
    ['NETWORKPOLICY', ...namespaces.map(({ metadata }) => metadata.name)],
    ...rows,
    ['selected', ...namespaces.map((namespace) => selection(policy, namespace))],
  ]);
}

const SELECTED = 'yes';
const EXCLUDED = 'no: excluded';
const NOT_LABELLED = 'no: not labelled';

/** Whether the policy selects the namespace, and why not. */
function selection({ spec }: BaselinePolicy, { metadata }: KubernetesObject): string {
  if (spec.excludedNamespaces?.includes(metadata.name) === true) return EXCLUDED;
  const selector = spec.namespaceSelector ?? DEFAULT_NAMESPACE_SELECTOR;
  return matchesSelector(selector, metadata.labels ?? {}) ? SELECTED : NOT_LABELLED;
}

/** Things to try, with commands that work on the objects that are there. */
function experiments({ policy, namespaces, children }: DemoObjects): { what: string; command: string }[] {
  const selected = namespaces.filter((namespace) => selection(policy, namespace) === SELECTED);
  const child = (namespace: string, rule: string): string =>
    children.find(({ metadata }) => metadata.namespace === namespace && metadata.labels?.[LABEL_RULE] === rule)
      ?.metadata.name ?? '';
  const first = selected[0]?.metadata.name ?? '';
  const last = selected.at(-1)?.metadata.name ?? '';
  const other = namespaces.find((namespace) => selection(policy, namespace) === NOT_LABELLED);
  return [
    {
      what: `Edit a child, to let everyone into ${first}. It is put right, and counted as Modified:`,
      command:
        `kubectl -n ${first} patch networkpolicy ${child(first, 'default-deny')} ` +
        `--type=merge -p '{"spec":{"ingress":[{}]}}'`,
    },
    {
      what: 'Delete one. It comes back, and is counted as Missing:',
      command: `kubectl -n ${last} delete networkpolicy ${child(last, 'allow-dns')}`,
    },
    {
      what: 'Opt a namespace in. It gets its children, default-deny last:',
      command: `kubectl label namespace ${other?.metadata.name ?? ''} ${LABEL_ENFORCE}=true`,
    },
  ];
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd());
}

/** The text as one word of a POSIX shell. */
function quote(text: string): string {
  return /^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
