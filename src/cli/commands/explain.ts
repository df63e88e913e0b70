import type { Change } from '../../analysis/change.ts';
import { explain, type Explanation, type Side } from '../../analysis/explain.ts';
import { outputFlag, type Command } from '../command.ts';
import { INPUT_FLAGS } from '../input/input.ts';
import { isStructured, writeStructured } from '../output/structured.ts';
import { toYAML } from '../output/yaml.ts';
import { QUESTION_FLAGS, TARGET_SYNTAX } from '../targets.ts';
import { paintFor, writeLines, type Paint } from '../terminal.ts';
import { findPairs, VERDICT_STYLES } from './can.ts';

/** Says why one end may or may not connect to another, and what would change it. */
export const explainCommand: Command = {
  usage: 'explain <source> <destination>',
  about: 'Say why SOURCE may or may not connect to DESTINATION, and the smallest change that would turn it',
  details: TARGET_SYNTAX,
  positionals: { source: 'Who connects', destination: 'To whom' },
  options: { ...QUESTION_FLAGS, ...outputFlag('text', 'json', 'yaml'), ...INPUT_FLAGS },
  examples: [
    ['explain shop/web shop/db --port 5432 -f manifests/', 'Why can web not reach db?'],
    ['explain shop/web internet --port 443', 'Who lets web out, in the cluster?'],
  ],
  run: async (flags, terminal) => {
    const explanations = (await findPairs(flags, terminal)).map(({ model, source, destination, ports, profile }) =>
      explain(model, source, destination, ports, profile),
    );
    const format = flags.required('output');
    if (isStructured(format)) {
      writeStructured(terminal.stdout, format, explanations);
    } else {
      const paint = paintFor(terminal);
      await writeLines(
        terminal.stdout,
        explanations.flatMap((one, index) => [...(index === 0 ? [] : ['']), ...explanationLines(one, paint)]),
      );
    }
    return explanations.every(({ decision }) => decision.verdict === 'allow') ? 0 : 1;
  },
};

function* explanationLines(explanation: Explanation, paint: Paint): Generator<string> {
  const { source, destination, ports, decision, sides, nearest, change } = explanation;
  const { verdict, reasons } = decision;
  yield `${paint(VERDICT_STYLES[verdict], verdict)}: ${source} to ${destination}, ${ports.toString()}`;
  for (const { message } of reasons) yield `  ${message}`;
  for (const side of sides) {
    yield '';
    yield* sideLines(side, explanation, paint);
  }
  if (nearest.length > 0) {
    yield '';
    yield paint('bold', 'Nearly matched');
    for (const { message } of nearest) yield `  ${message}`;
  }
  if (change !== undefined) {
    yield '';
    yield paint('bold', verdict === 'allow' ? 'To deny it' : 'To allow it');
    for (const one of change) yield* changeLines(one);
  }
}

function* sideLines(side: Side, { ports }: Explanation, paint: Paint): Generator<string> {
  const { direction, subject, isIsolated, allows, policies, message } = side;
  const [style, word] = allows.equals(ports)
    ? (['green', 'allowed'] as const)
    : allows.isEmpty
      ? (['red', 'denied'] as const)
      : (['yellow', 'allowed in part'] as const);
  yield `${paint('bold', `${direction} of ${subject}`)}: ${paint(style, word)}`;
  yield `  ${message}`;
  if (!isIsolated) return;
  for (const { message: what, rules } of policies) {
    yield `  - ${what}`;
    for (const rule of rules) {
      yield `      ${rule.allows.isEmpty ? paint('red', 'no ') : paint('green', 'yes')} ${rule.message}`;
    }
  }
}

function* changeLines(change: Change): Generator<string> {
  yield `  ${change.message}`;
  const manifest = manifestOf(change);
  if (manifest === undefined) return;
  for (const line of toYAML(manifest).trimEnd().split('\n')) yield `    ${line}`;
}

/** What a person would add to a manifest; undefined where the message says it all. */
function manifestOf(change: Change): unknown {
  switch (change.kind) {
    case 'AddPolicy':
      return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', ...change.policy };
    case 'AddRule': {
      const ports = change.ports.length === 0 ? {} : { ports: change.ports };
      return change.direction === 'Ingress'
        ? { ingress: [{ from: change.peers, ...ports }] }
        : { egress: [{ to: change.peers, ...ports }] };
    }
    case 'AddPorts':
      return { ports: change.ports };
    case 'LabelPods':
    case 'LabelNamespace':
    case 'SelectByName':
    case 'RemoveRules':
      return undefined;
  }
}
