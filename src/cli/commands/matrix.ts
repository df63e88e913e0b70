import { workloadName } from '../../analysis/cluster.ts';
import { PortSet, type PortsJSON } from '../../analysis/port-set.ts';
import { outputFlag, type Command } from '../command.ts';
import { ALL_NAMESPACES_FLAG, INPUT_FLAGS } from '../input/input.ts';
import { formatPorts } from '../output/ports.ts';
import { writeStructured } from '../output/structured.ts';
import { alignColumns, csvTable, markdownTable } from '../output/table.ts';
import { portsOf, QUESTION_FLAGS } from '../targets.ts';
import { paintFor, writeLines, type Paint, type Style } from '../terminal.ts';
import { readConnections, VIEW_FLAGS, viewOf } from './connections.ts';

/** What a cell says: `self` for a workload and itself, else which of the ports in question are allowed. */
interface Cell {
  readonly state: 'self' | 'all' | 'some' | 'none';
  readonly text: string;
}

const STYLES: Readonly<Record<Cell['state'], Style>> = { self: 'dim', all: 'green', some: 'yellow', none: 'red' };

/** Shows which workload may connect to which, as a table. */
export const matrix: Command = {
  usage: 'matrix',
  about: 'Show which workload may connect to which: sources are rows, destinations are columns',
  options: {
    ...(QUESTION_FLAGS['port'] !== undefined && { port: QUESTION_FLAGS['port'] }),
    ...outputFlag('text', 'json', 'yaml', 'csv', 'md'),
    ...VIEW_FLAGS,
    ...INPUT_FLAGS,
    ...ALL_NAMESPACES_FLAG,
  },
  examples: [
    ['matrix -f manifests/', 'All ports'],
    ['matrix --port 8080 -n shop', 'One port, in a namespace of the cluster'],
  ],
  run: async (flags, terminal) => {
    const asked = portsOf(flags);
    const { model, only, pairs } = await readConnections(flags, terminal);
    const hasHosts = viewOf(flags).hostNetwork === 'as-pods';
    const names = model.workloads
      .filter(({ namespace, hostNetwork }) => (only ?? namespace) === namespace && (hasHosts || !hostNetwork))
      .map(workloadName);
    const found = new Map<string, Map<string, Cell>>(names.map((name) => [name, new Map()]));
    for (const { src, dst, connections } of pairs) {
      const cell = cellOf(connections, asked);
      if (cell.state !== 'none') found.get(src)?.set(dst, cell);
    }
    const cellAt = (source: string, destination: string): Cell =>
      source === destination
        ? { state: 'self', text: '.' }
        : (found.get(source)?.get(destination) ?? { state: 'none', text: '-' });
    const rows = names.map((source) => ({ source, cells: names.map((destination) => cellAt(source, destination)) }));
    const table = rows.map(({ source, cells }) => [source, ...cells.map(({ text }) => text)]);
    const format = flags.required('output');
    switch (format) {
      case 'json':
      case 'yaml':
        writeStructured(
          terminal.stdout,
          format,
          rows.map(({ source, cells }) => ({
            source,
            destinations: Object.fromEntries(names.map((name, index) => [name, cells[index]?.state ?? 'none'])),
          })),
        );
        break;
      case 'csv':
        await writeLines(terminal.stdout, csvTable(['source', ...names], table));
        break;
      case 'md':
        await writeLines(terminal.stdout, markdownTable(['', ...names], table));
        break;
      default:
        await writeLines(terminal.stdout, textLines(rows, paintFor(terminal)));
    }
    return 0;
  },
};

function cellOf(connections: PortsJSON, asked: PortSet): Cell {
  const allowed = portSet(connections).intersect(asked);
  if (allowed.equals(asked)) return { state: 'all', text: asked.isAll ? 'all' : 'yes' };
  return allowed.isEmpty ? { state: 'none', text: '-' } : { state: 'some', text: formatPorts(allowed.toJSON()) };
}

function portSet(ports: PortsJSON): PortSet {
  if (ports === 'all') return PortSet.all;
  return ports.reduce(
    (set, { protocol, port, endPort }) => set.union(PortSet.range(protocol, port, endPort)),
    PortSet.empty,
  );
}

/** Columns have the numbers of rows: names would make them wide. */
function* textLines(rows: readonly { source: string; cells: readonly Cell[] }[], paint: Paint): Generator<string> {
  if (rows.length === 0) {
    yield 'There are no workloads.';
    return;
  }
  const number = (index: number): string => String(index + 1);
  const header = ['', 'SOURCE \\ DESTINATION', ...rows.map((_, index) => number(index))];
  const [head = [], ...lines] = alignColumns([
    header,
    ...rows.map(({ source, cells }, index) => [number(index), source, ...cells.map(({ text }) => text)]),
  ]);
  yield head.join('  ').trimEnd();
  for (const [row, texts] of lines.entries()) {
    const painted = texts.map((text, column) => {
      const cell = column < 2 ? undefined : rows[row]?.cells[column - 2];
      return cell === undefined ? text : paint(STYLES[cell.state], text);
    });
    yield painted.join('  ').trimEnd();
  }
}
