import { createTwoFilesPatch } from 'diff';
import type { ObjectMeta } from '../../api/metadata.ts';
import type { NetworkPolicy } from '../../api/networkpolicy.ts';
import { mendChild, serializeChild } from '../../policy/child.ts';
import type { Change } from '../../policy/diff.ts';
import { normalizeSpec } from '../../policy/normalize.ts';
import type { Command } from '../command.ts';
import { deviations, type Deviation } from '../deviation.ts';
import { INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { PROTECTED_FLAG, protectedNamespacesOf, wantedOf } from '../input/inventory.ts';
import type { ObjectSet } from '../input/objects.ts';
import { toYAML } from '../output/yaml.ts';
import { paintFor, writeLines, type Paint } from '../terminal.ts';

/** Shows what the operator would write. */
export const diffCommand: Command = {
  usage: 'diff',
  about: 'Show what the operator would create, change and delete, as a unified diff; exit 1 when there is anything',
  details:
    'For policies in mode Audit it shows what Enforce would do.\n' +
    'With files it compares their BaselinePolicies with their NetworkPolicies.',
  options: { ...PROTECTED_FLAG, ...INPUT_FLAGS },
  examples: [
    ['diff', 'What is not as the policies of the cluster want it?'],
    ['diff -f policy.yaml -f namespaces.yaml -f rendered/', 'Are rendered files up to date?'],
  ],
  run: async (flags, terminal) => {
    const { objects, isLive } = await readInput(flags, terminal, { workloads: false, policies: true });
    const only = flags.text('namespace');
    const { wanted, warnings } = wantedOf(objects, { protectedNamespaces: protectedNamespacesOf(flags), isLive });
    const found = deviations(objects, wanted).filter(({ namespace }) => only === undefined || namespace === only);
    const conflicts = found.flatMap(({ policy, namespace, changes }) =>
      changes
        .filter(({ kind }) => kind === 'conflict')
        .map(
          ({ name }) =>
            `BaselinePolicy ${policy.metadata.name}: NetworkPolicy ${namespace}/${name} is not the operator's`,
        ),
    );
    warn(terminal, [...warnings, ...conflicts]);
    const paint = paintFor(terminal);
    await writeLines(
      terminal.stdout,
      found.flatMap((deviation) =>
        deviation.changes.flatMap((change) =>
          patchLines(deviation, change, objects).map((line) => painted(line, paint)),
        ),
      ),
    );
    return found.some(({ changes }) => changes.length > 0) ? 1 : 0;
  },
};

function patchLines({ policy, namespace }: Deviation, change: Change, objects: ObjectSet): string[] {
  if (change.kind === 'conflict') return [];
  const before = objects.networkPolicies.find(
    ({ metadata }) => (metadata.namespace ?? 'default') === namespace && metadata.name === change.name,
  );
  const after = afterChange(change, namespace, before);
  const name = `${namespace}/${change.name}`;
  const isOfFile = policy.metadata.uid === undefined;
  return createTwoFilesPatch(
    before === undefined ? '/dev/null' : `a/${name}`,
    after === undefined ? '/dev/null' : `b/${name}`,
    before === undefined ? '' : textOf(before, isOfFile),
    after === undefined ? '' : textOf(after, isOfFile),
  )
    .trimEnd()
    .split('\n')
    .filter((line) => !/^=+$/.test(line));
}

function afterChange(
  change: Exclude<Change, { kind: 'conflict' }>,
  namespace: string,
  before: NetworkPolicy | undefined,
): NetworkPolicy | undefined {
  switch (change.kind) {
    case 'create':
      return JSON.parse(serializeChild(change.child.template, namespace)) as NetworkPolicy;
    case 'update':
      return before === undefined ? undefined : mendChild(change.child.template, before);
    case 'delete':
      return undefined;
  }
}

/** What a person writes of an object: nothing that the API server sets, and defaults written out. */
function textOf({ metadata, spec = {} }: NetworkPolicy, isOfFile: boolean): string {
  const { name, namespace, labels, annotations, ownerReferences }: ObjectMeta = metadata;
  return toYAML({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name,
      namespace,
      ...(labels !== undefined && { labels: sortedByKey(labels) }),
      ...(annotations !== undefined &&
        Object.keys(annotations).length > 0 && { annotations: sortedByKey(annotations) }),
      // In files nothing has a UID, so nothing can be owned.
      ...(!isOfFile && ownerReferences !== undefined && { ownerReferences }),
    },
    spec: normalizeSpec(spec),
  });
}

function sortedByKey(map: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function painted(line: string, paint: Paint): string {
  if (line.startsWith('---') || line.startsWith('+++')) return paint('bold', line);
  if (line.startsWith('+')) return paint('green', line);
  if (line.startsWith('-')) return paint('red', line);
  return line;
}
