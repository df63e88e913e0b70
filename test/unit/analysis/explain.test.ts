import assert from 'node:assert/strict';
import { applyChanges } from '../../../src/analysis/change.ts';
import { explain, type Explanation } from '../../../src/analysis/explain.ts';
import { readModel, type Model } from '../../../src/analysis/model.ts';
import { PortSet } from '../../../src/analysis/port-set.ts';
import { addressTarget, decide, internetTarget, workloadTarget } from '../../../src/analysis/verdict.ts';
import type { NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const frontend = workload('shop/frontend', { labels: { app: 'web' } });
const backend = workload('shop/backend', { ports: [{ name: 'api', protocol: 'TCP', port: 8080 }] });
const teller = workload('bank/teller');
const [source, destination, other] = [workloadTarget(frontend), workloadTarget(backend), workloadTarget(teller)];
const HTTP = PortSet.range('TCP', 8080);

function model(...specs: NetworkPolicySpec[]): Model {
  return modelOf({
    workloads: [frontend, backend, teller],
    policies: specs.map((spec, index) => networkPolicy(`shop/policy-${index}`, spec)),
  });
}

/** Ingress of the backend from one peer. */
function ingress(from: object, ports: object[] = [{ port: 8080 }]): NetworkPolicySpec {
  return {
    podSelector: { matchLabels: { app: 'backend' } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [from], ports }],
  };
}

function changeMessages({ change }: Explanation): string[] {
  return (change ?? []).map(({ message }) => message);
}

describe('explain', () => {
  it('says which label of a pod a rule misses, and to set it', () => {
    const explained = explain(
      model(ingress({ podSelector: { matchLabels: { app: 'frontend' } } })),
      source,
      destination,
      HTTP,
    );
    assert.equal(explained.decision.verdict, 'deny');
    assert.deepEqual(
      explained.nearest.map(({ message }) => message),
      ['shop/policy-0 spec.ingress[0].from[0] selects app=frontend, but shop/frontend[Pod] has app=web'],
    );
    assert.deepEqual(explained.nearest[0]?.peers, [
      {
        path: 'spec.ingress[0].from[0]',
        mismatches: [
          { kind: 'PodLabels', unmet: [{ key: 'app', operator: 'In', values: ['frontend'], actual: 'web' }] },
        ],
      },
    ]);
    assert.deepEqual(changeMessages(explained), ['on the pods of shop/frontend[Pod], set the label app=frontend']);
  });

  it('says which port a rule misses, and to add it', () => {
    const explained = explain(model(ingress({ podSelector: {} })), source, destination, PortSet.range('TCP', 8081));
    assert.equal(explained.nearest[0]?.message, 'shop/policy-0 port 8081/TCP is not among 8080/TCP');
    assert.deepEqual(changeMessages(explained), ['add 8081/TCP to the ports of spec.ingress[0] of shop/policy-0']);
  });

  it('says that a pod has no port of a name', () => {
    const explained = explain(model(ingress({ podSelector: {} }, [{ port: 'grpc' }])), source, destination, HTTP);
    assert.equal(explained.nearest[0]?.message, 'shop/policy-0 shop/backend[Pod] has no port named grpc');
    assert.deepEqual(explained.nearest[0].unknownNames, ['grpc']);
    const named = explain(model(ingress({ podSelector: {} }, [{ port: 'api' }])), source, destination, HTTP);
    assert.equal(named.decision.verdict, 'allow');
  });

  it('says that a peer without namespaceSelector is for its own namespace', () => {
    const explained = explain(model(ingress({ podSelector: {} })), other, destination, HTTP);
    assert.match(
      explained.nearest[0]?.message ?? '',
      /from\[0\] has no namespaceSelector, so it is for pods of shop, but bank\/teller\[Pod\] is in bank$/,
    );
    const [change] = explained.change ?? [];
    assert.equal(change?.kind, 'AddRule');
    assert.deepEqual(change.peers, [
      {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'bank' } },
        podSelector: { matchLabels: { app: 'teller' } },
      },
    ]);
  });

  it('says which label a namespace misses', () => {
    const explained = explain(
      model(ingress({ namespaceSelector: { matchLabels: { team: 'red' } } })),
      other,
      destination,
      HTTP,
    );
    assert.match(
      explained.nearest[0]?.message ?? '',
      /namespaces with team=red, but the namespace of bank\/teller\[Pod\] has no label team$/,
    );
    assert.deepEqual(changeMessages(explained), ['on the namespace bank, set the label team=red']);
  });

  it('proposes the label that every namespace has where a policy means a namespace by its name', () => {
    const change = 'in spec.ingress[0].from[1] of shop/policy-0, select the namespace by ';
    const byName = [
      { matchLabels: { name: 'bank' } },
      { matchExpressions: [{ key: 'name', operator: 'In' as const, values: ['bank'] }] },
    ];
    for (const namespaceSelector of byName) {
      const spec = ingress({ namespaceSelector: { matchLabels: { name: 'other' } } });
      const [rule] = spec.ingress ?? [];
      rule?.from?.push({ namespaceSelector, podSelector: { matchLabels: { app: 'teller' } } });
      const of = model(spec);
      const explained = explain(of, other, destination, HTTP);
      assert.deepEqual(changeMessages(explained), [`${change}kubernetes.io/metadata.name=bank instead of name=bank`]);
      const [changed] = applyChanges(of.cluster, explained.change ?? []).policies;
      assert.deepEqual(changed?.spec?.ingress?.[0]?.from?.[1], {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'bank' } },
        podSelector: { matchLabels: { app: 'teller' } },
      });
    }
    const elsewhere = model(ingress({ namespaceSelector: { matchLabels: { name: 'vault' } } }));
    assert.deepEqual(changeMessages(explain(elsewhere, other, destination, HTTP)), [
      'on the namespace bank, set the label name=vault',
    ]);
  });

  it('names each side, its policies and its rules, in order', () => {
    const explained = explain(
      model(
        { policyTypes: ['Ingress', 'Egress'] },
        {
          podSelector: { matchLabels: { app: 'web' } },
          policyTypes: ['Egress'],
          egress: [{ to: [{ podSelector: {} }] }],
        },
      ),
      source,
      destination,
      HTTP,
    );
    assert.deepEqual(
      explained.sides.map(({ direction, message }) => `${direction}: ${message}`),
      [
        'Egress: 2 policies isolate the egress of shop/frontend[Pod]; of 8080/TCP, rules allow 8080/TCP',
        'Ingress: one policy isolates the ingress of shop/backend[Pod]; of 8080/TCP, no rule matches',
      ],
    );
    assert.deepEqual(
      explained.sides.flatMap(({ policies }) => policies.map(({ message }) => message)),
      [
        'shop/policy-0 selects shop/frontend[Pod] (every pod of shop) and isolates its egress; has no rule for it, so it allows none',
        'shop/policy-1 selects shop/frontend[Pod] (app=web) and isolates its egress; this traffic is allowed by 1 of its rules (1)',
        'shop/policy-0 selects shop/backend[Pod] (every pod of shop) and isolates its ingress; has no rule for it, so it allows none',
      ],
    );
    assert.deepEqual(explained.nearest, []);
  });

  it('puts the rule with the least amiss first', () => {
    const explained = explain(
      model(
        ingress({ podSelector: { matchLabels: { app: 'x', tier: 'y', zone: 'z' } } }),
        ingress({ ipBlock: { cidr: '10.0.0.0/8' } }),
        ingress({ podSelector: { matchLabels: { app: 'x' } } }, [{ port: 1 }]),
        ingress({ podSelector: { matchLabels: { app: 'x' } } }),
        ingress({ podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] } }),
      ),
      source,
      destination,
      HTTP,
    );
    assert.deepEqual(
      explained.nearest.map(({ policy, distance }) => [policy, distance]),
      [
        ['shop/policy-3', 1],
        ['shop/policy-4', 1],
        ['shop/policy-2', 2],
      ],
    );
  });

  it('changes both sides when both deny', () => {
    const explained = explain(model({ policyTypes: ['Ingress', 'Egress'] }), source, destination, HTTP);
    assert.deepEqual(changeMessages(explained), [
      'add a policy to shop for the egress of shop/frontend[Pod] that allows 8080/TCP to shop/backend[Pod]',
      'add a policy to shop for the ingress of shop/backend[Pod] that allows 8080/TCP from shop/frontend[Pod]',
    ]);
    assert.deepEqual(
      explained.change?.map((change) => change.kind === 'AddPolicy' && change.policy),
      [
        {
          metadata: { namespace: 'shop', name: 'allow-egress' },
          spec: {
            podSelector: { matchLabels: { app: 'web' } },
            policyTypes: ['Egress'],
            egress: [
              {
                to: [{ podSelector: { matchLabels: { app: 'backend' } } }],
                ports: [{ protocol: 'TCP', port: 8080 }],
              },
            ],
          },
        },
        {
          metadata: { namespace: 'shop', name: 'allow-ingress' },
          spec: {
            podSelector: { matchLabels: { app: 'backend' } },
            policyTypes: ['Ingress'],
            ingress: [
              {
                from: [{ podSelector: { matchLabels: { app: 'web' } } }],
                ports: [{ protocol: 'TCP', port: 8080 }],
              },
            ],
          },
        },
      ],
    );
  });

  it('leaves policies of the operator as they are: it would undo a change', () => {
    const labels = { 'app.kubernetes.io/managed-by': 'baseline-policy-operator' };
    const policy = networkPolicy('shop/base.web', ingress({ podSelector: {} }));
    const of = modelOf({
      workloads: [frontend, backend],
      policies: [{ ...policy, metadata: { ...policy.metadata, labels } }],
    });
    assert.deepEqual(changeMessages(explain(of, source, destination, PortSet.range('TCP', 8081))), [
      'add a policy to shop for the ingress of shop/backend[Pod] that allows 8081/TCP from shop/frontend[Pod]',
    ]);
    assert.deepEqual(changeMessages(explain(of, source, destination, HTTP)), [
      'remove spec.ingress[0] of shop/base.web, in the BaselinePolicy that makes it',
    ]);
  });

  it('does not propose a label that makes another policy select the pod', () => {
    const of = model(ingress({ podSelector: { matchLabels: { role: 'client' } } }), {
      podSelector: { matchLabels: { role: 'client' } },
      policyTypes: ['Egress'],
    });
    assert.deepEqual(changeMessages(explain(of, source, destination, HTTP)), [
      'add a rule to spec.ingress of shop/policy-0 that allows 8080/TCP from shop/frontend[Pod]',
    ]);
  });

  it('does not propose a label that takes the pod out of another policy', () => {
    const client = { podSelector: { matchLabels: { app: 'client' } } };
    const proposed = (...more: NetworkPolicySpec[]): string[] =>
      changeMessages(explain(model(ingress(client), ...more), source, destination, HTTP));
    assert.deepEqual(proposed(), ['on the pods of shop/frontend[Pod], set the label app=client']);
    const addRule = ['add a rule to spec.ingress of shop/policy-0 that allows 8080/TCP from shop/frontend[Pod]'];
    const selecting = { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Egress' as const], egress: [{}] };
    assert.deepEqual(proposed(selecting), addRule);
    const speaking = { ...ingress({ podSelector: { matchLabels: { app: 'web' } } }), podSelector: client.podSelector };
    assert.deepEqual(proposed(speaking), addRule);
  });

  it('does not propose a rule in a policy that selects other pods too', () => {
    const all: NetworkPolicySpec = {
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: { matchLabels: { app: 'backend' } } }] }],
    };
    const own = { ...all, podSelector: { matchLabels: { app: 'web' } } };
    const proposed = (...specs: NetworkPolicySpec[]): string[] =>
      changeMessages(explain(model(...specs), source, other, HTTP));
    assert.deepEqual(proposed(all), [
      'add a policy to shop for the egress of shop/frontend[Pod] that allows 8080/TCP to bank/teller[Pod]',
    ]);
    assert.deepEqual(proposed(all, own), [
      'add a rule to spec.egress of shop/policy-1 that allows 8080/TCP to bank/teller[Pod]',
    ]);
  });

  it('proposes nothing that the rest makes needless', () => {
    const client = { podSelector: { matchLabels: { role: 'client' } } };
    const of = model(
      ingress(client),
      { policyTypes: ['Egress'] },
      { ...client, policyTypes: ['Egress'], egress: [{}] },
    );
    assert.deepEqual(changeMessages(explain(of, source, destination, HTTP)), [
      'on the pods of shop/frontend[Pod], set the label role=client',
    ]);
  });

  it('says what takes an allowed connection away', () => {
    assert.deepEqual(changeMessages(explain(model(ingress({ podSelector: {} })), source, destination, HTTP)), [
      'remove spec.ingress[0] of shop/policy-0',
    ]);
    const [change] = explain(model(), source, destination, HTTP).change ?? [];
    assert.equal(change?.kind, 'AddPolicy');
    assert.deepEqual(change.policy, {
      metadata: { namespace: 'shop', name: 'deny-ingress' },
      spec: { podSelector: { matchLabels: { app: 'backend' } }, policyTypes: ['Ingress'] },
    });
  });

  it('has nothing to say or to change where a pod reaches itself', () => {
    const { decision, sides, change } = explain(model({ policyTypes: ['Ingress', 'Egress'] }), source, source, HTTP);
    assert.deepEqual([decision.verdict, sides, change], ['allow', [], undefined]);
  });

  it('explains one of many addresses, and opens no more than the public ones', () => {
    const of = model({
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['8.8.8.0/24'] } }] }],
    });
    const explained = explain(of, source, internetTarget(of), HTTP);
    assert.equal(explained.decision.verdict, 'depends');
    assert.equal(explained.destination, 'internet');
    assert.equal(explained.sides[0]?.peer, '8.8.8.0-8.8.8.255');
    const [change] = explained.change ?? [];
    assert.equal(change?.kind, 'AddRule');
    const block = change.peers[0]?.ipBlock;
    assert.equal(block?.cidr, '0.0.0.0/0');
    assert.ok(block.except?.includes('10.0.0.0/8'));
  });

  it('opens one address by a block of one', () => {
    const of = model({ policyTypes: ['Ingress'] });
    const [change] = explain(of, addressTarget('2001:db8::1'), destination, HTTP).change ?? [];
    assert.equal(change?.kind, 'AddPolicy');
    assert.deepEqual(change.policy.spec?.ingress?.[0]?.from, [{ ipBlock: { cidr: '2001:db8::1/128' } }]);
  });

  it('proposes changes that turn the verdict', () => {
    const of = model(
      ingress({ podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] } }),
    );
    const { change = [] } = explain(of, source, destination, HTTP);
    const changed = readModel(applyChanges(of.cluster, change));
    const [again] = changed.workloads.filter(({ name }) => name === 'frontend').map(workloadTarget);
    assert.ok(again);
    assert.equal(decide(changed, again, destination, HTTP).verdict, 'allow');
    assert.deepEqual(changeMessages(explain(of, source, destination, HTTP)), [
      'on the pods of shop/frontend[Pod], remove the label app',
    ]);
  });
});
