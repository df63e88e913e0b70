import assert from 'node:assert/strict';
import type { BaselinePolicySpec } from '../../../src/api/baselinepolicy.ts';
import type { HistoryEvent } from '../../support/history.ts';
import { judge, type Tampering } from '../../support/oracle.ts';

type Type = HistoryEvent['type'];

const SELECTED = { team: 'a' };
const SPEC: BaselinePolicySpec = { namespaceSelector: { matchLabels: SELECTED } };
const CLOSED = JSON.stringify({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
const OPEN = JSON.stringify({ podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{}] });

/** A history that is written down event by event, each a revision and a second after the one before. */
class Script {
  readonly events: HistoryEvent[] = [];

  /** The policy, with its spec. */
  policy(type: Type, spec = SPEC, deleting = false): this {
    return this.#add({ resource: 'baselinepolicies', name: 'p', type, spec, deleting });
  }

  /** The namespace, with its labels. */
  namespace(type: Type, labels: Record<string, string> = SELECTED, terminating = false): this {
    return this.#add({ resource: 'namespaces', name: 'n', type, labels, terminating });
  }

  /** Children of these rules, one after the other. */
  children(type: Type, rules: readonly string[], spec = CLOSED): this {
    for (const rule of rules) {
      const name = `p.${rule}`;
      this.#add({ resource: 'networkpolicies', namespace: 'n', name, type, spec, terminating: false });
    }
    return this;
  }

  /** What must never be, in this history, by child and revision. */
  violations(tampered: readonly Tampering[] = [], lagMs = 0): string[] {
    return judge(this.events, tampered, lagMs).map(({ what, revision }) => `${revision} ${what.split(';')[0] ?? ''}`);
  }

  #add(event: object): this {
    const revision = this.events.length + 1;
    this.events.push({ uid: 'u', revision, at: revision * 1000, ...event } as HistoryEvent);
    return this;
  }
}

const ALLOWS = ['allow-dns', 'allow-monitoring'];
const DENY = ['default-deny'];

/** Revisions 1 to 5: a policy, a namespace that it selects, its three children in order. */
const filled = (): Script =>
  new Script().policy('ADDED').namespace('ADDED').children('ADDED', ALLOWS).children('ADDED', DENY);

/** Says that the test itself does something to a child after the fill. */
const tampering = (rule: string): Tampering => ({ child: `n/p.${rule}`, revision: 5 });

describe('judge, of the oracle of fault tests', () => {
  const cases: [title: string, script: Script, expected: string[], tampered?: Tampering[], lagMs?: number][] = [
    ['takes a fill in order', filled(), []],
    [
      'blames a default-deny before its allows',
      new Script()
        .policy('ADDED')
        .namespace('ADDED')
        .children('ADDED', ['allow-dns', ...DENY]),
      ['4 n/p.default-deny: default-deny came before an allow'],
    ],
    [
      'asks for the allows of the spec, and no others',
      new Script()
        .policy('ADDED', { ...SPEC, rules: { allowDNS: { enabled: false }, allowSameNamespace: { enabled: true } } })
        .namespace('ADDED')
        .children('ADDED', ['allow-monitoring', 'allow-same-namespace', ...DENY]),
      [],
    ],
    [
      'blames a default-deny that goes from a selected namespace',
      filled().children('DELETED', DENY),
      ['6 n/p.default-deny: default-deny went from a namespace that is selected'],
    ],
    [
      'takes its removal when the spec wants none',
      filled()
        .policy('MODIFIED', { ...SPEC, rules: { defaultDeny: { enabled: false } } })
        .children('DELETED', DENY),
      [],
    ],
    [
      'takes a removal in order from a namespace that left',
      filled()
        .namespace('MODIFIED', {})
        .children('DELETED', [...DENY, ...ALLOWS]),
      [],
    ],
    [
      'takes a removal in order with its policy',
      filled()
        .policy('MODIFIED', SPEC, true)
        .children('DELETED', [...DENY, ...ALLOWS]),
      [],
    ],
    [
      'blames a removal in the wrong order',
      filled()
        .namespace('MODIFIED', {})
        .children('DELETED', ['allow-dns', ...DENY]),
      ['7 n/p.allow-dns: an allow went while default-deny was there'],
    ],
    [
      'blames an allow that goes from a selected namespace',
      filled().children('DELETED', ['allow-dns']),
      ['6 n/p.allow-dns: an allow went while default-deny was there'],
    ],
    [
      'takes an allow that the spec wants no more',
      filled()
        .policy('MODIFIED', { ...SPEC, rules: { allowDNS: { enabled: false } } })
        .children('DELETED', ['allow-dns']),
      [],
    ],
    [
      'takes anything in a namespace that is going',
      filled()
        .namespace('MODIFIED', SELECTED, true)
        .children('DELETED', [...ALLOWS, ...DENY]),
      [],
    ],
    [
      'blames a default-deny that is opened',
      filled().children('MODIFIED', DENY, OPEN),
      ['6 n/p.default-deny: default-deny was opened'],
    ],
    [
      'does not blame the operator for what the test does',
      filled().children('MODIFIED', DENY, OPEN).children('DELETED', ['allow-dns']),
      [],
      [tampering('default-deny'), tampering('allow-dns')],
    ],
    [
      'excuses one event for each announcement',
      filled().children('DELETED', ['allow-dns']).children('ADDED', ['allow-dns']).children('DELETED', ['allow-dns']),
      ['8 n/p.allow-dns: an allow went while default-deny was there'],
      [tampering('allow-dns')],
    ],
    [
      'excuses nothing that came before the announcement',
      filled().children('DELETED', DENY),
      ['6 n/p.default-deny: default-deny went from a namespace that is selected'],
      [{ child: 'n/p.default-deny', revision: 6 }],
    ],
    [
      'lets an operator act on labels that have just changed',
      filled().namespace('MODIFIED', {}).namespace('MODIFIED').children('DELETED', DENY),
      [],
      [],
      5_000,
    ],
    [
      'but no longer than it may lag',
      filled().namespace('MODIFIED', {}).namespace('MODIFIED').children('DELETED', DENY),
      ['8 n/p.default-deny: default-deny went from a namespace that is selected'],
      [],
      500,
    ],
    [
      'lets an operator believe in an allow that the test has just deleted',
      filled()
        .children('DELETED', [...DENY, 'allow-dns'])
        .children('ADDED', DENY),
      [],
      [tampering('default-deny'), tampering('allow-dns')],
      5_000,
    ],
    [
      'but not in one that it deleted long ago',
      filled()
        .children('DELETED', [...DENY, 'allow-dns'])
        .children('ADDED', DENY),
      ['8 n/p.default-deny: default-deny came before an allow'],
      [tampering('default-deny'), tampering('allow-dns')],
    ],
    [
      'lets a default-deny that was on its way come to a namespace that was created again, within the lag',
      filled()
        .namespace('MODIFIED', SELECTED, true)
        .children('DELETED', [...ALLOWS, ...DENY])
        .namespace('DELETED')
        .namespace('ADDED')
        .children('ADDED', DENY),
      [],
      [],
      5_000,
    ],
    [
      'but blames one that comes later',
      filled()
        .namespace('MODIFIED', SELECTED, true)
        .children('DELETED', [...ALLOWS, ...DENY])
        .namespace('DELETED')
        .namespace('ADDED')
        .children('ADDED', DENY),
      ['12 n/p.default-deny: default-deny came before an allow'],
    ],
    [
      'says nothing of NetworkPolicies of others',
      filled().children('DELETED', ['no-rule-of-ours']).namespace('MODIFIED', {}),
      [],
    ],
  ];
  for (const [title, script, expected, tampered = [], lagMs = 0] of cases) {
    it(title, () => {
      assert.deepEqual(script.violations(tampered, lagMs), expected);
    });
  }
});
