import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROJECT = join(import.meta.dirname, '../..');
const CRD = 'crds/baselinepolicy.dev_baselinepolicies.yaml';
const TYPES = 'src/api/types.generated.ts';
const REFERENCE = 'docs/baselinepolicy.md';
const GENERATED = [CRD, TYPES, REFERENCE];

function generate(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(PROJECT, 'hack/generate.ts'), ...args], { encoding: 'utf8' });
}

describe('Generated files', () => {
  let copy: string;

  beforeEach(() => {
    copy = mkdtempSync(join(tmpdir(), 'generated-'));
    for (const path of GENERATED) {
      cpSync(join(PROJECT, path), join(copy, path), { recursive: true });
    }
  });

  afterEach(() => {
    rmSync(copy, { recursive: true });
  });

  it('are what the generator makes', () => {
    const { status, stdout, stderr } = generate('--check');
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' });
  });

  for (const stale of GENERATED) {
    it(`are checked: a change of ${stale} by hand is named`, () => {
      const path = join(copy, stale);
      const text = readFileSync(path, 'utf8');
      const changed = text.replace('Enforce writes NetworkPolicies.', 'Enforce writes nothing.');
      assert.notEqual(changed, text);
      writeFileSync(path, changed);

      const { status, stdout, stderr } = generate('--check', '--root', copy);

      assert.equal(status, 1);
      assert.equal(stdout, '');
      assert.equal(stderr, `${stale} is stale: run "npm run generate" and commit the result.\n`);
      assert.equal(readFileSync(path, 'utf8'), changed, 'a check writes nothing');
    });
  }

  it('are checked: a missing file is named', () => {
    rmSync(join(copy, CRD));
    const { status, stderr } = generate('--check', '--root', copy);
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`^${CRD} is stale`));
  });

  it('are written anew, each that is stale and no other', () => {
    rmSync(join(copy, CRD));
    appendFileSync(join(copy, TYPES), '// by hand\n');

    const { status, stdout } = generate('--root', copy);

    assert.equal(status, 0);
    assert.equal(stdout, `Wrote ${CRD}\nWrote ${TYPES}\n`);
    for (const path of GENERATED) {
      assert.equal(readFileSync(join(copy, path), 'utf8'), readFileSync(join(PROJECT, path), 'utf8'), path);
    }
  });

  it('keep what people wrote around the tables of the reference', () => {
    const path = join(copy, REFERENCE);
    const text = readFileSync(path, 'utf8').replace('# BaselinePolicy\n', '# BaselinePolicy\n\nBy hand.\n');
    writeFileSync(path, text);
    assert.equal(generate('--root', copy).status, 0);
    assert.equal(readFileSync(path, 'utf8'), text);
  });

  it('are not written into a reference without its markers', () => {
    writeFileSync(join(copy, REFERENCE), '# BaselinePolicy\n');
    const { status, stderr } = generate('--root', copy);
    assert.notEqual(status, 0);
    assert.match(stderr, /Expected docs\/baselinepolicy\.md to hold "<!-- Begin: /);
  });
});
