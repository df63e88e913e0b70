import assert from 'node:assert/strict';
import type { LabelSelector } from '../../../src/api/networkpolicy.ts';
import { matchesSelector, type Labels } from '../../../src/policy/selector.ts';

const WEB: Labels = { app: 'web', 'example.com/tier': 'front', empty: '' };

function expression(
  key: string,
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist',
  values?: string[],
): LabelSelector {
  return { matchExpressions: [{ key, operator, ...(values !== undefined && { values }) }] };
}

/** Selector, labels, and whether they match. */
const TABLE: readonly (readonly [what: string, LabelSelector, Labels, boolean])[] = [
  ['an empty selector matches everything', {}, WEB, true],
  ['an empty selector matches an object without labels', {}, {}, true],
  ['empty lists and maps match everything', { matchLabels: {}, matchExpressions: [] }, WEB, true],

  ['a label matches its value', { matchLabels: { app: 'web' } }, WEB, true],
  ['a label does not match another value', { matchLabels: { app: 'db' } }, WEB, false],
  ['a label does not match part of a value', { matchLabels: { app: 'we' } }, WEB, false],
  ['a label does not match a missing key', { matchLabels: { team: 'blue' } }, WEB, false],
  ['all labels must match', { matchLabels: { app: 'web', team: 'blue' } }, WEB, false],
  ['all labels may match', { matchLabels: { app: 'web', 'example.com/tier': 'front' } }, WEB, true],
  ['an empty value matches an empty value', { matchLabels: { empty: '' } }, WEB, true],
  ['an empty value does not match a missing key', { matchLabels: { team: '' } }, WEB, false],
  ['keys are compared with case', { matchLabels: { App: 'web' } }, WEB, false],
  ['values are compared with case', { matchLabels: { app: 'Web' } }, WEB, false],

  ['In matches one of its values', expression('app', 'In', ['db', 'web']), WEB, true],
  ['In does not match another value', expression('app', 'In', ['db']), WEB, false],
  ['In does not match a missing key', expression('team', 'In', ['blue']), WEB, false],
  ['In of an empty value does not match a missing key', expression('team', 'In', ['']), WEB, false],
  ['In of an empty value matches an empty value', expression('empty', 'In', ['']), WEB, true],
  ['In without values matches nothing', expression('app', 'In'), WEB, false],

  ['NotIn does not match one of its values', expression('app', 'NotIn', ['db', 'web']), WEB, false],
  ['NotIn matches another value', expression('app', 'NotIn', ['db']), WEB, true],
  ['NotIn matches a missing key', expression('team', 'NotIn', ['blue']), WEB, true],
  ['NotIn without values matches everything', expression('app', 'NotIn'), WEB, true],

  ['Exists matches a key', expression('app', 'Exists'), WEB, true],
  ['Exists matches a key with an empty value', expression('empty', 'Exists'), WEB, true],
  ['Exists does not match a missing key', expression('team', 'Exists'), WEB, false],

  ['DoesNotExist does not match a key', expression('app', 'DoesNotExist'), WEB, false],
  ['DoesNotExist does not match a key with an empty value', expression('empty', 'DoesNotExist'), WEB, false],
  ['DoesNotExist matches a missing key', expression('team', 'DoesNotExist'), WEB, true],

  [
    'labels and expressions must all match',
    { matchLabels: { app: 'web' }, ...expression('team', 'Exists') },
    WEB,
    false,
  ],
  [
    'all expressions must match',
    {
      matchExpressions: [
        { key: 'app', operator: 'Exists' },
        { key: 'app', operator: 'NotIn', values: ['web'] },
      ],
    },
    WEB,
    false,
  ],
];

/** Names that every object of JavaScript inherits, or that change its prototype. */
const INHERITED = ['constructor', 'toString', 'hasOwnProperty', '__proto__'];

describe('matchesSelector', () => {
  for (const [what, selector, labels, expected] of TABLE) {
    it(what, () => {
      assert.equal(matchesSelector(selector, labels), expected);
    });
  }

  for (const key of INHERITED) {
    it(`takes ${key} for a label only when the object has it`, () => {
      const has: Labels = Object.fromEntries([[key, 'x']]);
      assert.equal(matchesSelector(expression(key, 'Exists'), {}), false);
      assert.equal(matchesSelector(expression(key, 'DoesNotExist'), {}), true);
      assert.equal(matchesSelector(expression(key, 'NotIn', ['x']), {}), true);
      assert.equal(matchesSelector({ matchLabels: has }, {}), false);
      assert.equal(matchesSelector(expression(key, 'Exists'), has), true);
      assert.equal(matchesSelector(expression(key, 'In', ['x']), has), true);
      assert.equal(matchesSelector({ matchLabels: has }, has), true);
    });
  }
});
