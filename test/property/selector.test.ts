import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { LabelSelectorRequirement } from '../../src/api/networkpolicy.ts';
import { matchesSelector, type Labels } from '../../src/policy/selector.ts';
import { labelKey, labels, labelSelector, labelValue } from '../support/arbitraries.ts';

const values = fc.array(labelValue, { maxLength: 3 });

function matches(requirement: LabelSelectorRequirement, of: Labels): boolean {
  return matchesSelector({ matchExpressions: [requirement] }, of);
}

describe('matchesSelector, for any labels', () => {
  it('takes NotIn for the negation of In', () => {
    fc.assert(
      fc.property(labelKey, values, labels, (key, list, of) => {
        const isIn = matches({ key, operator: 'In', values: list }, of);
        assert.equal(matches({ key, operator: 'NotIn', values: list }, of), !isIn);
      }),
    );
  });

  it('takes DoesNotExist for the negation of Exists', () => {
    fc.assert(
      fc.property(labelKey, labels, (key, of) => {
        assert.equal(matches({ key, operator: 'DoesNotExist' }, of), !matches({ key, operator: 'Exists' }, of));
      }),
    );
  });

  it('takes a label for In of its one value, which needs the key', () => {
    fc.assert(
      fc.property(labelKey, labelValue, labels, (key, value, of) => {
        const byLabel = matchesSelector({ matchLabels: { [key]: value } }, of);
        assert.equal(matches({ key, operator: 'In', values: [value] }, of), byLabel);
        if (byLabel) assert.equal(matches({ key, operator: 'Exists' }, of), true);
      }),
    );
  });

  it('matches an object by all of its own labels', () => {
    fc.assert(
      fc.property(labels, (of) => {
        assert.equal(matchesSelector({ matchLabels: of }, of), true);
      }),
    );
  });

  it('matches only what each part of the selector matches', () => {
    fc.assert(
      fc.property(labelSelector, labels, (selector, of) => {
        const parts = [
          ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) =>
            matches({ key, operator: 'In', values: [value] }, of),
          ),
          ...(selector.matchExpressions ?? []).map((requirement) => matches(requirement, of)),
        ];
        assert.equal(matchesSelector(selector, of), !parts.includes(false));
      }),
    );
  });
});
