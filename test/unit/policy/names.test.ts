import assert from 'node:assert/strict';
import {
  ANNOTATION_APPROVED_GENERATION,
  ANNOTATION_DESCRIPTION,
  childName,
  FINALIZER,
  LABEL_ENFORCE,
  LABEL_MANAGED_BY,
  LABEL_NAMESPACE_NAME,
  LABEL_POLICY,
  LABEL_RULE,
  MANAGER,
} from '../../../src/api/names.ts';
import { ruleOfName } from '../../../src/policy/diff.ts';

describe('names', () => {
  it('are those that users, dashboards and admission policies rely on', () => {
    assert.equal(MANAGER, 'baseline-policy-operator');
    assert.equal(LABEL_ENFORCE, 'baselinepolicy.dev/enforce');
    assert.equal(LABEL_MANAGED_BY, 'app.kubernetes.io/managed-by');
    assert.equal(LABEL_POLICY, 'baselinepolicy.dev/policy');
    assert.equal(LABEL_RULE, 'baselinepolicy.dev/rule');
    assert.equal(LABEL_NAMESPACE_NAME, 'kubernetes.io/metadata.name');
    assert.equal(ANNOTATION_DESCRIPTION, 'baselinepolicy.dev/description');
    assert.equal(ANNOTATION_APPROVED_GENERATION, 'baselinepolicy.dev/approve-deletion-of-generation');
    assert.equal(FINALIZER, 'baselinepolicy.dev/children');
  });

  it('of a child is its policy, a dot and its rule, and leads back to the rule', () => {
    assert.equal(childName('restricted', 'default-deny'), 'restricted.default-deny');
    assert.equal(ruleOfName('restricted.default-deny'), 'default-deny');
    assert.equal(ruleOfName('restricted.x.y'), 'x.y');
  });
});
