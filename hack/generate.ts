/**
 * Writes what follows from the schema of BaselinePolicy: the CustomResourceDefinition, the TypeScript types and the
 * field tables of the reference; and from config/ and the values of the Helm chart: the chart's copies and the table of
 * its README. With `--check` it writes nothing, names the files that are stale and exits with 1.
 * `--root DIR` reads and writes what is generated below another directory than the project's.
 */
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { stringify } from 'yaml';
import { customResourceDefinition } from '../src/api/schema.ts';
import type { Schema } from '../src/api/schema/schema.ts';
import { specSchema } from '../src/api/schema/spec.ts';
import { statusSchema } from '../src/api/schema/status.ts';
import { chartValues } from './chart/values.ts';

const PROJECT = join(import.meta.dirname, '..');
const SCHEMA = 'src/api/schema.ts';
const CHART = 'charts/baseline-policy-operator';

/** The generated files: path below the root, and their new content made from the old one (undefined if absent). */
const FILES: Readonly<Record<string, (old: string | undefined) => string>> = {
  'crds/baselinepolicy.dev_baselinepolicies.yaml': () => definition(),
  'src/api/types.generated.ts': () => `// ${notice(SCHEMA)}\n\n${typeScript(namedTypes([specSchema, statusSchema]))}`,
  'docs/baselinepolicy.md': (old) =>
    withTables('docs/baselinepolicy.md', old, SCHEMA, fieldTables(namedTypes([specSchema, statusSchema]))),
  [`${CHART}/README.md`]: (old) => withTables(`${CHART}/README.md`, old, `${CHART}/values.yaml`, valuesTable()),
  // What config/ and the chart share. A chart is packed by itself, so it cannot read config/.
  [`${CHART}/files/baselinepolicies.yaml`]: () => definition(),
  ...copiesOf('config', [
    'admission/opening-guard/opening_guard.yaml',
    'admission/start-gate/start_gate.yaml',
    'admission/tamper-protection/roles.yaml',
    'admission/tamper-protection/tamper_protection.yaml',
    'prometheus/prometheus_rule.yaml',
    'rbac/baselinepolicy_roles.yaml',
    'rbac/metrics_roles.yaml',
    'rbac/role.yaml',
    'rbac/role_binding.yaml',
  ]),
  // JSON has no comments.
  [`${CHART}/files/grafana/dashboard.json`]: () => sourceText('config/grafana/dashboard.json'),
};

function notice(source: string): string {
  return `Generated from ${source} by hack/generate.ts; do not edit.`;
}

function definition(): string {
  const crd = stringify(customResourceDefinition, { aliasDuplicateObjects: false, lineWidth: 0 });
  return `# ${notice(SCHEMA)}\n${crd}`;
}

/** Copies in the folder `files` of the chart, at the same paths as in the folder that they are from. */
function copiesOf(folder: string, paths: readonly string[]): Record<string, () => string> {
  return Object.fromEntries(
    paths.map((path) => {
      const source = `${folder}/${path}`;
      return [`${CHART}/files/${path}`, () => `# ${notice(source)}\n#\n${sourceText(source)}`];
    }),
  );
}

function sourceText(path: string): string {
  return readFileSync(join(PROJECT, path), 'utf8');
}

/**
 * Every schema with a title, below and with these, each title once, in the order of reading.
 *
 * @throws {Error} when two schemas with one title would make different types or tables.
 */
function namedTypes(roots: readonly Schema[]): Schema[] {
  const byTitle = new Map<string, Schema>();
  const visit = (schema: Schema): void => {
    if (schema.title !== undefined) {
      const known = byTitle.get(schema.title);
      if (known === undefined) byTitle.set(schema.title, schema);
      else if (renderedAlike(known, schema)) return;
      else
        throw new Error(`Expected one type ${schema.title}, but its schemas differ in fields, descriptions or limits.`);
    }
    for (const part of [...Object.values(schema.properties ?? {}), schema.items, schema.additionalProperties]) {
      if (part !== undefined) visit(part);
    }
  };
  roots.forEach(visit);
  return [...byTitle.values()];
}

function renderedAlike(a: Schema, b: Schema): boolean {
  return typeScript([a]) === typeScript([b]) && fieldTables([a]) === fieldTables([b]);
}

function typeScript(types: readonly Schema[]): string {
  return types
    .map((type) => {
      const fields = Object.entries(type.properties ?? {}).map(([name, schema]) => {
        const optional = type.required?.includes(name) === true ? '' : '?';
        return `${docComment(schema.description ?? '', '  ')}  ${name}${optional}: ${typeOf(schema)};\n`;
      });
      return `${docComment(type.about ?? '', '')}export interface ${type.title ?? ''} {\n${fields.join('')}}\n`;
    })
    .join('\n');
}

function typeOf(schema: Schema): string {
  if (schema.title !== undefined) return schema.title;
  if (schema['x-kubernetes-int-or-string'] === true) return 'number | string';
  if (schema.enum !== undefined) return schema.enum.map((value) => `'${value}'`).join(' | ');
  if (schema.items !== undefined) {
    const item = typeOf(schema.items);
    return item.includes('|') ? `(${item})[]` : `${item}[]`;
  }
  if (schema.additionalProperties !== undefined) return `Record<string, ${typeOf(schema.additionalProperties)}>`;
  if (schema.type === 'integer') return 'number';
  if (schema.type === 'string' || schema.type === 'boolean') return schema.type;
  throw new Error(`Expected a scalar, a list, a map or a titled object, but got ${JSON.stringify(schema)}.`);
}

function docComment(text: string, indent: string): string {
  const oneLine = `${indent}/** ${text} */`;
  if (oneLine.length <= 120) return `${oneLine}\n`;
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (`${indent} *${line} ${word}`.length <= 120) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(` ${word}`);
  }
  return [`${indent}/**`, ...lines.map((line) => `${indent} *${line}`), `${indent} */`, ''].join('\n');
}

function fieldTables(types: readonly Schema[]): string {
  return types
    .map((type) => {
      const rows = Object.entries(type.properties ?? {}).map(
        ([name, schema]) => `| \`${name}\` | ${tableType(schema)} | ${escaped(tableText(type, name, schema))} |`,
      );
      return [
        `### ${type.title ?? ''}\n`,
        `${escaped(type.about ?? '')}\n`,
        '| Field | Type | Description |',
        '| --- | --- | --- |',
        ...rows,
        '',
      ].join('\n');
    })
    .join('\n');
}

function tableType(schema: Schema): string {
  if (schema.title !== undefined) return `[${schema.title}](#${schema.title.toLowerCase()})`;
  if (schema['x-kubernetes-int-or-string'] === true) return 'integer or string';
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.items !== undefined) return `list of ${tableType(schema.items)}`;
  if (schema.additionalProperties !== undefined) return `map of ${tableType(schema.additionalProperties)}`;
  return schema.format === 'date-time' ? 'time' : (schema.type ?? '');
}

function tableText(type: Schema, name: string, schema: Schema): string {
  const { minItems = 0, maxItems = 0, maxProperties = 0, maxLength = 0 } = schema;
  // An empty default only lets the defaults of its fields apply.
  const byDefault = schema.default === undefined ? '{}' : inline(schema.default);
  return [
    schema.description,
    type.required?.includes(name) === true && 'Required.',
    byDefault !== '{}' && `Default: \`${byDefault}\`.`,
    minItems > 0 && `At least ${minItems}.`,
    maxItems > 0 && schema.items?.enum === undefined && `At most ${maxItems}.`,
    maxProperties > 0 && `At most ${maxProperties}.`,
    maxLength > 0 && schema.pattern === undefined && `At most ${maxLength} characters.`,
  ]
    .filter((sentence) => typeof sentence === 'string')
    .join(' ');
}

function inline(value: unknown): string {
  return typeof value === 'string' ? value : stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}

function escaped(markdown: string): string {
  return markdown.replaceAll('<', '&lt;').replaceAll('|', '\\|');
}

function valuesTable(): string {
  const rows = chartValues(sourceText(`${CHART}/values.yaml`)).map(
    ({ path, value, description }) =>
      `| \`${path}\` | \`${stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim()}\` | ${escaped(description)} |`,
  );
  return ['| Value | Default | Description |', '| --- | --- | --- |', ...rows, ''].join('\n');
}

/** The document `path` with these tables between its two markers. Throws without those. */
function withTables(path: string, old: string | undefined, source: string, tables: string): string {
  const document = old ?? '';
  const beginTables = `<!-- Begin: ${notice(source)} -->`;
  const endTables = '<!-- End of the generated part. -->';
  const begin = document.indexOf(beginTables);
  const end = document.indexOf(endTables);
  if (begin < 0 || end < begin) {
    throw new Error(`Expected ${path} to hold "${beginTables}" and, after it, "${endTables}".`);
  }
  return `${document.slice(0, begin)}${beginTables}\n\n${tables}\n${document.slice(end)}`;
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const { check, root } = parseArgs({
  options: { check: { type: 'boolean', default: false }, root: { type: 'string', default: PROJECT } },
}).values;

for (const [path, generate] of Object.entries(FILES)) {
  const target = join(root, path);
  const old = await textOf(target);
  const style = await resolveConfig(join(PROJECT, path));
  const current = await format(generate(old), { ...style, filepath: target });
  if (current === old) continue;
  if (check) {
    console.error(`${path} is stale: run "npm run generate" and commit the result.`);
    process.exitCode = 1;
  } else {
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, current);
    console.log(`Wrote ${path}`);
  }
}
