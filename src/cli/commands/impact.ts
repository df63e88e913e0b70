import { impact, type Impact, type WorkloadChange } from '../../analysis/impact.ts';
import type { Connection } from '../../analysis/connections.ts';
import { outputFlag, type Command, type Flags } from '../command.ts';
import { UsageError } from '../errors.ts';
import { INPUT_FLAGS, readInput, warn, type Input } from '../input/input.ts';
import { takeInventory } from '../input/inventory.ts';
import { withObjects, type ObjectSet } from '../input/objects.ts';
import { formatPorts } from '../output/ports.ts';
import { writeStructured } from '../output/structured.ts';
import { textTable } from '../output/table.ts';
import { PROFILE_FLAG, profileOf } from '../targets.ts';
import { paintFor, writeLines, type Paint, type Terminal } from '../terminal.ts';
import { VIEW_FLAGS, viewOf } from './connections.ts';

/** A change is never of one namespace: it has effects in others. */
const { namespace: _namespace, ...CLUSTER_WIDE_FLAGS } = INPUT_FLAGS;

/** Says what a change of policies would change. */
export const impactCommand: Command = {
  usage: 'impact',
  about: 'Say which connections a change loses and gains, and who loses DNS, monitoring or isolation; exit 1 for any',
  details:
    'Before is the input: the cluster, or the files of --filename. After is one of\n' +
    '  the same with every BaselinePolicy enforced, also those in mode Audit (the default),\n' +
    '  with --apply, that and objects that are added or replaced,\n' +
    '  with --after, other files in place of all of it.',
  options: {
    apply: {
      type: 'string',
      requiresArg: true,
      description: 'File or folder with objects that are added or replaced; may be given more than once',
    },
    after: {
      type: 'string',
      requiresArg: true,
      description: 'File or folder with all that is there afterwards; may be given more than once',
    },
    ...outputFlag('text', 'json', 'yaml'),
    ...PROFILE_FLAG,
    ...VIEW_FLAGS,
    ...CLUSTER_WIDE_FLAGS,
  },
  examples: [
    ['impact', 'What will break when the policies of the cluster in mode Audit are enforced?'],
    ['impact --apply policy.yaml', 'What would this policy do to the cluster?'],
    ['impact -f main/ --after branch/', 'What does a branch change?'],
  ],
  run: async (flags, terminal) => {
    const input = await readInput(flags, terminal, { policies: true });
    const [before, after] = [
      takeInventory(input.objects, input.isLive ? 'none' : 'enforced'),
      await inventoryAfter(input, flags, terminal),
    ];
    warn(terminal, [
      ...new Set([...before.warnings.filter((text) => !text.includes('mode Audit')), ...after.warnings]),
    ]);
    const result = impact(before.model, after.model, { ...viewOf(flags), profile: profileOf(flags) });
    const format = flags.required('output');
    if (format === 'yaml') {
      writeStructured(terminal.stdout, format, { ...result, lost: [...result.lost], gained: [...result.gained] });
    } else {
      const lines = format === 'json' ? jsonLines(result) : textLines(result, paintFor(terminal));
      await writeLines(terminal.stdout, lines);
    }
    return result.isEmpty ? 0 : 1;
  },
};

async function inventoryAfter(input: Input, flags: Flags, terminal: Terminal) {
  const [apply, after] = [flags.texts('apply'), flags.texts('after')];
  if (apply.length > 0 && after.length > 0) throw new UsageError('--apply: expected without --after, got both');
  if (apply.length + after.length === 0) return takeInventory(input.objects, 'all');
  const { readFiles } = await import('../input/files.ts');
  const read = (filenames: readonly string[]): Promise<ObjectSet> =>
    readFiles({ filenames, recursive: flags.isOn('recursive'), namespace: input.namespace, stdin: terminal.stdin });
  if (after.length > 0) return takeInventory(await read(after), 'enforced');
  return takeInventory(withObjects(input.objects, await read(apply)), 'all');
}

/** How many connections a text lists of those that are lost, and of those that are gained. */
const LISTED = 20;

function* textLines(
  { isEmpty, summary, lost, gained, dns, monitoring, isolation }: Impact,
  paint: Paint,
): Generator<string> {
  if (isEmpty) {
    yield 'Nothing changes.';
    return;
  }
  yield `Connections lost: ${summary.lost}; gained: ${summary.gained}.`;
  yield* changeLines('DNS', 'lose', 'gain', dns, paint);
  yield* changeLines('ingress from monitoring', 'lose', 'gain', monitoring, paint);
  yield* changeLines('isolation of ingress', 'lose', 'gain', isolation.Ingress, paint);
  yield* changeLines('isolation of egress', 'lose', 'gain', isolation.Egress, paint);
  if (summary.pairs.length > 0) {
    yield '';
    const rows = summary.pairs.map((pair) => [pair.src, pair.dst, String(pair.lost), String(pair.gained)]);
    yield* textTable(['FROM', 'TO', 'LOST', 'GAINED'], rows);
    if (summary.morePairs > 0) yield `and ${summary.morePairs} more pairs of namespaces`;
  }
  yield* connectionLines(paint('red', 'Lost'), lost, summary.lost);
  yield* connectionLines(paint('green', 'Gained'), gained, summary.gained);
}

function* changeLines(
  what: string,
  lose: string,
  gain: string,
  { lost, gained }: WorkloadChange,
  paint: Paint,
): Generator<string> {
  for (const [word, style, names] of [
    [lose, 'red', lost],
    [gain, 'green', gained],
  ] as const) {
    if (names.length === 0) continue;
    const more = names.length > LISTED ? ` and ${names.length - LISTED} more` : '';
    yield `${paint(style, `Workloads that ${word} ${what}`)} (${names.length}): ${names.slice(0, LISTED).join(', ')}${more}`;
  }
}

function* connectionLines(title: string, connections: Iterable<Connection>, count: number): Generator<string> {
  if (count === 0) return;
  yield '';
  yield `${title}:`;
  const rows = Iterator.from(connections)
    .take(LISTED)
    .map(({ src, dst, connections: ports }) => [`  ${src}`, dst, formatPorts(ports)])
    .toArray();
  yield* textTable(['  SOURCE', 'DESTINATION', 'PORTS'], rows);
  if (count > LISTED) yield `  and ${count - LISTED} more; see -o json`;
}

/** An object with a connection a line: there may be many. */
function* jsonLines({ isEmpty, summary, lost, gained, dns, monitoring, isolation }: Impact): Generator<string> {
  const head = JSON.stringify({ isEmpty, summary, dns, monitoring, isolation }, null, 2);
  yield `${head.slice(0, -2)},`;
  for (const [name, connections] of [
    ['lost', lost],
    ['gained', gained],
  ] as const) {
    yield `  "${name}": [`;
    let before: string | undefined;
    for (const connection of connections) {
      if (before !== undefined) yield `${before},`;
      before = `    ${JSON.stringify(connection)}`;
    }
    if (before !== undefined) yield before;
    yield name === 'lost' ? '  ],' : '  ]';
  }
  yield '}';
}
