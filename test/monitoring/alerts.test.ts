import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { Folder } from '../support/cli.ts';
import { kustomize, PROJECT, type ManifestObject } from '../support/kubectl.ts';
import { prometheusProgram } from '../support/prometheus.ts';

const RULES = join(PROJECT, 'hack/prometheus/rules.ts');
const UNIT_TESTS = join(PROJECT, 'test/monitoring/rules.test.yaml');
const RUNBOOKS = 'docs/runbooks.md';

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface UnitTests {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[];
  }[];
}

/** Runs promtool; resolves with what it printed, and rejects with that when it fails. */
async function promtool(...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(prometheusProgram('promtool'), args)).stdout;
}

describe('The alerts', function () {
  this.timeout(120_000);
  let rules: string;
  let alerts: readonly Alert[];

  before(async () => {
    ({ stdout: rules } = await promisify(execFile)(process.execPath, [RULES]));
    alerts = (parse(rules) as { groups: { rules: Alert[] }[] }).groups.flatMap((group) => group.rules);
  });

  it('are those of config/prometheus, also for Prometheus without its operator', async () => {
    const rule = (await kustomize('config/prometheus')).find(
      (object): object is ManifestObject & { spec: object } => object.kind === 'PrometheusRule',
    );
    assert.deepEqual(parse(rules), rule?.spec);
    assert.ok(alerts.length > 0);
  });

  it('each say how bad it is, what it is, and where a person reads what to do', () => {
    const anchors = [...readFileSync(join(PROJECT, RUNBOOKS), 'utf8').matchAll(/^## (.+)$/gm)].map(([, name]) => name);
    for (const { alert, labels, annotations } of alerts) {
      assert.match(alert, /^BaselinePolicy[A-Z]/);
      assert.match(labels['severity'] ?? '', /^(critical|warning)$/, alert);
      assert.deepEqual(Object.keys(annotations).sort(), ['description', 'runbook_url', 'summary'], alert);
      assert.equal(annotations['runbook_url'], `${RUNBOOKS}#${alert.toLowerCase()}`);
    }
    assert.deepEqual(alerts.map(({ alert }) => alert).sort(), anchors.sort());
  });

  it('each have a unit test that they fire, and one that they do not', () => {
    const { tests } = parse(readFileSync(UNIT_TESTS, 'utf8')) as UnitTests;
    const checks = tests.flatMap(({ alert_rule_test: list }) => list);
    const tested = (fires: boolean): string[] =>
      [
        ...new Set(checks.filter((check) => check.exp_alerts.length > 0 === fires).map((check) => check.alertname)),
      ].sort();
    const names = alerts.map(({ alert }) => alert).sort();
    assert.deepEqual(tested(true), names);
    assert.deepEqual(tested(false), names);
  });

  it('pass the checks and the unit tests of promtool', async () => {
    using folder = new Folder({ 'rules.yaml': rules });
    const [file, tests] = ['rules.yaml', 'rules.test.yaml'].map((name) => join(folder.path, name));
    assert.ok(file !== undefined && tests !== undefined);
    copyFileSync(UNIT_TESTS, tests);
    assert.match(await promtool('check', 'rules', '--lint-fatal', file), new RegExp(`SUCCESS: ${alerts.length} rules`));
    assert.match(await promtool('test', 'rules', tests), /SUCCESS/);
  });

  it('would fail those if one were wrong', async () => {
    using folder = new Folder({ 'rules.yaml': rules.replace('deletion_held) == 1', 'deletion_held) == 2') });
    const tests = join(folder.path, 'rules.test.yaml');
    copyFileSync(UNIT_TESTS, tests);
    await assert.rejects(promtool('test', 'rules', tests), /BaselinePolicyDeletionHeld/);
  });
});
