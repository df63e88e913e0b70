import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ComplianceTally, NAMESPACE_STATES, type NamespaceReport, type TallySums } from '../../src/policy/tally.ts';

const count = fc.integer({ min: 0, max: 5 });

const report: fc.Arbitrary<NamespaceReport> = fc.record({
  state: fc.constantFrom(...NAMESPACE_STATES),
  selected: fc.boolean(),
  desired: count,
  drifted: count,
  audit: fc.record({ create: count, update: count, delete: count }),
  failures: fc
    .subarray(['allow-dns', 'allow-monitoring', 'default-deny'])
    .map((rules) => rules.map((rule) => ({ rule, reason: 'Forbidden', message: 'no' }))),
});

/** Sets the report of a namespace, or forgets it. */
const action = fc.record({
  namespace: fc.constantFrom('a', 'b', 'c', 'd'),
  report: fc.option(report, { nil: undefined }),
});

function sum(reports: readonly NamespaceReport[], of: (report: NamespaceReport) => number): number {
  return reports.reduce((total, item) => total + of(item), 0);
}

function recomputed(reports: readonly NamespaceReport[]): TallySums {
  const statesOf = (selected: boolean): TallySums['states'] => {
    const inState = (state: string): number =>
      reports.filter((item) => item.selected === selected && item.state === state).length;
    return {
      compliant: inState('compliant'),
      drifted: inState('drifted'),
      failed: inState('failed'),
      pending: inState('pending'),
    };
  };
  return {
    selected: reports.filter(({ selected }) => selected).length,
    states: statesOf(true),
    leaving: statesOf(false),
    desired: sum(reports, ({ desired }) => desired),
    drifted: sum(reports, ({ drifted }) => drifted),
    audit: {
      create: sum(reports, ({ audit }) => audit.create),
      update: sum(reports, ({ audit }) => audit.update),
      delete: sum(reports, ({ audit }) => audit.delete),
    },
  };
}

describe('ComplianceTally, after any changes', () => {
  it('has the sums and failures that all its reports give', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), fc.integer({ min: 0, max: 13 }), (actions, limit) => {
        const tally = new ComplianceTally();
        const model = new Map<string, NamespaceReport>();
        for (const { namespace, report: next } of actions) {
          if (next === undefined) {
            tally.delete(namespace);
            model.delete(namespace);
          } else {
            tally.set(namespace, next);
            model.set(namespace, next);
          }
          assert.deepEqual(tally.sums(), recomputed([...model.values()]));
        }
        assert.deepEqual(new Set(tally.namespaces()), new Set(model.keys()));
        const all = [...model.keys()]
          .sort()
          .flatMap((namespace) => (model.get(namespace)?.failures ?? []).map((failure) => ({ namespace, ...failure })));
        assert.deepEqual(tally.failures(limit), {
          listed: all.slice(0, limit),
          more: Math.max(0, all.length - limit),
        });
      }),
    );
  });
});
