import { CODES, type Code, type Severity } from '../../analysis/lint/codes.ts';
import type { Finding } from '../../analysis/lint/finding.ts';
import { parsePath } from '../input/documents.ts';
import { objectId, type ObjectSet } from '../input/objects.ts';
import { VERSION } from '../../version.ts';

/** File and line of what a finding is about. */
export interface Location {
  readonly file: string;
  readonly line: number;
}

/** Where a finding is; undefined for what is in no file, such as the children of BaselinePolicies. */
export function locationOf({ object, path }: Finding, { places }: ObjectSet): Location | undefined {
  const place = places.get(objectId(object.kind, object.namespace, object.name));
  return place && { file: place.file, line: place.lineOf(parsePath(path)) };
}

/** Levels of SARIF and of GitHub for severities. */
const LEVELS: Readonly<Record<Severity, { sarif: string; github: string }>> = {
  error: { sarif: 'error', github: 'error' },
  warning: { sarif: 'warning', github: 'warning' },
  info: { sarif: 'note', github: 'notice' },
};

/** A log of findings. Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html */
export function sarifLog(findings: readonly Finding[], objects: ObjectSet): unknown {
  const codes = Object.keys(CODES) as Code[];
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'kubectl-baseline',
            version: VERSION,
            rules: codes.map((code) => ({
              id: code,
              shortDescription: { text: CODES[code].title },
              fullDescription: { text: CODES[code].why },
              help: { text: CODES[code].fix },
              defaultConfiguration: { level: LEVELS[CODES[code].severity].sarif },
            })),
          },
        },
        results: findings.map((finding) => {
          const { code, severity, object, path, message, silenced } = finding;
          const location = locationOf(finding, objects);
          const name = `${objectId(object.kind, object.namespace, object.name)} ${path}`;
          return {
            ruleId: code,
            ruleIndex: codes.indexOf(code),
            level: LEVELS[severity].sarif,
            message: { text: `${name}: ${message}` },
            locations: [
              {
                ...(location !== undefined && {
                  physicalLocation: {
                    artifactLocation: { uri: encodeURI(location.file) },
                    region: { startLine: location.line },
                  },
                }),
                logicalLocations: [{ fullyQualifiedName: name }],
              },
            ],
            ...(silenced !== undefined && { suppressions: [{ kind: 'inSource', justification: silenced.reason }] }),
          };
        }),
      },
    ],
  };
}

/** Findings as commands of a GitHub workflow, which shows them at their lines. */
export function githubLines(findings: readonly Finding[], objects: ObjectSet): string[] {
  return findings.map((finding) => {
    const { code, severity, object, path, message, fix } = finding;
    const location = locationOf(finding, objects);
    const properties = [
      ...(location === undefined ? [] : [`file=${property(location.file)}`, `line=${location.line}`]),
      `title=${property(`${code} ${CODES[code].title}`)}`,
    ];
    const text = `${objectId(object.kind, object.namespace, object.name)} ${path}: ${message}. ${fix}`;
    return `::${LEVELS[severity].github} ${properties.join(',')}::${data(text)}`;
  });
}

/** Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions */
function data(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
