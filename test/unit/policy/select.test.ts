import assert from 'node:assert/strict';
import type { BaselinePolicySpec } from '../../../src/api/baselinepolicy.ts';
import { DEFAULT_PROTECTED_NAMESPACES, selectsNamespace } from '../../../src/policy/select.ts';
import { namespace, type NamespaceBuilder } from '../../support/fixtures.ts';

const PROTECTED = new Set([...DEFAULT_PROTECTED_NAMESPACES, 'operator']);
const ENFORCE = { 'baselinepolicy.dev/enforce': 'true' };

function selects(spec: BaselinePolicySpec, target: NamespaceBuilder, isProtected = PROTECTED): boolean {
  return selectsNamespace(spec, target.build(), isProtected);
}

describe('selectsNamespace', () => {
  it('lets namespaces opt in by label when the policy has no selector', () => {
    assert.equal(selects({}, namespace('shop').labelled(ENFORCE)), true);
    assert.equal(selects({}, namespace('shop')), false);
    assert.equal(selects({}, namespace('shop').labelled({ 'baselinepolicy.dev/enforce': 'false' })), false);
    assert.equal(selects({}, namespace('shop').labelled({ 'baselinepolicy.dev/enforce': '' })), false);
  });

  it('uses the selector of the policy instead of the opt-in label', () => {
    const spec = { namespaceSelector: { matchLabels: { team: 'blue' } } };
    assert.equal(selects(spec, namespace('shop').labelled({ team: 'blue' })), true);
    assert.equal(selects(spec, namespace('shop').labelled(ENFORCE)), false);
  });

  it('selects every namespace with an empty selector', () => {
    assert.equal(selects({ namespaceSelector: {} }, namespace('shop')), true);
    assert.equal(selects({ namespaceSelector: {} }, namespace('other').labelled({ team: 'blue' })), true);
  });

  it('never selects an excluded namespace', () => {
    const spec = { namespaceSelector: {}, excludedNamespaces: ['legacy', 'old'] };
    assert.equal(selects(spec, namespace('legacy').labelled(ENFORCE)), false);
    assert.equal(selects(spec, namespace('old')), false);
  });

  it('excludes by exact name', () => {
    const spec = { namespaceSelector: {}, excludedNamespaces: ['legacy', '*'] };
    assert.equal(selects(spec, namespace('legacy-2')), true);
    assert.equal(selects(spec, namespace('lega')), true);
  });

  for (const name of PROTECTED) {
    it(`never selects the protected namespace ${name}`, () => {
      assert.equal(selects({ namespaceSelector: {} }, namespace(name).labelled(ENFORCE)), false);
      assert.equal(selects({ namespaceSelector: { matchLabels: ENFORCE } }, namespace(name).labelled(ENFORCE)), false);
    });
  }

  it('protects the namespaces of Kubernetes by default, and only those of the list', () => {
    assert.deepEqual(DEFAULT_PROTECTED_NAMESPACES, ['kube-system', 'kube-public', 'kube-node-lease']);
    assert.equal(selects({ namespaceSelector: {} }, namespace('kube-system'), new Set(['other'])), true);
  });
});
