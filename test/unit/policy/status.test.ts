import assert from 'node:assert/strict';
import type { BaselinePolicyStatus, Condition } from '../../../src/api/baselinepolicy.ts';
import type { WithheldChild } from '../../../src/policy/desired.ts';
import { buildStatus, MAX_LISTED_FAILURES, sameStatus, type StatusInput } from '../../../src/policy/status.ts';
import { ComplianceTally, type NamespaceReport, type TallySums } from '../../../src/policy/tally.ts';
import { frozen, policy } from '../../support/fixtures.ts';

const NOW = '2026-01-02T00:00:00Z';
const EARLIER = '2026-01-01T00:00:00Z';
const RESTRICTED = policy('restricted').withMetadata({ generation: 3 });
const AUDITED = RESTRICTED.with({ mode: 'Audit' });
const UNKNOWN: WithheldChild = {
  rule: 'allow-kube-apiserver',
  name: 'restricted.allow-kube-apiserver',
  reason: 'AddressesUnknown',
  message: 'no address',
};
const INVALID: WithheldChild = { ...UNKNOWN, reason: 'InvalidSpec', message: 'spec.x: expected a, found b' };
const HELD = { leaving: 40, total: 100, namespaces: 10 };
const FAILURE = { namespace: 'shop', rule: 'allow-dns', reason: 'Forbidden', message: 'exceeded quota' };

function sums(states: Partial<TallySums['states']>, more: Partial<TallySums> = {}): TallySums {
  const all = { compliant: 0, drifted: 0, failed: 0, pending: 0, ...states };
  return {
    selected: all.compliant + all.drifted + all.failed + all.pending,
    states: all,
    leaving: { compliant: 0, drifted: 0, failed: 0, pending: 0 },
    desired: 15,
    drifted: 0,
    audit: { create: 0, update: 0, delete: 0 },
    ...more,
  };
}

function input(fields: Partial<StatusInput> = {}): StatusInput {
  return frozen({
    policy: RESTRICTED.build(),
    sums: sums({ compliant: 5 }),
    failures: { listed: [], more: 0 },
    current: 15,
    drift: { detectedTotal: 2, healedTotal: 1 },
    withheld: [],
    held: undefined,
    now: NOW,
    ...fields,
  });
}

function condition(status: BaselinePolicyStatus, type: string): Condition | undefined {
  return status.conditions?.find((item) => item.type === type);
}

function types(status: BaselinePolicyStatus): string[] {
  return (status.conditions ?? []).map(({ type }) => type);
}

/** What goes in, and what `Ready` and the abnormal condition beside it say. */
interface Case {
  readonly what: string;
  readonly given: Partial<StatusInput>;
  readonly ready: 'True' | 'False';
  readonly reason: string;
  readonly conditions: readonly string[];
  readonly message: RegExp;
}

const VERDICTS: readonly Case[] = [
  {
    what: 'all is as it should be',
    given: {},
    ready: 'True',
    reason: 'Enforced',
    conditions: ['Ready'],
    message: /^5 namespaces have their 15 NetworkPolicies$/,
  },
  {
    what: 'nothing is selected',
    given: { sums: sums({}, { desired: 0 }), current: 0 },
    ready: 'True',
    reason: 'Enforced',
    conditions: ['Ready'],
    message: /^0 namespaces /,
  },
  {
    what: 'the policy is being deleted',
    given: { policy: RESTRICTED.beingDeleted().build(), sums: sums({ failed: 1 }), held: HELD, withheld: [INVALID] },
    ready: 'False',
    reason: 'Deleting',
    conditions: ['Ready', 'Reconciling', 'DeletionHeld'],
    message: /15 NetworkPolicies/,
  },
  {
    what: 'deletions are held',
    given: { held: HELD, sums: sums({ pending: 1, failed: 1 }), withheld: [INVALID] },
    ready: 'False',
    reason: 'DeletionHeld',
    conditions: ['Ready', 'Stalled', 'DeletionHeld'],
    message: /40 of 100 NetworkPolicies in 10 namespaces/,
  },
  {
    what: 'the spec is invalid',
    given: { withheld: [UNKNOWN, INVALID], sums: sums({ pending: 1, failed: 1 }) },
    ready: 'False',
    reason: 'InvalidSpec',
    conditions: ['Ready', 'Stalled', 'AddressesUnknown'],
    message: /^spec\.x: expected a, found b$/,
  },
  {
    what: 'namespaces wait for a look',
    given: { sums: sums({ compliant: 2, pending: 3, failed: 1, drifted: 1 }), withheld: [UNKNOWN] },
    ready: 'False',
    reason: 'RollingOut',
    conditions: ['Ready', 'Reconciling', 'AddressesUnknown'],
    message: /^3 namespaces /,
  },
  {
    what: 'addresses are unknown',
    given: { withheld: [UNKNOWN], sums: sums({ failed: 1 }) },
    ready: 'False',
    reason: 'AddressesUnknown',
    conditions: ['Ready', 'Reconciling', 'AddressesUnknown'],
    message: /^no address$/,
  },
  {
    what: 'namespaces failed',
    given: { sums: sums({ compliant: 4, failed: 1, drifted: 1 }), failures: { listed: [FAILURE], more: 0 } },
    ready: 'False',
    reason: 'NamespacesFailed',
    conditions: ['Ready', 'Stalled'],
    message: /^1 of 6 namespaces failed; first: shop, allow-dns: exceeded quota$/,
  },
  {
    what: 'namespaces failed in Audit mode',
    given: { policy: AUDITED.build(), sums: sums({ failed: 1 }), failures: { listed: [FAILURE], more: 0 } },
    ready: 'False',
    reason: 'NamespacesFailed',
    conditions: ['Ready', 'Stalled'],
    message: /^1 of 1 namespaces failed/,
  },
  {
    what: 'Audit mode would change something',
    given: {
      policy: AUDITED.build(),
      sums: sums({ drifted: 2 }, { drifted: 6, audit: { create: 1, update: 2, delete: 3 } }),
    },
    ready: 'True',
    reason: 'Audited',
    conditions: ['Ready'],
    message: /create 1, change 2 and delete 3 NetworkPolicies in 2 namespaces/,
  },
  {
    what: 'Audit mode would change nothing',
    given: { policy: AUDITED.build() },
    ready: 'True',
    reason: 'Audited',
    conditions: ['Ready'],
    message: /nothing would change in 5 namespaces/,
  },
  {
    what: 'drift is not healed',
    given: { sums: sums({ compliant: 3, drifted: 2 }, { drifted: 4 }) },
    ready: 'False',
    reason: 'Drifted',
    conditions: ['Ready', 'Reconciling'],
    message: /^4 NetworkPolicies in 2 namespaces /,
  },
];

describe('buildStatus', () => {
  for (const { what, given, ready, reason, conditions, message } of VERDICTS) {
    it(`says ${reason} when ${what}`, () => {
      const status = buildStatus(input(given));
      const found = condition(status, 'Ready');
      assert.equal(found?.status, ready);
      assert.equal(found.reason, reason);
      assert.match(found.message, message);
      assert.deepEqual(types(status), conditions);
    });

    it(`follows the rules of kstatus when ${what}`, () => {
      const { conditions: all = [] } = buildStatus(input(given));
      const abnormal = all.filter(({ type }) => type === 'Reconciling' || type === 'Stalled');
      assert.equal(abnormal.length, ready === 'True' ? 0 : 1);
      // All but Ready are there only while they are true.
      assert.ok(all.every(({ type, status }) => type === 'Ready' || status === 'True'));
      assert.equal(new Set(all.map(({ type }) => type)).size, all.length);
      for (const item of all) assert.equal(item.observedGeneration, 3);
    });
  }

  it('says what was counted', () => {
    const given = input({
      sums: sums({ compliant: 1, drifted: 2, failed: 3, pending: 4 }, { desired: 40 }),
      current: 30,
      drift: { detectedTotal: 9, healedTotal: 8, lastDetectedTime: EARLIER },
      failures: { listed: [FAILURE], more: 7 },
    });
    const { conditions: _tested, ...status } = buildStatus(given);
    assert.deepEqual(status, {
      observedGeneration: 3,
      namespaces: { selected: 10, compliant: 1, drifted: 2, failed: 3, pending: 4 },
      networkPolicies: { desired: 40, current: 30 },
      drift: { detectedTotal: 9, healedTotal: 8, lastDetectedTime: EARLIER },
      failures: [FAILURE],
      moreFailures: 7,
    });
  });

  it('leaves out what is not there', () => {
    const keys = Object.keys(buildStatus(input()));
    for (const key of ['audit', 'failures', 'moreFailures']) assert.ok(!keys.includes(key), `found ${key}`);
  });

  it('says what Enforce would do in Audit mode, even when that is nothing', () => {
    assert.deepEqual(buildStatus(input({ policy: AUDITED.build() })).audit, { create: 0, update: 0, delete: 0 });
  });

  it('tells how to approve held deletions of this generation', () => {
    const held = condition(buildStatus(input({ held: HELD })), 'DeletionHeld');
    assert.equal(held?.reason, 'MassDeletion');
    assert.match(
      held.message,
      /kubectl annotate baselinepolicy restricted --overwrite baselinepolicy\.dev\/approve-deletion-of-generation=3$/,
    );
  });

  it('lists at most twenty failures of any number of namespaces, and counts the rest', () => {
    const tally = new ComplianceTally();
    const report: NamespaceReport = {
      state: 'failed',
      selected: true,
      desired: 3,
      drifted: 0,
      audit: { create: 0, update: 0, delete: 0 },
      failures: [1, 2, 3].map((number) => ({ rule: `r${number}`, reason: 'Forbidden', message: 'no' })),
    };
    for (let number = 0; number < 1000; number++) tally.set(`ns-${number}`, report);
    assert.equal(MAX_LISTED_FAILURES, 20);
    const failures = tally.failures(MAX_LISTED_FAILURES);
    const status = buildStatus(input({ sums: tally.sums(), failures }));
    assert.equal(status.failures?.length, 20);
    assert.equal(status.moreFailures, 2980);
    assert.ok(JSON.stringify(status).length < 4000);
  });

  describe('lastTransitionTime', () => {
    const before = (conditions: Partial<Condition>[]): StatusInput['policy'] =>
      RESTRICTED.withStatus({
        conditions: conditions.map((item) => ({
          type: 'Ready',
          status: 'True',
          reason: 'Enforced',
          message: '',
          lastTransitionTime: EARLIER,
          ...item,
        })),
      }).build();
    const drifted = { sums: sums({ drifted: 1 }) };

    it('is now for a first status', () => {
      assert.equal(condition(buildStatus(input()), 'Ready')?.lastTransitionTime, NOW);
    });

    it('stays while the status of the condition stays, whatever its reason and message', () => {
      const kept = buildStatus(input({ policy: before([{ reason: 'Audited', observedGeneration: 1 }]) }));
      assert.deepEqual(condition(kept, 'Ready'), {
        type: 'Ready',
        status: 'True',
        observedGeneration: 3,
        lastTransitionTime: EARLIER,
        reason: 'Enforced',
        message: '5 namespaces have their 15 NetworkPolicies',
      });
    });

    it('is now when the status of the condition changes', () => {
      const changed = buildStatus(input({ policy: before([{ status: 'True' }]), ...drifted }));
      assert.equal(condition(changed, 'Ready')?.lastTransitionTime, NOW);
      const back = buildStatus(input({ policy: before([{ status: 'False' }]) }));
      assert.equal(condition(back, 'Ready')?.lastTransitionTime, NOW);
    });

    it('is kept for each condition on its own', () => {
      const policyBefore = before([{ status: 'False' }, { type: 'Stalled', status: 'True' }]);
      const after = buildStatus(input({ policy: policyBefore, ...drifted }));
      assert.equal(condition(after, 'Ready')?.lastTransitionTime, EARLIER);
      assert.equal(condition(after, 'Reconciling')?.lastTransitionTime, NOW);
      assert.equal(condition(after, 'Stalled'), undefined);
    });
  });
});

describe('sameStatus', () => {
  const status = buildStatus(input({ failures: { listed: [FAILURE], more: 1 } }));

  it('does not mind the order of keys', () => {
    const reversed = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(reversed);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, item]) => [key, reversed(item)]),
      );
    };
    const other = reversed(status) as BaselinePolicyStatus;
    assert.notEqual(JSON.stringify(other), JSON.stringify(status));
    assert.equal(sameStatus(other, status), true);
  });

  it('minds the order of lists', () => {
    const two = { failures: [FAILURE, { ...FAILURE, namespace: 'other' }] };
    assert.equal(sameStatus({ failures: [...two.failures].reverse() }, two), false);
  });

  it('does not mind the time at which it is asked', () => {
    const written = RESTRICTED.withStatus(status).build();
    const later = input({ policy: written, failures: { listed: [FAILURE], more: 1 }, now: '2027-01-01T00:00:00Z' });
    assert.equal(sameStatus(status, buildStatus(later)), true);
  });

  const CHANGES: readonly (readonly [what: string, BaselinePolicyStatus | undefined])[] = [
    ['no status', undefined],
    ['an empty status', {}],
    ['another generation', { ...status, observedGeneration: 4 }],
    ['another count', { ...status, networkPolicies: { desired: 15, current: 14 } }],
    [
      'another message',
      { ...status, conditions: (status.conditions ?? []).map((item) => ({ ...item, message: 'x' })) },
    ],
    ['another drift', { ...status, drift: { detectedTotal: 3, healedTotal: 1 } }],
    ['no failures', { ...status, failures: [] }],
  ];
  for (const [what, other] of CHANGES) {
    it(`sees ${what}`, () => {
      assert.equal(sameStatus(other, status), false);
    });
  }
});

describe('buildStatus, while namespaces leave the selection', () => {
  const leaving = { compliant: 0, drifted: 0, failed: 0, pending: 0 };

  it('is not ready before their children are gone, and does not count them as selected', () => {
    const status = buildStatus(input({ sums: sums({ compliant: 5 }, { leaving: { ...leaving, pending: 2 } }) }));
    assert.equal(status.conditions?.[0]?.reason, 'RollingOut');
    assert.equal(status.conditions[0].message, '2 namespaces are not done yet');
    assert.deepEqual(status.namespaces, { selected: 5, compliant: 5, drifted: 0, failed: 0, pending: 0 });
  });

  it('says when children can not be removed', () => {
    const status = buildStatus(input({ sums: sums({ compliant: 5 }, { leaving: { ...leaving, failed: 1 } }) }));
    assert.equal(status.conditions?.[0]?.reason, 'NamespacesFailed');
    assert.match(status.conditions[0].message, /^1 of 6 namespaces failed/);
  });
});
