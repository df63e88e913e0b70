import { workloadName } from '../../analysis/cluster.ts';
import type { Severity } from '../../analysis/lint/codes.ts';
import type { Annotations } from '../../analysis/lint/context.ts';
import type { Finding } from '../../analysis/lint/finding.ts';
import { lint } from '../../analysis/lint/lint.ts';
import { outputFlag, type Command } from '../command.ts';
import { ALL_NAMESPACES_FLAG, INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { takeInventory } from '../input/inventory.ts';
import { objectId, type ObjectSet } from '../input/objects.ts';
import { githubLines, locationOf, sarifLog } from '../output/findings.ts';
import { writeStructured } from '../output/structured.ts';
import { PROFILE_FLAG, profileOf } from '../targets.ts';
import { paintFor, writeLines, type Paint, type Style } from '../terminal.ts';

const STYLES: Readonly<Record<Severity, Style>> = { error: 'red', warning: 'yellow', info: 'dim' };
const SEVERITIES: readonly Severity[] = ['error', 'warning', 'info'];

/** Finds what in policies likely is not as it was meant. */
export const lintCommand: Command = {
  usage: 'lint',
  about: 'Find what in policies likely is not as it was meant, why it matters and how to mend it; exit 1 for findings',
  details:
    'An annotation silences findings about its object, each with a reason:\n' +
    'baselinepolicy.dev/lint-ignore: BPL003=egress is open by contract; BPL011=public gateway',
  options: {
    ...outputFlag('text', 'json', 'yaml', 'sarif', 'github'),
    severity: {
      type: 'string',
      requiresArg: true,
      choices: SEVERITIES,
      default: 'info',
      description: 'Least severity that is reported',
    },
    silenced: {
      type: 'boolean',
      description: 'Show silenced findings too, with their reasons; json and sarif have them',
    },
    ...PROFILE_FLAG,
    ...INPUT_FLAGS,
    ...ALL_NAMESPACES_FLAG,
  },
  examples: [
    ['lint -f manifests/ -R', 'Check files'],
    ['lint -f manifests/ -o github --severity warning', 'In a GitHub workflow'],
    ['lint -A -o sarif > findings.sarif', 'All of the cluster, for a scanner'],
  ],
  run: async (flags, terminal) => {
    const { objects, isLive, only } = await readInput(flags, terminal);
    const { model, ofPod, warnings } = takeInventory(objects, isLive ? 'none' : 'enforced');
    warn(terminal, warnings);
    const reported = SEVERITIES.slice(0, SEVERITIES.indexOf(flags.required('severity') as Severity) + 1);
    const findings = lint(model, {
      isComplete: isLive,
      profile: profileOf(flags),
      namespaceAnnotations: new Map(
        objects.namespaces.map(({ metadata }) => [metadata.name, metadata.annotations ?? {}]),
      ),
      workloadAnnotations: workloadAnnotations(objects, ofPod),
    }).filter(
      ({ severity, object }) =>
        reported.includes(severity) && (only === undefined || (object.namespace ?? object.name) === only),
    );
    const open = findings.filter(({ silenced }) => silenced === undefined);
    const format = flags.required('output');
    switch (format) {
      case 'json':
      case 'yaml':
        writeStructured(
          terminal.stdout,
          format,
          findings.map((finding) => ({ ...finding, ...locationOf(finding, objects) })),
        );
        break;
      case 'sarif':
        writeStructured(terminal.stdout, 'json', sarifLog(findings, objects));
        break;
      case 'github':
        await writeLines(terminal.stdout, githubLines(open, objects));
        break;
      default: {
        const shown = flags.isOn('silenced') ? findings : open;
        const hidden = findings.length - shown.length;
        const paint = paintFor(terminal);
        await writeLines(
          terminal.stdout,
          shown.values().flatMap((finding) => findingLines(finding, objects, paint)),
        );
        terminal.stdout.write(summaryLine(open, hidden));
      }
    }
    return open.length > 0 ? 1 : 0;
  },
};

/** Annotations of workloads: of their controllers, or of Pods that are workloads of their own. */
function workloadAnnotations(objects: ObjectSet, ofPod: ReadonlyMap<string, string>): Map<string, Annotations> {
  return new Map(
    [...objects.pods, ...objects.controllers].flatMap(({ kind = '', metadata }): [string, Annotations][] => {
      const { namespace = '', name, annotations } = metadata;
      const workload = workloadName({ kind, namespace, name });
      const isOwn = kind !== 'Pod' || ofPod.get(`${namespace}/${name}`) === workload;
      return isOwn && annotations !== undefined ? [[workload, annotations]] : [];
    }),
  );
}

function* findingLines(finding: Finding, objects: ObjectSet, paint: Paint): Generator<string> {
  const { code, severity, object, path, message, why, fix, silenced } = finding;
  const location = locationOf(finding, objects);
  const where = location === undefined ? '' : ` (${location.file}:${location.line})`;
  const name = objectId(object.kind, object.namespace, object.name);
  yield `${paint(STYLES[severity], severity)} ${code} ${paint('bold', name)} ${path}${where}`;
  yield `  ${message}`;
  if (silenced === undefined) {
    yield `  Why: ${why}`;
    yield `  Fix: ${fix}`;
  } else {
    yield `  Silenced: ${silenced.reason}`;
  }
}

function summaryLine(open: readonly Finding[], hidden: number): string {
  const counts = SEVERITIES.map(
    (severity) => [severity, open.filter((one) => one.severity === severity).length] as const,
  )
    .filter(([, count]) => count > 0)
    .map(([severity, count]) => `${count} ${severity}`);
  const silenced = hidden > 0 ? `; ${hidden} silenced` : '';
  return `${counts.length === 0 ? 'No findings' : `Findings: ${counts.join(', ')}`}${silenced}.\n`;
}
