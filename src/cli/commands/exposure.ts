import { isIPv6 } from 'node:net';
import { exposure, type DirectionExposure, type Exposure, type OpenPorts } from '../../analysis/exposure.ts';
import { formatSelector } from '../../analysis/selector-text.ts';
import type { LabelSelector } from '../../api/networkpolicy.ts';
import { outputFlag, type Command } from '../command.ts';
import { ALL_NAMESPACES_FLAG, INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { takeInventory } from '../input/inventory.ts';
import { isStructured, writeStructured } from '../output/structured.ts';
import { paintFor, writeLines, type Paint } from '../terminal.ts';

/** Says what each workload is open to. */
export const exposureCommand: Command = {
  usage: 'exposure',
  about:
    'Say of each workload in which direction it is isolated, and to whom it is open, also to what does not exist yet',
  options: { ...outputFlag('text', 'json', 'yaml'), ...INPUT_FLAGS, ...ALL_NAMESPACES_FLAG },
  examples: [
    ['exposure -n shop', 'What of a namespace of the cluster is open?'],
    ['exposure -f manifests/ -o json', 'What would files leave open? For a script'],
  ],
  run: async (flags, terminal) => {
    const { objects, isLive, only } = await readInput(flags, terminal);
    const { model, warnings } = takeInventory(objects, isLive ? 'none' : 'enforced');
    warn(terminal, warnings);
    const exposures = model.workloads
      .filter(({ namespace }) => only === undefined || namespace === only)
      .map((workload) => exposure(model, workload));
    const format = flags.required('output');
    if (isStructured(format)) {
      writeStructured(terminal.stdout, format, exposures);
    } else if (exposures.length === 0) {
      terminal.stdout.write('There are no workloads.\n');
    } else {
      const paint = paintFor(terminal);
      await writeLines(
        terminal.stdout,
        exposures.values().flatMap((one) => exposureLines(one, paint)),
      );
    }
    return 0;
  },
};

function* exposureLines({ workload, hostNetwork, ingress, egress }: Exposure, paint: Paint): Generator<string> {
  yield `${paint('bold', workload)}${hostNetwork ? ' (on the network of its node: policies may not be enforced)' : ''}`;
  yield* directionLines('ingress', 'from', ingress, paint);
  yield* directionLines('egress', 'to', egress, paint);
}

function* directionLines(word: string, side: 'from' | 'to', open: DirectionExposure, paint: Paint): Generator<string> {
  const { isIsolated, cluster, internet, peers, ranges } = open;
  if (!isIsolated) {
    const everyone = side === 'from' ? 'everyone may connect to it' : 'it may connect to everyone';
    yield `  ${word}: ${paint('red', 'not isolated')}, ${everyone} on all ports`;
    return;
  }
  const lines = [
    ...(isClosed(cluster) ? [] : [`${side} ${paint('red', 'the whole cluster')}: ${portsText(cluster)}`]),
    ...(internet.isEmpty ? [] : [`${side} ${paint('yellow', 'the internet')}: ${internet.toString()}`]),
    ...peers.map((peer) => `${side} ${peerText(peer.namespaceSelector, peer.podSelector)}: ${portsText(peer)}`),
    ...ranges.map(({ range, ports }) => `${side} ${rangeText(range)}: ${ports.toString()}`),
  ];
  yield `  ${word}: ${paint('green', 'isolated')}, ${lines.length === 0 ? 'closed' : 'open'}`;
  for (const line of lines) yield `    ${line}`;
}

function isClosed({ ports, names }: OpenPorts): boolean {
  return ports.isEmpty && names.length === 0;
}

function portsText({ ports, names }: OpenPorts): string {
  const named = names.map(({ protocol, name }) => `port ${name}/${protocol}`);
  return [...(ports.isEmpty && named.length > 0 ? [] : [ports.toString()]), ...named].join(', ');
}

function peerText(namespaceSelector: LabelSelector, podSelector: LabelSelector): string {
  const pods = formatSelector(podSelector);
  const namespaces = formatSelector(namespaceSelector);
  const what = pods === '' ? 'all pods' : `pods with ${pods}`;
  return `${what} in ${namespaces === '' ? 'all namespaces' : `namespaces with ${namespaces}`}`;
}

/** A range for a person. IPv6 is in brackets, as in URLs (RFC 3986, section 3.2.2), as a colon and ports follow. */
function rangeText(range: string): string {
  const [first, last] = range.split('-').map((address) => (isIPv6(address) ? `[${address}]` : address));
  return [...new Set([first, last])].join('-');
}
