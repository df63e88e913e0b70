import assert from 'node:assert/strict';
import { ComplianceTally, NAMESPACE_STATES, PENDING, type NamespaceReport } from '../../../src/policy/tally.ts';

function report(fields: Partial<NamespaceReport>): NamespaceReport {
  return { ...PENDING, state: 'compliant', ...fields };
}

function failing(...rules: string[]): NamespaceReport {
  return report({
    state: 'failed',
    failures: rules.map((rule) => ({ rule, reason: 'Forbidden', message: `no ${rule}` })),
  });
}

describe('ComplianceTally', () => {
  let tally: ComplianceTally;

  beforeEach(() => {
    tally = new ComplianceTally();
  });

  it('starts with nothing', () => {
    assert.deepEqual(tally.sums(), {
      selected: 0,
      states: { compliant: 0, drifted: 0, failed: 0, pending: 0 },
      leaving: { compliant: 0, drifted: 0, failed: 0, pending: 0 },
      desired: 0,
      drifted: 0,
      audit: { create: 0, update: 0, delete: 0 },
    });
    assert.deepEqual(tally.failures(20), { listed: [], more: 0 });
  });

  it('sums up all reports', () => {
    tally.set('a', report({ desired: 3 }));
    tally.set('b', report({ state: 'drifted', desired: 4, drifted: 2, audit: { create: 1, update: 2, delete: 3 } }));
    tally.set('c', report({ state: 'drifted', desired: 4, drifted: 1, audit: { create: 10, update: 20, delete: 30 } }));
    tally.set('d', PENDING);
    tally.set('e', report({ selected: false, desired: 0 }));
    assert.deepEqual(tally.sums(), {
      selected: 4,
      states: { compliant: 1, drifted: 2, failed: 0, pending: 1 },
      leaving: { compliant: 1, drifted: 0, failed: 0, pending: 0 },
      desired: 11,
      drifted: 3,
      audit: { create: 11, update: 22, delete: 33 },
    });
  });

  it('replaces the report of a namespace', () => {
    tally.set('a', failing('allow-dns'));
    tally.set('a', report({ desired: 3 }));
    assert.deepEqual(tally.sums().states, { compliant: 1, drifted: 0, failed: 0, pending: 0 });
    assert.equal(tally.sums().desired, 3);
    assert.deepEqual(tally.failures(20), { listed: [], more: 0 });
    assert.deepEqual(tally.get('a'), report({ desired: 3 }));
  });

  it('forgets a namespace, also one that it does not know', () => {
    const empty = tally.sums();
    tally.set('a', failing('allow-dns'));
    tally.delete('a');
    tally.delete('never-seen');
    assert.deepEqual(tally.sums(), empty);
    assert.deepEqual([...tally.namespaces()], []);
    assert.deepEqual(tally.failures(20), { listed: [], more: 0 });
    assert.equal(tally.get('a'), undefined);
  });

  it('gives sums that do not change afterwards', () => {
    const before = tally.sums();
    tally.set('a', report({ state: 'drifted', audit: { create: 1, update: 1, delete: 1 } }));
    assert.equal(before.states.drifted, 0);
    assert.equal(before.audit.create, 0);
  });

  it('counts a namespace that was not looked at yet as pending', () => {
    tally.set('a', PENDING);
    assert.equal(tally.sums().selected, 1);
    assert.equal(tally.sums().states.pending, 1);
  });

  it('knows the states in the order of the status', () => {
    assert.deepEqual(NAMESPACE_STATES, ['compliant', 'drifted', 'failed', 'pending']);
  });

  describe('failures', () => {
    it('are listed by namespace, whatever the order in which they came', () => {
      for (const name of ['c', 'a', 'b']) tally.set(name, failing('allow-dns'));
      assert.deepEqual(
        tally.failures(20).listed.map(({ namespace }) => namespace),
        ['a', 'b', 'c'],
      );
    });

    it('are listed by rule in a namespace, so that the status does not change with their order', () => {
      tally.set('a', failing('default-deny', 'allow-dns'));
      assert.deepEqual(
        tally.failures(20).listed.map(({ rule }) => rule),
        ['allow-dns', 'default-deny'],
      );
    });

    it('say where, what and why', () => {
      tally.set('a', failing('allow-dns'));
      assert.deepEqual(tally.failures(20), {
        listed: [{ namespace: 'a', rule: 'allow-dns', reason: 'Forbidden', message: 'no allow-dns' }],
        more: 0,
      });
    });

    it('are cut off at the limit, also within a namespace, and the rest is counted', () => {
      tally.set('b', failing('r1', 'r2', 'r3'));
      tally.set('a', failing('r1', 'r2', 'r3'));
      tally.set('c', failing('r1'));
      const { listed, more } = tally.failures(4);
      assert.deepEqual(
        listed.map(({ namespace, rule }) => `${namespace}/${rule}`),
        ['a/r1', 'a/r2', 'a/r3', 'b/r1'],
      );
      assert.equal(more, 3);
    });

    it('have none left over at exactly the limit', () => {
      tally.set('a', failing('r1', 'r2'));
      assert.equal(tally.failures(2).more, 0);
      assert.equal(tally.failures(1).more, 1);
    });
  });
});
