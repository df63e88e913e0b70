import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import type { BaselinePolicySpec } from '../../../src/api/baselinepolicy.ts';
import { admissionBindings, type AdmissionBinding, type GuardAction } from '../../../src/policy/admission.ts';
import { matchesSelector, type Labels } from '../../../src/policy/selector.ts';
import { runCLI, type CLIResult } from '../../support/cli.ts';

const PROTECTED = ['kube-system'];
const OWN_SELECTOR = { namespaceSelector: { matchLabels: { tier: 'gold' } } };

function bindingsOf(spec: BaselinePolicySpec, guard: GuardAction = 'warn'): ReturnType<typeof admissionBindings> {
  return admissionBindings({ metadata: { name: 'base' }, spec }, { guard, protectedNamespaces: PROTECTED });
}

function namesOf(bindings: readonly AdmissionBinding[]): string[] {
  return bindings.map(({ metadata }) => metadata.name);
}

describe('admissionBindings', () => {
  const gate = 'base.start-gate.baselinepolicy.dev';
  const guard = 'base.opening-guard.baselinepolicy.dev';

  it('binds gate and guard for a selector of its own', () => {
    const { bindings, notes } = bindingsOf(OWN_SELECTOR);
    assert.deepEqual(namesOf(bindings), [gate, guard]);
    assert.deepEqual(notes, []);
    assert.deepEqual(bindings[0]?.spec.paramRef, {
      selector: {
        matchLabels: {
          'app.kubernetes.io/managed-by': 'baseline-policy-operator',
          'baselinepolicy.dev/policy': 'base',
          'baselinepolicy.dev/rule': 'default-deny',
        },
      },
      parameterNotFoundAction: 'Deny',
    });
  });

  it('warns, denies, or has no guard', () => {
    assert.deepEqual(bindingsOf(OWN_SELECTOR, 'warn').bindings[1]?.spec.validationActions, ['Warn', 'Audit']);
    assert.deepEqual(bindingsOf(OWN_SELECTOR, 'deny').bindings[1]?.spec.validationActions, ['Deny']);
    assert.deepEqual(namesOf(bindingsOf(OWN_SELECTOR, 'off').bindings), [gate]);
  });

  it('selects what the policy selects, and neither excluded nor protected namespaces', () => {
    const namespaceSelector = {
      matchLabels: { tier: 'gold' },
      matchExpressions: [{ key: 'frozen', operator: 'DoesNotExist' as const }],
    };
    const { bindings } = bindingsOf({ namespaceSelector, excludedNamespaces: ['legacy', 'kube-system'] });
    assert.equal(bindings.length, 2);
    for (const { spec } of bindings) {
      const selects = (name: string, labels: Labels): boolean =>
        matchesSelector(spec.matchResources.namespaceSelector, { ...labels, 'kubernetes.io/metadata.name': name });
      assert.ok(selects('shop', { tier: 'gold' }));
      assert.ok(!selects('shop', { tier: 'gold', frozen: 'yes' }));
      assert.ok(!selects('shop', {}));
      for (const name of ['legacy', 'kube-system', 'baseline-policy-system']) {
        assert.ok(!selects(name, { tier: 'gold' }), name);
      }
    }
  });

  it('leaves what selects by the opt-in label alone to the bindings of config/admission', () => {
    const optIn = { matchLabels: { 'baselinepolicy.dev/enforce': 'true' } };
    for (const spec of [{}, { namespaceSelector: optIn }]) {
      const { bindings, notes } = bindingsOf(spec);
      assert.deepEqual(bindings, []);
      assert.match(notes.join(), /^BaselinePolicy base selects by the label baselinepolicy.dev\/enforce alone/);
    }
    const { bindings, notes } = bindingsOf({ excludedNamespaces: ['legacy'] });
    assert.deepEqual(namesOf(bindings), [gate, guard]);
    assert.match(notes.join(), /^BaselinePolicy base excludes legacy: the bindings of config\/admission are for these/);
    const other = { matchLabels: { ...optIn.matchLabels, tier: 'gold' } };
    assert.equal(bindingsOf({ namespaceSelector: other }).bindings.length, 2);
  });

  it('binds nothing in mode Audit, and no gate without a default-deny', () => {
    const audit = bindingsOf({ ...OWN_SELECTOR, mode: 'Audit' });
    assert.deepEqual(audit.bindings, []);
    assert.match(audit.notes.join(), /^BaselinePolicy base is in mode Audit/);
    const open = bindingsOf({ ...OWN_SELECTOR, rules: { defaultDeny: { enabled: false } } });
    assert.deepEqual(namesOf(open.bindings), [guard]);
    assert.match(open.notes.join(), /^BaselinePolicy base makes no default-deny/);
  });
});

describe('render --admission', () => {
  const policies = ['zeta', 'alpha'].map((name) =>
    JSON.stringify({
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      metadata: { name },
      spec: OWN_SELECTOR,
    }),
  );

  async function render(...flags: readonly string[]): Promise<CLIResult> {
    return runCLI(['render', ...flags, '-f', '-'], { stdin: policies.join('\n---\n') });
  }

  it('prints the bindings by policy, as YAML and JSON of the same', async () => {
    const { stdout, stderr, code } = await render('--admission');
    assert.deepEqual([code, stderr], [0, '']);
    const objects = parseAllDocuments(stdout, { version: '1.1' }).map((one) => one.toJS() as AdmissionBinding);
    assert.deepEqual(namesOf(objects), [
      'alpha.start-gate.baselinepolicy.dev',
      'alpha.opening-guard.baselinepolicy.dev',
      'zeta.start-gate.baselinepolicy.dev',
      'zeta.opening-guard.baselinepolicy.dev',
    ]);
    const json = JSON.parse((await render('--admission', '-o', 'json')).stdout) as { items: object[] };
    assert.deepEqual(json.items, objects);
  });

  it('takes the protected namespaces and what the guard does', async () => {
    const { stdout } = await render(
      '--admission',
      '--guard=deny',
      '--protected-namespaces=kube-system,mine',
      '-o=json',
    );
    const { items } = JSON.parse(stdout) as { items: AdmissionBinding[] };
    assert.deepEqual(items[1]?.spec.validationActions, ['Deny']);
    assert.deepEqual(items[1].spec.matchResources.namespaceSelector.matchExpressions, [
      {
        key: 'kubernetes.io/metadata.name',
        operator: 'NotIn',
        values: ['baseline-policy-system', 'kube-system', 'mine'],
      },
    ]);
  });

  it('refuses flags that do not go together', async () => {
    const alone = await render('--guard=deny');
    assert.deepEqual([alone.code, alone.stdout], [2, '']);
    assert.match(alone.stderr, /^error: --guard: expected with --admission, got it alone$/m);
    const both = await render('--admission', '-n', 'shop');
    assert.deepEqual([both.code, both.stdout], [2, '']);
    assert.match(both.stderr, /^error: --namespace: expected without --admission/m);
    const wrong = await render('--admission', '--guard=maybe');
    assert.deepEqual([wrong.code, wrong.stdout], [2, '']);
    assert.match(wrong.stderr, /--guard: expected .*got .*maybe/);
  });
});
