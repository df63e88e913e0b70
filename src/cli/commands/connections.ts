import type { Options } from 'yargs';
import { connections, type Connection, type ConnectionOptions } from '../../analysis/connections.ts';
import { workloadName } from '../../analysis/cluster.ts';
import type { Model } from '../../analysis/model.ts';
import { outputFlag, type Command, type Flags } from '../command.ts';
import { ALL_NAMESPACES_FLAG, INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { requireNamespaceLabels, takeInventory } from '../input/inventory.ts';
import { drawGraph } from '../output/graph.ts';
import { formatPorts } from '../output/ports.ts';
import { csvTable, markdownTable, textTable } from '../output/table.ts';
import { toYAML } from '../output/yaml.ts';
import { writeLines, type Terminal } from '../terminal.ts';

/** Flags for what the NetworkPolicy API leaves open. */
export const VIEW_FLAGS: Readonly<Record<string, Options>> = {
  'host-network': {
    type: 'string',
    requiresArg: true,
    choices: ['uncovered', 'as-pods'],
    default: 'uncovered',
    description: 'Leave out workloads of the host network, or take them for any others',
  },
  'ip-block-matches-pods': {
    type: 'boolean',
    description: 'Let ipBlocks match pods whose addresses are known; else they match only outside addresses',
  },
};

/** The answers of flags to what the NetworkPolicy API leaves open. */
export function viewOf(flags: Flags): ConnectionOptions {
  return {
    hostNetwork: flags.required('host-network') as 'as-pods' | 'uncovered',
    ipBlockMatchesPods: flags.isOn('ip-block-matches-pods'),
  };
}

const HEADER = ['SOURCE', 'DESTINATION', 'PORTS'];

/** Lists every allowed connection. */
export const connectionsCommand: Command = {
  usage: 'connections',
  about: 'List every allowed connection between workloads, and with outside addresses',
  options: {
    ...outputFlag('text', 'json', 'yaml', 'csv', 'md', 'dot', 'mermaid', 'svg'),
    ...VIEW_FLAGS,
    ...INPUT_FLAGS,
    ...ALL_NAMESPACES_FLAG,
  },
  examples: [
    ['connections -f manifests/', 'All connections that files allow'],
    ['connections -n shop -o svg > shop.svg', 'A drawing of those from and to a namespace'],
    ['connections -A -o json', 'All of the cluster, for a script'],
  ],
  run: async (flags, terminal) => {
    const { model, pairs } = await readConnections(flags, terminal);
    const format = flags.required('output');
    if (format === 'svg') terminal.stdout.write(await drawGraph([...dotLines(model, pairs)].join('\n')));
    else await writeLines(terminal.stdout, formatConnections(format, model, pairs));
    return 0;
  },
};

/** What is read, and the allowed connections of the namespace that is reported on. */
export async function readConnections(
  flags: Flags,
  terminal: Terminal,
): Promise<{ model: Model; only: string | undefined; pairs: Iterable<Connection> }> {
  const { objects, isLive, only } = await readInput(flags, terminal);
  const { model, warnings } = takeInventory(objects, isLive ? 'none' : 'enforced');
  warn(terminal, warnings);
  requireNamespaceLabels(objects, model);
  const prefix = `${only ?? ''}/`;
  const pairs = connections(model, viewOf(flags)).filter(
    ({ src, dst }) => only === undefined || src.startsWith(prefix) || dst.startsWith(prefix),
  );
  return { model, only, pairs };
}

function formatConnections(format: string, model: Model, pairs: Iterable<Connection>): Iterable<string> {
  switch (format) {
    case 'json':
      return jsonLines(pairs);
    case 'yaml':
      return yamlLines(pairs);
    case 'csv':
      return csvTable(['source', 'destination', 'ports'], rowsOf(pairs));
    case 'md':
      return markdownTable(['Source', 'Destination', 'Ports'], rowsOf(pairs));
    case 'dot':
      return dotLines(model, pairs);
    case 'mermaid':
      return mermaidLines(model, pairs);
    default: {
      const rows = [...rowsOf(pairs)];
      return rows.length === 0 ? ['No connection is allowed.'] : textTable(HEADER, rows);
    }
  }
}

function* rowsOf(pairs: Iterable<Connection>): Generator<string[]> {
  for (const { src, dst, connections: ports } of pairs) yield [src, dst, formatPorts(ports)];
}

/** A list with an entry a line: it may be long. */
function* jsonLines(pairs: Iterable<Connection>): Generator<string> {
  let before: string | undefined;
  yield '[';
  for (const pair of pairs) {
    if (before !== undefined) yield `${before},`;
    before = `  ${JSON.stringify(pair)}`;
  }
  if (before !== undefined) yield before;
  yield ']';
}

/** The same list as YAML. */
function* yamlLines(pairs: Iterable<Connection>): Generator<string> {
  let isEmpty = true;
  for (const pair of pairs) {
    isEmpty = false;
    yield toYAML([pair]).trimEnd();
  }
  if (isEmpty) yield '[]';
}

/** A graph for Graphviz, with a frame for each namespace. */
function* dotLines(model: Model, pairs: Iterable<Connection>): Generator<string> {
  const list = [...pairs];
  const ends = endsOf(list);
  yield 'digraph connections {';
  yield '  rankdir=LR; node [shape=box];';
  let number = 0;
  for (const [namespace, names] of namespacesOf(model, ends)) {
    yield `  subgraph cluster_${number++} {`;
    yield `    label=${JSON.stringify(namespace)};`;
    for (const name of names)
      yield `    ${JSON.stringify(name)} [label=${JSON.stringify(name.slice(namespace.length + 1))}];`;
    yield '  }';
  }
  for (const range of outsideOf(model, ends)) yield `  ${JSON.stringify(range)} [shape=ellipse];`;
  for (const { src, dst, connections: ports } of list) {
    yield `  ${JSON.stringify(src)} -> ${JSON.stringify(dst)} [label=${JSON.stringify(formatPorts(ports))}];`;
  }
  yield '}';
}

/** A graph for Mermaid, which names nodes by words of its own. */
function* mermaidLines(model: Model, pairs: Iterable<Connection>): Generator<string> {
  const list = [...pairs];
  const ends = endsOf(list);
  const ids = new Map([...ends].map((name, index) => [name, `n${index}`]));
  yield 'flowchart LR';
  let number = 0;
  for (const [namespace, names] of namespacesOf(model, ends)) {
    yield `  subgraph ns${number++}["${namespace}"]`;
    for (const name of names) yield `    ${ids.get(name) ?? ''}["${name.slice(namespace.length + 1)}"]`;
    yield '  end';
  }
  for (const range of outsideOf(model, ends)) yield `  ${ids.get(range) ?? ''}(["${range}"])`;
  for (const { src, dst, connections: ports } of list) {
    yield `  ${ids.get(src) ?? ''} -->|"${formatPorts(ports)}"| ${ids.get(dst) ?? ''}`;
  }
}

function endsOf(pairs: readonly Connection[]): Set<string> {
  return new Set(pairs.flatMap(({ src, dst }) => [src, dst]));
}

/** The workloads of a graph by namespace, in the order of their names. */
function namespacesOf(model: Model, ends: ReadonlySet<string>): Map<string, string[]> {
  const shown = model.workloads.filter((workload) => ends.has(workloadName(workload)));
  const groups = Map.groupBy(shown, ({ namespace }) => namespace);
  return new Map([...groups].map(([namespace, workloads]) => [namespace, workloads.map(workloadName)]));
}

function outsideOf(model: Model, ends: ReadonlySet<string>): string[] {
  const workloads = new Set(model.workloads.map(workloadName));
  return [...ends].filter((name) => !workloads.has(name));
}
