import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

const PROJECT = join(import.meta.dirname, '../..');
const CRD = 'crds/baselinepolicy.dev_baselinepolicies.yaml';
const TYPES = 'src/api/types.generated.ts';
const REFERENCE = 'docs/baselinepolicy.md';
const CHART = 'charts/baseline-policy-operator';

/** The generated files, each with words that it has from what it is made of. */
const GENERATED: Readonly<Record<string, string>> = {
  [CRD]: 'Enforce writes NetworkPolicies.',
  [TYPES]: 'Enforce writes NetworkPolicies.',
  [REFERENCE]: 'Enforce writes NetworkPolicies.',
  [`${CHART}/README.md`]: 'Tag of the image',
  [`${CHART}/files/baselinepolicies.yaml`]: 'Enforce writes NetworkPolicies.',
  [`${CHART}/files/admission/opening-guard/opening_guard.yaml`]: 'failurePolicy: Fail',
  [`${CHART}/files/admission/start-gate/start_gate.yaml`]: 'failurePolicy: Fail',
  [`${CHART}/files/admission/tamper-protection/roles.yaml`]: 'verbs: [break-glass]',
  [`${CHART}/files/admission/tamper-protection/tamper_protection.yaml`]: 'failurePolicy: Fail',
  [`${CHART}/files/prometheus/prometheus_rule.yaml`]: 'severity: critical',
  [`${CHART}/files/rbac/baselinepolicy_roles.yaml`]: 'verbs: [get, list, watch]',
  [`${CHART}/files/rbac/metrics_roles.yaml`]: 'verbs: [create]',
  [`${CHART}/files/rbac/role.yaml`]: 'verbs: [get, list, watch]',
  [`${CHART}/files/rbac/role_binding.yaml`]: 'kind: ServiceAccount',
  [`${CHART}/files/grafana/dashboard.json`]: '"panels"',
};

function generate(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(PROJECT, 'hack/generate.ts'), ...args], { encoding: 'utf8' });
}

describe('Generated files', function () {
  this.timeout(60_000);
  let copy: string;

  beforeEach(() => {
    copy = mkdtempSync(join(tmpdir(), 'generated-'));
    for (const path of Object.keys(GENERATED)) {
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

  it('are checked: each that was changed by hand is named, and left as it is', () => {
    const changed = Object.entries(GENERATED).map(([path, words]) => {
      const text = readFileSync(join(copy, path), 'utf8');
      assert.ok(text.includes(words), path);
      const byHand = text.replace(words, 'by hand');
      writeFileSync(join(copy, path), byHand);
      return { path, byHand };
    });

    const { status, stdout, stderr } = generate('--check', '--root', copy);

    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.equal(
      stderr,
      changed.map(({ path }) => `${path} is stale: run "npm run generate" and commit the result.\n`).join(''),
    );
    for (const { path, byHand } of changed) assert.equal(readFileSync(join(copy, path), 'utf8'), byHand, path);
  });

  it('are all that the chart has copies of', () => {
    const copies = readdirSync(join(PROJECT, CHART, 'files'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(PROJECT, join(entry.parentPath, entry.name)));
    assert.deepEqual(
      copies.toSorted(),
      Object.keys(GENERATED)
        .filter((path) => path.startsWith(`${CHART}/files/`))
        .toSorted(),
    );
  });

  it('are checked: a missing file is named', () => {
    rmSync(join(copy, CRD));
    const { status, stderr } = generate('--check', '--root', copy);
    assert.equal(status, 1);
    assert.equal(stderr, `${CRD} is stale: run "npm run generate" and commit the result.\n`);
  });

  it('are written anew, each that is stale and no other', () => {
    rmSync(join(copy, CRD));
    appendFileSync(join(copy, TYPES), '// by hand\n');

    const { status, stdout } = generate('--root', copy);

    assert.equal(status, 0);
    assert.equal(stdout, `Wrote ${CRD}\nWrote ${TYPES}\n`);
    for (const path of Object.keys(GENERATED)) {
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
