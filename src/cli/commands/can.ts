import { decide, targetName, type Decision } from '../../analysis/verdict.ts';
import { outputFlag, type Command, type Flags } from '../command.ts';
import { INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { requireNamespaceLabels, takeInventory } from '../input/inventory.ts';
import { findTargets, portsOf, profileOf, QUESTION_FLAGS, TARGET_SYNTAX } from '../targets.ts';
import { isStructured, writeStructured } from '../output/structured.ts';
import { paintFor, writeLines, type Style, type Terminal } from '../terminal.ts';

/** Colours of verdicts. */
export const VERDICT_STYLES: Readonly<Record<Decision['verdict'], Style>> = {
  allow: 'green',
  deny: 'red',
  depends: 'yellow',
};

/** Says whether one end may connect to another. */
export const can: Command = {
  usage: 'can <source> <destination>',
  about: 'Say whether SOURCE may connect to DESTINATION: allow, deny or depends; exit 0 only for allow',
  details: TARGET_SYNTAX,
  positionals: { source: 'Who connects', destination: 'To whom' },
  options: { ...QUESTION_FLAGS, ...outputFlag('text', 'json', 'yaml'), ...INPUT_FLAGS },
  examples: [
    ['can shop/web shop/db --port 5432 -f manifests/', 'May web connect to db?'],
    ['can shop:app=web 203.0.113.7 --port 443 --cni-profile calico', 'To an address, in the cluster'],
    ['can internet shop/deployment/web --port 8080 -o json', 'From anywhere, for a script'],
  ],
  run: async (flags, terminal) => {
    const pairs = (await findPairs(flags, terminal)).map(({ model, source, destination, ports, profile }) => ({
      source: targetName(source),
      destination: targetName(destination),
      ports,
      ...decide(model, source, destination, ports, profile),
    }));
    const format = flags.required('output');
    if (isStructured(format)) {
      writeStructured(terminal.stdout, format, pairs);
    } else {
      const paint = paintFor(terminal);
      await writeLines(
        terminal.stdout,
        pairs.flatMap(({ source, destination, ports, verdict, reasons }) => [
          `${paint(VERDICT_STYLES[verdict], verdict)}: ${source} to ${destination}, ${ports.toString()}`,
          ...reasons.map(({ message }) => `  ${message}`),
        ]),
      );
    }
    return pairs.every(({ verdict }) => verdict === 'allow') ? 0 : 1;
  },
};

/** The questions that a command line asks: one for each pair of the ends that its arguments name. */
export async function findPairs(flags: Flags, terminal: Terminal) {
  const ports = portsOf(flags);
  const profile = profileOf(flags);
  const input = await readInput(flags, terminal);
  const inventory = takeInventory(input.objects, input.isLive ? 'none' : 'enforced');
  warn(terminal, inventory.warnings);
  const { model } = inventory;
  const [sources, destinations] = (['source', 'destination'] as const).map((argument) =>
    findTargets(argument.toUpperCase(), flags.required(argument), input.namespace, inventory),
  );
  const pairs = (sources ?? []).flatMap((source) =>
    (destinations ?? []).map((destination) => ({ model, source, destination, ports, profile })),
  );
  if (pairs.some(({ source, destination }) => source.kind === 'workload' && destination.kind === 'workload')) {
    requireNamespaceLabels(input.objects, model);
  }
  return pairs;
}
