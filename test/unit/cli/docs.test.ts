import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { COMMANDS } from '../../../src/cli/program.ts';
import { Folder, runCLI } from '../../support/cli.ts';
import { codeBlocks, pathOf, shownCommands, wordsOf } from '../../support/markdown.ts';

const TEXT = readFileSync(join(import.meta.dirname, '../../../docs/cli.md'), 'utf8');

/** The files that commands of the guide read, by the path in their first line. */
const FILES = Object.fromEntries(
  codeBlocks(TEXT, 'yaml')
    .map((block) => [pathOf(block), block] as const)
    .filter(([path]) => path.startsWith('store/')),
);

/** Command lines with the output that the guide shows. */
const COMMANDS_SHOWN = shownCommands(TEXT);

describe('The guide of kubectl-baseline', () => {
  it('shows files and commands', () => {
    assert.deepEqual(Object.keys(FILES), ['store/namespaces.yaml', 'store/workloads.yaml', 'store/policies.yaml']);
    assert.ok(COMMANDS_SHOWN.length >= 10);
  });

  for (const { line, output } of COMMANDS_SHOWN) {
    it(`shows what is printed by: ${line}`, async () => {
      using folder = new Folder(FILES);
      const args = wordsOf(line).map((word, index, words) =>
        words[index - 1] === '-f' ? join(folder.path, word) : word,
      );
      const { stdout, stderr } = await runCLI(args);
      assert.equal((stderr + stdout).replaceAll(`${folder.path}/`, ''), output);
    });
  }

  it('has a section for each command', () => {
    for (const { usage } of COMMANDS) {
      const [name = ''] = usage.split(' ');
      assert.match(TEXT, new RegExp(`^### ${name}\\b`, 'm'));
    }
  });
});
