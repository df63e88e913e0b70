import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { LABEL_RULE } from '../../../src/api/names.ts';
import { normalizeSpec } from '../../../src/policy/normalize.ts';
import { runCLI } from '../../support/cli.ts';
import { codeBlocks, pathOf, shownCommands, wordsOf } from '../../support/markdown.ts';

const DOCS = join(import.meta.dirname, '../../../docs');
const EXAMPLES = join(DOCS, 'examples');
const NAMES = readdirSync(EXAMPLES);
const PAGE = readFileSync(join(DOCS, 'examples.md'), 'utf8');

/** One row of expected.csv: what the policies mean by the Kubernetes documentation, worked out by hand. */
interface Expected {
  readonly source: string;
  readonly destination: string;
  readonly port: string;
  readonly verdict: string;
}

function expectedOf(name: string): Expected[] {
  const [header, ...rows] = readFileSync(join(EXAMPLES, name, 'expected.csv'), 'utf8')
    .trimEnd()
    .split('\n');
  assert.equal(header, 'source,destination,port,verdict,because');
  return rows.map((row) => {
    const [source = '', destination = '', port = '', verdict = '', because = '', ...more] = row.split(',');
    assert.ok(because !== '' && more.length === 0, `expected five fields, found ${JSON.stringify(row)} in ${name}`);
    return { source, destination, port, verdict };
  });
}

function parsePolicies(text: string): NetworkPolicy[] {
  return parseAllDocuments(text).map((document) => document.toJS() as NetworkPolicy);
}

describe('The examples', () => {
  it('have a section each on the page, and their policies on it as they are', () => {
    const sections = [...PAGE.matchAll(/^Files: \[examples\/([a-z-]+)\]/gm)].map(([, name]) => name);
    assert.deepEqual(sections.toSorted(), NAMES.toSorted());
    const shown = codeBlocks(PAGE, 'yaml');
    assert.ok(shown.length >= NAMES.length);
    for (const block of shown) {
      const path = pathOf(block);
      assert.equal(block, `# ${path}\n${readFileSync(join(EXAMPLES, path), 'utf8')}`);
    }
    const folders = new Set(shown.map((block) => pathOf(block).split('/')[0]));
    assert.deepEqual([...folders].toSorted(), NAMES.toSorted());
  });

  for (const { line, output } of shownCommands(PAGE)) {
    it(`show what is printed by: ${line}`, async () => {
      const args = wordsOf(line).map((word, index, words) => (words[index - 1] === '-f' ? join(EXAMPLES, word) : word));
      const { stdout, stderr } = await runCLI(args);
      assert.equal((stderr + stdout).replaceAll(`${EXAMPLES}/`, ''), output);
    });
  }

  for (const name of NAMES) {
    it(`mean what is expected of ${name}`, async () => {
      const expected = expectedOf(name);
      const found: Expected[] = [];
      for (const { source, destination, port } of expected) {
        const { stdout, stderr } = await runCLI([
          'can',
          ...[source, destination, '--port', port, '-f', join(EXAMPLES, name)],
        ]);
        assert.equal(stderr, '');
        found.push({ source, destination, port, verdict: stdout.slice(0, stdout.indexOf(':')) });
      }
      assert.deepEqual(found, expected);
      const verdicts = new Set(expected.map(({ verdict }) => verdict));
      assert.ok(
        verdicts.has('allow') && verdicts.has('deny'),
        `expected allow and deny, found ${[...verdicts].join()}`,
      );
    });

    it(`show the matrix of ${name}`, () => {
      assert.ok(shownCommands(PAGE).some(({ line }) => line === `matrix -f ${name}`));
    });
  }

  for (const name of NAMES.filter((folder) => existsSync(join(EXAMPLES, folder, 'baseline')))) {
    it(`have a BaselinePolicy that makes the policies of ${name}`, async () => {
      const folder = join(EXAMPLES, name);
      const { stdout, stderr, code } = await runCLI(['render', '-f', folder, '-f', join(folder, 'baseline')]);
      assert.deepEqual([stderr, code], ['', 0]);
      const children = parsePolicies(stdout);
      const made = new Map(
        children.map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.labels?.[LABEL_RULE]}`, spec]),
      );
      assert.equal(made.size, children.length);
      const namespaces = new Set(children.map(({ metadata }) => metadata.namespace));
      const written = parsePolicies(readFileSync(join(folder, 'policies.yaml'), 'utf8'))
        .filter(({ metadata }) => namespaces.has(metadata.namespace))
        .map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.name}`, normalizeSpec(spec ?? {})] as const);
      assert.ok(made.size > 0);
      assert.deepEqual(made, new Map(written));
    });
  }
});
