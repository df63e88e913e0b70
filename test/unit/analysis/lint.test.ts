import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseAllDocuments } from 'yaml';
import { applyChanges, type Change } from '../../../src/analysis/change.ts';
import { workloadName } from '../../../src/analysis/cluster.ts';
import { CODES, type Code, type CodeDescription } from '../../../src/analysis/lint/codes.ts';
import type { LintOptions } from '../../../src/analysis/lint/context.ts';
import type { Finding } from '../../../src/analysis/lint/finding.ts';
import { lint } from '../../../src/analysis/lint/lint.ts';
import { ANNOTATION_LINT_IGNORE, readSilences } from '../../../src/analysis/lint/silence.ts';
import { impact } from '../../../src/analysis/impact.ts';
import { readModel } from '../../../src/analysis/model.ts';
import { PROFILES } from '../../../src/analysis/profiles.ts';
import type { BaselinePolicySpec } from '../../../src/api/baselinepolicy.ts';
import { LABEL_MANAGED_BY, LABEL_RULE, MANAGER } from '../../../src/api/names.ts';
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';
import { clusters } from '../../support/cluster-arbitraries.ts';
import { frozen, namespace, policy } from '../../support/fixtures.ts';

type Parts = Parameters<typeof modelOf>[0];

/** A cluster with what lint is expected to say of it under one code. */
interface Case {
  readonly title: string;
  readonly parts: Parts;
  readonly options?: LintOptions;
  /** Each as `Kind namespace/name path: message`, of which the message may be cut short; none for a near miss. */
  readonly expected?: readonly string[];
}

/** Findings of a code, in the form of `expected`. */
function findingsOf(code: Code, { parts, options }: Pick<Case, 'parts' | 'options'>): string[] {
  return lint(modelOf(parts), options)
    .filter((finding) => finding.code === code)
    .map(show);
}

function show({ object, path, message }: Finding): string {
  const name = object.namespace === undefined ? object.name : `${object.namespace}/${object.name}`;
  return `${object.kind} ${name} ${path}: ${message}`;
}

/** A NetworkPolicy as the operator makes them. */
function managed(id: string, spec: NetworkPolicySpec, rule = 'default-deny'): NetworkPolicy {
  const { metadata } = networkPolicy(id, spec);
  return { metadata: { ...metadata, labels: { [LABEL_MANAGED_BY]: MANAGER, [LABEL_RULE]: rule } }, spec };
}

const web = workload('shop/web', { ports: [{ name: 'http', protocol: 'TCP', port: 8080 }] });
const db = workload('shop/db', { ports: [{ name: 'sql', protocol: 'TCP', port: 5432 }] });
const coredns = workload('kube-system/coredns', {
  labels: { 'k8s-app': 'kube-dns' },
  ports: [
    { name: 'dns', protocol: 'UDP', port: 53 },
    { name: 'dns-tcp', protocol: 'TCP', port: 53 },
  ],
});
const prometheus = workload('monitoring/prometheus');

const ofWeb = { matchLabels: { app: 'web' } };
const ofDB = { matchLabels: { app: 'db' } };
const fromWeb: NetworkPolicyPeer[] = [{ podSelector: ofWeb }];
const fromMonitoring: NetworkPolicyPeer[] = [
  { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } },
];
const toDNS: NetworkPolicyPeer[] = [
  {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
    podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
  },
];
const dnsPorts = [
  { protocol: 'UDP' as const, port: 53 },
  { protocol: 'TCP' as const, port: 53 },
];
const denyAll: NetworkPolicySpec = { podSelector: {}, policyTypes: ['Ingress', 'Egress'] };

function ingress(from: NetworkPolicyPeer[] | undefined, more: NetworkPolicySpec = {}): NetworkPolicySpec {
  return { podSelector: {}, policyTypes: ['Ingress'], ingress: [from === undefined ? {} : { from }], ...more };
}

function egress(to: NetworkPolicyPeer[] | undefined, more: NetworkPolicySpec = {}): NetworkPolicySpec {
  return { podSelector: {}, policyTypes: ['Egress'], egress: [to === undefined ? {} : { to }], ...more };
}

/** A cluster of one policy. */
function one(spec: NetworkPolicySpec | string, more: Parts = {}): Parts {
  return { policies: [networkPolicy('shop/p', spec)], ...more };
}

const CASES: Record<Code, { hits: readonly Case[]; misses: readonly Case[] }> = {
  BPL001: {
    hits: [
      {
        title: 'no policyTypes and only ingress rules',
        parts: one({ podSelector: {}, ingress: [{}] }),
        expected: ['NetworkPolicy shop/p spec.policyTypes: policyTypes is missing; it is taken to be [Ingress]'],
      },
      {
        title: 'null with an egress rule',
        parts: one('{"podSelector":{},"policyTypes":null,"egress":[{}]}'),
        expected: [
          'NetworkPolicy shop/p spec.policyTypes: policyTypes is missing; it is taken to be [Ingress, Egress]',
        ],
      },
      {
        title: 'an empty list',
        parts: one({ podSelector: {}, policyTypes: [] }),
        expected: ['NetworkPolicy shop/p spec.policyTypes: policyTypes is missing'],
      },
    ],
    misses: [{ title: 'one type', parts: one({ podSelector: {}, policyTypes: ['Egress'] }) }],
  },
  BPL002: {
    hits: [
      {
        title: 'egress rules without the type',
        parts: one({ podSelector: {}, policyTypes: ['Ingress'], egress: [{}, { to: fromWeb }] }),
        expected: ['NetworkPolicy shop/p spec.egress: 2 rules have no effect: policyTypes lacks Egress'],
      },
      {
        title: 'ingress rules without the type',
        parts: one({ podSelector: {}, policyTypes: ['Egress'], ingress: [{}] }),
        expected: ['NetworkPolicy shop/p spec.ingress: 1 rule has no effect: policyTypes lacks Ingress'],
      },
      {
        title: 'an empty list that is to deny',
        parts: one({ podSelector: {}, egress: [] }),
        expected: ['NetworkPolicy shop/p spec.egress: an empty list denies nothing: without policyTypes'],
      },
    ],
    misses: [
      { title: 'rules of types that are there', parts: one({ ...denyAll, ingress: [{}], egress: [{}] }) },
      { title: 'rules of types that are derived', parts: one({ podSelector: {}, ingress: [], egress: [{}] }) },
      { title: 'null', parts: one('{"podSelector":{},"policyTypes":["Ingress"],"egress":null}') },
    ],
  },
  BPL003: {
    hits: [
      {
        title: 'ingress alone on pods of which some have no egress policy',
        parts: {
          workloads: [web, db],
          policies: [
            networkPolicy('shop/p', ingress(fromWeb)),
            networkPolicy('shop/web', { podSelector: ofWeb, policyTypes: ['Egress'] }),
          ],
        },
        expected: [
          'NetworkPolicy shop/p spec.policyTypes: the policy isolates only ingress, and no other policy isolates 1 of its 2',
        ],
      },
      {
        title: 'ingress alone where no workload is given',
        parts: one(ingress(fromWeb, { podSelector: ofDB })),
        expected: ['NetworkPolicy shop/p spec.policyTypes: the policy isolates only ingress'],
      },
    ],
    misses: [
      {
        title: 'egress that another policy isolates',
        parts: {
          workloads: [web, db],
          policies: [networkPolicy('shop/deny', denyAll), networkPolicy('shop/p', ingress(fromWeb))],
        },
      },
      {
        title: 'the same where no workload is given',
        parts: {
          policies: [
            networkPolicy('shop/deny', denyAll),
            networkPolicy('shop/p', ingress(fromWeb, { podSelector: ofDB })),
          ],
        },
      },
      { title: 'a child of the operator', parts: { policies: [managed('shop/b.allow-monitoring', ingress(fromWeb))] } },
      {
        title: 'pods of the host network alone',
        parts: one(ingress(fromWeb), { workloads: [{ ...web, hostNetwork: true }] }),
      },
    ],
  },
  BPL004: {
    hits: [
      {
        title: 'labels that no pod has',
        parts: one({ ...denyAll, podSelector: { matchLabels: { app: 'wbe' } } }, { workloads: [web, db] }),
        expected: ['NetworkPolicy shop/p spec.podSelector: none of the 2 workloads of the namespace shop has app=wbe'],
      },
      {
        title: 'labels that a pod of another namespace has',
        parts: one({ ...denyAll, podSelector: ofWeb }, { workloads: [workload('other/web')] }),
        expected: ['NetworkPolicy shop/p spec.podSelector: no workload of the namespace shop is known'],
      },
    ],
    misses: [
      { title: 'labels that a pod has', parts: one({ ...denyAll, podSelector: ofWeb }, { workloads: [web] }) },
      {
        title: 'a selector of all pods in an empty namespace',
        parts: one(denyAll, { workloads: [workload('other/web')] }),
      },
      { title: 'an input without workloads', parts: one({ ...denyAll, podSelector: ofWeb }) },
    ],
  },
  BPL005: {
    hits: [
      {
        title: 'labels that no pod of the own namespace has',
        parts: one(ingress([{ podSelector: ofDB }, { podSelector: { matchLabels: { app: 'ghost' } } }]), {
          workloads: [web, db],
        }),
        expected: [
          'NetworkPolicy shop/p spec.ingress[0].from[1].podSelector: none of the 2 workloads of the own namespace shop has app=ghost',
        ],
      },
      {
        title: 'labels that no pod of the selected namespace has',
        parts: one(egress([{ ...fromMonitoring[0], podSelector: ofWeb }]), { workloads: [web, prometheus] }),
        expected: [
          'NetworkPolicy shop/p spec.egress[0].to[0].podSelector: the only workload of the namespace monitoring does not have app=web',
        ],
      },
      {
        title: 'a namespace that is empty in a live cluster',
        parts: one(ingress(fromMonitoring), { workloads: [web], namespaces: { monitoring: {} } }),
        options: { isComplete: true },
        expected: [
          'NetworkPolicy shop/p spec.ingress[0].from[0].namespaceSelector: no workload of the namespace monitoring is known',
        ],
      },
    ],
    misses: [
      { title: 'a pod that matches', parts: one(ingress(fromWeb), { workloads: [web] }) },
      {
        title: 'pods of the own namespace, of which none is given',
        parts: one(ingress(fromWeb), { workloads: [workload('other/web')] }),
      },
      {
        title: 'pods of a namespace of which none is given',
        parts: one(ingress(fromMonitoring), { workloads: [web], namespaces: { monitoring: {} } }),
      },
      {
        title: 'a child of the operator',
        parts: { workloads: [db], policies: [managed('shop/b.a', ingress(fromWeb))] },
      },
      { title: 'an ipBlock', parts: one(egress([{ ipBlock: { cidr: '203.0.113.0/24' } }]), { workloads: [web] }) },
      { title: 'rules without effect', parts: one(ingress(fromWeb, { policyTypes: ['Egress'] }), { workloads: [db] }) },
    ],
  },
  BPL006: {
    hits: [
      {
        title: 'a label that no namespace has',
        parts: one(ingress([{ namespaceSelector: { matchLabels: { team: 'red' } } }]), {
          namespaces: { shop: { team: 'blue' } },
        }),
        expected: ['NetworkPolicy shop/p spec.ingress[0].from[0].namespaceSelector: no known namespace has team=red'],
      },
      {
        title: 'a name that no namespace has',
        parts: one(ingress(fromMonitoring), { workloads: [web] }),
        expected: [
          'NetworkPolicy shop/p spec.ingress[0].from[0].namespaceSelector: no known namespace has kubernetes.io/metadata.name=monitoring',
        ],
      },
      {
        title: 'kube-system that a live cluster has not',
        parts: one(egress(toDNS), { workloads: [web] }),
        options: { isComplete: true },
        expected: [
          'NetworkPolicy shop/p spec.egress[0].to[0].namespaceSelector: no known namespace has kubernetes.io/metadata.name=kube-system',
        ],
      },
    ],
    misses: [
      { title: 'a namespace that is there', parts: one(ingress(fromMonitoring), { namespaces: { monitoring: {} } }) },
      { title: 'kube-system, which every cluster has', parts: one(egress(toDNS), { workloads: [web] }) },
      {
        title: 'labels where no Namespace is given',
        parts: one(ingress([{ namespaceSelector: { matchLabels: { team: 'red' } } }]), { workloads: [web] }),
      },
      { title: 'a policy alone', parts: one(ingress(fromMonitoring)) },
    ],
  },
  BPL007: {
    hits: [
      {
        title: 'a name that the selected pods do not have',
        parts: one(
          { podSelector: ofWeb, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 80 }, { port: 'metrics' }] }] },
          { workloads: [web] },
        ),
        expected: [
          'NetworkPolicy shop/p spec.ingress[0].ports[1].port: no pod of the workload that the policy selects has a TCP port named metrics; there are http (8080/TCP)',
        ],
      },
      {
        title: 'a name that the destination has with another protocol',
        parts: one(
          egress(undefined, { egress: [{ to: [{ podSelector: ofDB }], ports: [{ protocol: 'UDP', port: 'sql' }] }] }),
          { workloads: [web, db] },
        ),
        expected: [
          'NetworkPolicy shop/p spec.egress[0].ports[0].port: no pod of the workload that the rule is for in to has a UDP port named sql',
        ],
      },
      {
        title: 'a name for addresses outside the cluster',
        parts: one(
          egress(undefined, {
            egress: [{ to: [{ ipBlock: { cidr: '203.0.113.0/24' } }], ports: [{ port: 'https' }] }],
          }),
        ),
        expected: [
          'NetworkPolicy shop/p spec.egress[0].ports[0].port: an address outside the cluster has no port named https',
        ],
      },
    ],
    misses: [
      {
        title: 'a name that one of the selected pods has',
        parts: one(ingress(undefined, { ingress: [{ ports: [{ port: 'http' }] }] }), { workloads: [web, db] }),
      },
      {
        title: 'a name that the destination has and the selected pods do not',
        parts: one(
          egress(undefined, {
            podSelector: ofWeb,
            egress: [{ to: [{ podSelector: ofDB }], ports: [{ port: 'sql' }] }],
          }),
          { workloads: [web, db] },
        ),
      },
      {
        title: 'a destination of which nothing is given',
        parts: one(egress(undefined, { egress: [{ to: toDNS, ports: [{ port: 'dns' }] }] }), { workloads: [web] }),
      },
      {
        title: 'a child of the operator, which is for all pods',
        parts: {
          workloads: [db],
          policies: [managed('shop/b.a', ingress(undefined, { ingress: [{ ports: [{ port: 'http' }] }] }))],
        },
      },
    ],
  },
  BPL008: {
    hits: [
      {
        title: 'a rule that another of the policy goes beyond',
        parts: one(
          ingress(undefined, {
            ingress: [
              { from: fromWeb, ports: [{ port: 80 }] },
              { from: [{ podSelector: {} }], ports: [{ port: 1, endPort: 100 }] },
            ],
          }),
        ),
        expected: ['NetworkPolicy shop/p spec.ingress[0]: spec.ingress[1] allows all that this rule allows, and more'],
      },
      {
        title: 'a rule that one of another policy for more pods goes beyond',
        parts: {
          policies: [
            networkPolicy(
              'shop/a',
              egress([{ ipBlock: { cidr: '10.1.0.0/16', except: ['10.1.1.0/24'] } }], { podSelector: ofWeb }),
            ),
            networkPolicy('shop/b', egress([{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.1.1/32'] } }])),
          ],
        },
        expected: [
          'NetworkPolicy shop/a spec.egress[0]: spec.egress[0] of b allows all that this rule allows, and more',
        ],
      },
    ],
    misses: [
      {
        title: 'a rule for more ports',
        parts: one(
          ingress(undefined, {
            ingress: [
              { from: fromWeb, ports: [{ port: 80 }] },
              { from: [{ podSelector: {} }], ports: [{ port: 81 }] },
            ],
          }),
        ),
      },
      {
        title: 'a wider rule for fewer pods',
        parts: {
          policies: [
            networkPolicy('shop/a', ingress(fromWeb)),
            networkPolicy('shop/b', ingress(undefined, { podSelector: ofDB })),
          ],
        },
      },
      {
        title: 'a wider rule of another namespace, or direction',
        parts: {
          policies: [
            networkPolicy('shop/a', ingress(fromWeb)),
            networkPolicy('other/b', ingress(undefined)),
            networkPolicy('shop/c', egress(undefined)),
          ],
        },
      },
      {
        title: 'a wider rule with an exception',
        parts: one(
          egress(undefined, {
            egress: [
              { to: [{ ipBlock: { cidr: '10.1.0.0/16' } }] },
              { to: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.1.1/32'] } }] },
            ],
          }),
        ),
      },
      {
        title: 'a child of the operator',
        parts: { policies: [managed('shop/b.a', ingress(fromWeb)), networkPolicy('shop/p', ingress(undefined))] },
      },
    ],
  },
  BPL009: {
    hits: [
      {
        title: 'a rule twice, in other words',
        parts: one(
          ingress(undefined, {
            ingress: [
              { from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 80 }] },
              {
                from: [{ podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['web'] }] } }],
                ports: [{ protocol: 'TCP', port: 80, endPort: 80 }],
              },
            ],
          }),
        ),
        expected: ['NetworkPolicy shop/p spec.ingress[1]: spec.ingress[0] allows the same'],
      },
      {
        title: 'a rule that the baseline has',
        parts: { policies: [networkPolicy('shop/a', egress(toDNS)), managed('shop/b.allow-dns', egress(toDNS))] },
        expected: ['NetworkPolicy shop/a spec.egress[0]: spec.egress[0] of b.allow-dns allows the same'],
      },
    ],
    misses: [
      {
        title: 'the same rule for other pods',
        parts: {
          policies: [
            networkPolicy('shop/a', ingress(fromWeb, { podSelector: ofWeb })),
            networkPolicy('shop/b', ingress(fromWeb, { podSelector: ofDB })),
          ],
        },
      },
      {
        title: 'peers that look the same in two namespaces',
        parts: { policies: [networkPolicy('shop/a', ingress(fromWeb)), networkPolicy('other/a', ingress(fromWeb))] },
      },
    ],
  },
  BPL010: {
    hits: [
      ...[
        ['an empty rule', '{"podSelector":{},"ingress":[{}]}', ''],
        ['an empty from', '{"podSelector":{},"ingress":[{"from":[],"ports":[]}]}', ''],
        ['all namespaces', '{"podSelector":{},"ingress":[{"from":[{"namespaceSelector":{}}]}]}', '.from'],
        [
          'all pods',
          '{"podSelector":{},"ingress":[{"from":[{"namespaceSelector":{},"podSelector":{"matchLabels":{}}}]}]}',
          '.from',
        ],
        ['every address', '{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"0.0.0.0/0"}}]}]}', '.from'],
        [
          'every IPv6 address',
          '{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","except":[]}}]}]}',
          '.from',
        ],
        [
          'halves',
          '{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"0.0.0.0/1"}},{"ipBlock":{"cidr":"128.0.0.0/1"}}]}]}',
          '.from',
        ],
      ].map(([title = '', spec = '', field = '']) => ({
        title,
        parts: one(spec),
        expected: [`NetworkPolicy shop/p spec.ingress[0]${field}: the rule opens all ports from every`],
      })),
      {
        title: 'an empty to of a child of the operator',
        parts: { policies: [managed('shop/b.more', egress([]))] },
        expected: ['NetworkPolicy shop/b.more spec.egress[0]: the rule opens all ports to everyone'],
      },
    ],
    misses: [
      { title: 'pods of the own namespace', parts: one(ingress([{ podSelector: {} }])) },
      { title: 'no rules', parts: one({ ...denyAll, ingress: [], egress: [] }) },
      { title: 'one port', parts: one(ingress(undefined, { ingress: [{ ports: [{ port: 443 }] }] })) },
      { title: 'one protocol', parts: one(ingress(undefined, { ingress: [{ ports: [{ protocol: 'TCP' }] }] })) },
      { title: 'the internet', parts: one(egress([{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } }])) },
      {
        title: 'halves with a hole',
        parts: one(
          egress([
            { ipBlock: { cidr: '0.0.0.0/1' } },
            { ipBlock: { cidr: '128.0.0.0/1', except: ['192.168.0.0/16'] } },
          ]),
        ),
      },
      { title: 'a rule without effect', parts: one(ingress(undefined, { policyTypes: ['Egress'] })) },
    ],
  },
  BPL011: {
    hits: [
      {
        title: 'one port for everyone',
        parts: one(ingress(undefined, { ingress: [{ ports: [{ port: 443 }, { port: 'http' }] }] })),
        expected: ['NetworkPolicy shop/p spec.ingress[0]: the rule opens 443/TCP, http/TCP from everyone'],
      },
    ],
    misses: [
      { title: 'every port', parts: one(ingress(undefined)) },
      {
        title: 'one port for some',
        parts: one(ingress(undefined, { ingress: [{ from: fromWeb, ports: [{ port: 443 }] }] })),
      },
      {
        title: 'a child of the operator',
        parts: { policies: [managed('shop/b.a', ingress(undefined, { ingress: [{ ports: [{ port: 443 }] }] }))] },
      },
    ],
  },
  BPL012: {
    hits: [
      {
        title: 'all workloads of a namespace',
        parts: one(denyAll, { workloads: [web, db, coredns] }),
        expected: [
          'Namespace shop metadata.name: none of the 2 workloads can reach 53/TCP, 53/UDP of the DNS of the cluster',
        ],
      },
      {
        title: 'TCP of one workload',
        parts: one(
          egress(undefined, { podSelector: ofWeb, egress: [{ to: toDNS, ports: [{ protocol: 'UDP', port: 53 }] }] }),
          {
            workloads: [web, db, coredns],
          },
        ),
        expected: ['Pod shop/web metadata.name: shop/web[Pod] cannot reach 53/TCP of the DNS of the cluster'],
      },
      {
        title: 'pods of which none is given',
        parts: {
          policies: [
            networkPolicy('shop/deny', denyAll),
            networkPolicy('shop/p', egress(fromWeb, { podSelector: ofDB })),
          ],
        },
        expected: ['NetworkPolicy shop/deny spec.egress: pods that the policy selects cannot reach 53/TCP, 53/UDP'],
      },
      {
        title: 'a rule for the internet alone',
        parts: one(egress([{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '192.168.0.0/16'] } }]), {
          workloads: [web],
        }),
        expected: ['Pod shop/web metadata.name: shop/web[Pod] cannot reach 53/TCP, 53/UDP'],
      },
      {
        title: 'DNS pods that do not let the workload in',
        parts: {
          workloads: [web, coredns],
          policies: [
            networkPolicy('shop/p', egress(undefined)),
            networkPolicy('kube-system/p', { podSelector: {}, policyTypes: ['Ingress'] }),
          ],
        },
        expected: ['Pod shop/web metadata.name: shop/web[Pod] cannot reach 53/TCP, 53/UDP'],
      },
      {
        title: 'addresses of DNS pods, with a plugin whose ipBlocks match no pods',
        parts: one(egress([{ ipBlock: { cidr: '10.0.0.0/8' } }]), {
          workloads: [web, { ...coredns, ips: ['10.0.0.9'] }],
        }),
        options: { profile: PROFILES.cilium },
        expected: ['Pod shop/web metadata.name: shop/web[Pod] cannot reach 53/TCP, 53/UDP'],
      },
    ],
    misses: [
      {
        title: 'no policy for egress',
        parts: one({ podSelector: {}, policyTypes: ['Ingress'] }, { workloads: [web, coredns] }),
      },
      {
        title: 'a rule for DNS',
        parts: one(egress(undefined, { egress: [{ to: toDNS, ports: dnsPorts }] }), { workloads: [web, coredns] }),
      },
      {
        title: 'a rule for DNS where no DNS pod is given',
        parts: one(egress(undefined, { egress: [{ to: toDNS, ports: dnsPorts }] }), { workloads: [web] }),
      },
      {
        title: 'names of ports of DNS pods',
        parts: one(
          egress(undefined, {
            egress: [
              {
                to: toDNS,
                ports: [
                  { protocol: 'UDP', port: 'dns' },
                  { protocol: 'TCP', port: 'dns-tcp' },
                ],
              },
            ],
          }),
        ),
      },
      {
        title: 'a rule of another policy for the same pods',
        parts: {
          policies: [
            networkPolicy('shop/deny', denyAll),
            networkPolicy('shop/p', egress(undefined, { egress: [{ ports: dnsPorts }] })),
          ],
        },
      },
      {
        title: 'the address of the cache on the node',
        parts: one(
          egress(undefined, { egress: [{ to: [{ ipBlock: { cidr: '169.254.20.10/32' } }], ports: dnsPorts }] }),
          {
            workloads: [web, coredns],
          },
        ),
      },
      {
        title: 'DNS pods themselves',
        parts: { workloads: [coredns], policies: [networkPolicy('kube-system/p', denyAll)] },
      },
      {
        title: 'addresses of DNS pods',
        parts: one(egress([{ ipBlock: { cidr: '10.0.0.0/8' } }]), {
          workloads: [web, { ...coredns, ips: ['10.0.0.9'] }],
        }),
      },
    ],
  },
  BPL013: {
    hits: [
      {
        title: 'a namespace without policies',
        parts: { workloads: [web, db] },
        expected: [
          'Namespace shop metadata.name: none of the 2 workloads is isolated for egress: no policy selects',
          'Namespace shop metadata.name: none of the 2 workloads is isolated for ingress: no policy selects',
        ],
      },
      {
        title: 'a workload that no policy selects',
        parts: one({ ...denyAll, podSelector: ofWeb }, { workloads: [web, db] }),
        expected: [
          'Pod shop/db metadata.name: shop/db[Pod] is not isolated for egress: no policy',
          'Pod shop/db metadata.name: shop/db[Pod] is not isolated for ingress: no policy',
        ],
      },
      {
        title: 'a rule that opens everything again',
        parts: {
          workloads: [web],
          policies: [
            networkPolicy('shop/deny', denyAll),
            networkPolicy('shop/open', ingress(undefined, { podSelector: ofWeb })),
          ],
        },
        expected: [
          'Pod shop/web metadata.name: shop/web[Pod] is not isolated for ingress: rules of open open everything',
        ],
      },
      {
        title: 'rules that open everything together',
        parts: {
          workloads: [web],
          policies: [
            networkPolicy('shop/pods', egress([{ namespaceSelector: {} }])),
            networkPolicy('shop/rest', { ...denyAll, egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0' } }] }] }),
          ],
        },
        expected: [
          'Pod shop/web metadata.name: shop/web[Pod] is not isolated for egress: rules of pods, rest open everything',
        ],
      },
    ],
    misses: [
      { title: 'a default-deny', parts: one(denyAll, { workloads: [web, db] }) },
      {
        title: 'a rule for everyone with a port',
        parts: one({ ...denyAll, ingress: [{ ports: [{ port: 443 }] }] }, { workloads: [web] }),
      },
      {
        title: 'rules for every pod, but not for addresses',
        parts: one({ ...denyAll, ingress: [{ from: [{ namespaceSelector: {} }] }] }, { workloads: [web] }),
      },
      { title: 'kube-system', parts: { workloads: [coredns] } },
      { title: 'the host network', parts: { workloads: [{ ...web, hostNetwork: true }] } },
    ],
  },
  BPL014: {
    hits: [
      {
        title: 'the label name',
        parts: one(egress([{ namespaceSelector: { matchLabels: { name: 'kube-system' } } }]), {
          namespaces: { 'kube-system': {} },
        }),
        expected: [
          'NetworkPolicy shop/p spec.egress[0].to[0].namespaceSelector: no namespace is known to have the label name=kube-system',
        ],
      },
      {
        title: 'an expression of a child of the operator',
        parts: {
          policies: [
            managed(
              'shop/b.a',
              ingress([
                { namespaceSelector: { matchExpressions: [{ key: 'name', operator: 'In', values: ['a', 'b'] }] } },
              ]),
            ),
          ],
        },
        expected: [
          'NetworkPolicy shop/b.a spec.ingress[0].from[0].namespaceSelector: no namespace is known to have the label name in (a,b)',
        ],
      },
    ],
    misses: [
      {
        title: 'a namespace that has the label',
        parts: one(egress([{ namespaceSelector: { matchLabels: { name: 'dns' } } }]), {
          namespaces: { 'kube-system': { name: 'dns' } },
        }),
      },
      { title: 'a label name of pods', parts: one(ingress([{ podSelector: { matchLabels: { name: 'web' } } }])) },
    ],
  },
  BPL015: {
    hits: [
      {
        title: 'the address of a pod',
        parts: one(egress([{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.9.0.0/16'] } }]), {
          workloads: [web, { ...db, ips: ['fd00::1', '10.1.2.3'] }],
        }),
        expected: [
          'NetworkPolicy shop/p spec.egress[0].to[0].ipBlock: 10.0.0.0/8 except 10.9.0.0/16 has 10.1.2.3 of shop/db[Pod]; whether',
        ],
      },
      {
        title: 'a private range with a plugin whose ipBlocks match pods',
        parts: one(ingress([{ ipBlock: { cidr: '10.244.0.0/16' } }])),
        options: { profile: PROFILES.calico },
        expected: [
          'NetworkPolicy shop/p spec.ingress[0].from[0].ipBlock: 10.244.0.0/16 is private and has no exceptions',
        ],
      },
    ],
    misses: [
      {
        title: 'the range of pods as an exception',
        parts: one(egress([{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }]), {
          workloads: [{ ...db, ips: ['10.1.2.3'] }],
        }),
      },
      {
        title: 'the address of a node',
        parts: one(egress([{ ipBlock: { cidr: '10.0.0.0/8' } }]), {
          workloads: [{ ...db, hostNetwork: true, ips: ['10.1.2.3'] }],
        }),
      },
      { title: 'a private range with an unknown plugin', parts: one(egress([{ ipBlock: { cidr: '10.0.0.0/8' } }])) },
      {
        title: 'one private address',
        parts: one(egress([{ ipBlock: { cidr: '10.1.2.3/32' } }])),
        options: { profile: PROFILES.calico },
      },
      {
        title: 'a public range',
        parts: one(egress([{ ipBlock: { cidr: '203.0.113.0/24' } }])),
        options: { profile: PROFILES.calico },
      },
      {
        title: 'a private range where pods are known to be elsewhere',
        parts: one(egress([{ ipBlock: { cidr: '192.168.0.0/16' } }]), { workloads: [{ ...db, ips: ['10.1.2.3'] }] }),
        options: { profile: PROFILES.calico },
      },
    ],
  },
  BPL016: {
    hits: [
      {
        title: 'a rule for everyone beside a default-deny',
        parts: {
          workloads: [web],
          policies: [
            managed('shop/b.default-deny', denyAll),
            networkPolicy('shop/p', ingress([], { podSelector: ofWeb })),
          ],
        },
        expected: [
          'NetworkPolicy shop/p spec.ingress[0]: the rule opens all ports from everyone, which the baseline policy b.default-deny closes',
        ],
      },
      {
        title: 'the same where no workload is given',
        parts: {
          policies: [
            managed('shop/b.default-deny', denyAll),
            networkPolicy('shop/p', egress([{ namespaceSelector: {} }], { podSelector: ofWeb })),
          ],
        },
        expected: ['NetworkPolicy shop/p spec.egress[0].to: the rule opens all ports to every pod of the cluster'],
      },
    ],
    misses: [
      {
        title: 'a rule for some',
        parts: { policies: [managed('shop/b.default-deny', denyAll), networkPolicy('shop/p', ingress(fromWeb))] },
      },
      {
        title: 'a direction that the baseline leaves open',
        parts: {
          policies: [
            managed('shop/b.default-deny', { podSelector: {}, policyTypes: ['Egress'] }),
            networkPolicy('shop/p', ingress(undefined)),
          ],
        },
      },
      {
        title: 'a rule that the baseline has',
        parts: {
          policies: [
            managed('shop/b.open', ingress(undefined)),
            networkPolicy('shop/p', ingress(undefined, { podSelector: ofWeb })),
          ],
        },
      },
      {
        title: 'a baseline of other pods',
        parts: {
          workloads: [web, db],
          policies: [
            managed('shop/b.deny', { ...denyAll, podSelector: ofDB }),
            networkPolicy('shop/p', ingress(undefined, { podSelector: ofWeb })),
          ],
        },
      },
      {
        title: 'a deny that is not of a baseline',
        parts: { policies: [networkPolicy('shop/deny', denyAll), networkPolicy('shop/p', ingress(undefined))] },
      },
    ],
  },
  BPL017: {
    hits: [
      {
        title: 'monitoring pods without egress',
        parts: {
          workloads: [web, prometheus],
          policies: [
            managed('shop/b.allow-monitoring', ingress(fromMonitoring), 'allow-monitoring'),
            networkPolicy('monitoring/deny', denyAll),
          ],
        },
        expected: ['NetworkPolicy shop/b.allow-monitoring spec.ingress[0].from: no pod of monitoring may connect'],
      },
      {
        title: 'egress of monitoring pods on another port',
        parts: {
          workloads: [web, prometheus],
          policies: [
            networkPolicy(
              'shop/p',
              ingress(undefined, { ingress: [{ from: fromMonitoring, ports: [{ port: 'http' }] }] }),
            ),
            networkPolicy('monitoring/p', egress(undefined, { egress: [{ ports: [{ port: 9090 }] }] })),
          ],
        },
        expected: ['NetworkPolicy shop/p spec.ingress[0].from: no pod of monitoring may connect'],
      },
      {
        title: 'a namespace of which no workload is given',
        parts: {
          policies: [networkPolicy('shop/p', ingress(fromMonitoring)), networkPolicy('monitoring/deny', denyAll)],
        },
        expected: ['NetworkPolicy shop/p spec.ingress[0].from: no pod of monitoring may connect'],
      },
    ],
    misses: [
      {
        title: 'monitoring pods without policies',
        parts: one(ingress(fromMonitoring), { workloads: [web, prometheus] }),
      },
      {
        title: 'one monitoring pod that gets out',
        parts: {
          workloads: [web, prometheus, workload('monitoring/grafana')],
          policies: [
            networkPolicy('shop/p', ingress(fromMonitoring)),
            networkPolicy('monitoring/deny', denyAll),
            networkPolicy(
              'monitoring/scrape',
              egress([{ namespaceSelector: {} }], { podSelector: { matchLabels: { app: 'prometheus' } } }),
            ),
          ],
        },
      },
      {
        title: 'monitoring pods of the host network',
        parts: {
          workloads: [web, { ...prometheus, hostNetwork: true }],
          policies: [networkPolicy('shop/p', ingress(fromMonitoring)), networkPolicy('monitoring/deny', denyAll)],
        },
      },
      {
        title: 'a rule that is not for monitoring',
        parts: {
          workloads: [web, db],
          policies: [networkPolicy('shop/p', ingress(fromWeb)), networkPolicy('shop/deny', denyAll)],
        },
      },
    ],
  },
  BPL018: {
    hits: [
      {
        title: 'a code without a reason, and one that there is not',
        parts: {
          policies: [
            silenced(networkPolicy('shop/p', ingress(undefined)), 'BPL010; BPL999=why; BPL018=why; BPL003=a; BPL003=b'),
          ],
        },
        expected: [
          `NetworkPolicy shop/p metadata.annotations['${ANNOTATION_LINT_IGNORE}']: "BPL999" is no code of a finding`,
          `NetworkPolicy shop/p metadata.annotations['${ANNOTATION_LINT_IGNORE}']: BPL003 is there twice`,
          `NetworkPolicy shop/p metadata.annotations['${ANNOTATION_LINT_IGNORE}']: BPL010 has no reason`,
          `NetworkPolicy shop/p metadata.annotations['${ANNOTATION_LINT_IGNORE}']: BPL018 cannot be silenced`,
        ],
      },
    ],
    misses: [
      {
        title: 'codes with reasons',
        parts: { policies: [silenced(networkPolicy('shop/p', ingress(undefined)), ' BPL010 = public; BPL003=a=b ;')] },
      },
    ],
  },
};

function silenced(object: NetworkPolicy, text: string): NetworkPolicy {
  return { ...object, metadata: { ...object.metadata, annotations: { [ANNOTATION_LINT_IGNORE]: text } } };
}

describe('lint', () => {
  for (const [code, { hits, misses }] of Object.entries(CASES) as [Code, (typeof CASES)[Code]][]) {
    describe(`${code}: ${CODES[code].title}`, () => {
      for (const of of hits) {
        it(`finds ${of.title}`, () => {
          const found = findingsOf(code, of);
          const expected = of.expected ?? [];
          assert.ok(expected.length > 0);
          assert.deepEqual(
            found.map((text, index) => text.slice(0, expected[index]?.length)),
            expected,
            found.join('\n'),
          );
        });
      }
      for (const of of misses) {
        it(`does not mind ${of.title}`, () => {
          assert.deepEqual(findingsOf(code, of), []);
        });
      }
      if (code !== 'BPL018') {
        it('is silenced by its object with a reason, and by nothing else', () => {
          for (const { parts, options } of hits) {
            assertSilenced(code, parts, options, `${code}=is right`, 'is right');
            assertSilenced(code, parts, options, `${code}=`, undefined);
            assertSilenced(code, parts, options, code === 'BPL001' ? 'BPL002=other' : 'BPL001=other', undefined);
          }
        });
      }
    });
  }

  /** Annotates every object, and looks at the findings of a code. */
  function assertSilenced(
    code: Code,
    parts: Parts,
    options: LintOptions | undefined,
    text: string,
    reason: string | undefined,
  ): void {
    const annotations = { [ANNOTATION_LINT_IGNORE]: text };
    const findings = lint(
      modelOf({ ...parts, policies: (parts.policies ?? []).map((object) => silenced(object, text)) }),
      {
        ...options,
        namespaceAnnotations: new Map((parts.workloads ?? []).map((of) => [of.namespace, annotations])),
        workloadAnnotations: new Map((parts.workloads ?? []).map((of) => [workloadName(of), annotations])),
      },
    ).filter((finding) => finding.code === code);
    assert.ok(findings.length > 0);
    for (const finding of findings) assert.equal(finding.silenced?.reason, reason);
  }

  describe('with namespaces that could not be read', () => {
    const other = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'other' } } };
    const own = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } };
    const none = { podSelector: { matchLabels: { app: 'none' } } };
    const sql = { ports: [{ port: 'sql' }] };
    const monitoring = networkPolicy('shop/allow-monitoring', ingress([other, own]));

    /** Findings of a code when all is known, and when only the namespace shop is. */
    const cases: readonly [code: Code, what: string, policies: NetworkPolicy[], known: number, confined: number][] = [
      ['BPL004', 'policies of the namespace', [networkPolicy('shop/p', ingress(fromWeb, none))], 1, 1],
      ['BPL005', 'pods of the own namespace', [networkPolicy('shop/p', ingress([none]))], 1, 1],
      [
        'BPL005',
        'pods of the own namespace by its name',
        [networkPolicy('shop/p', ingress([{ ...own, ...none }]))],
        1,
        1,
      ],
      [
        'BPL005',
        'pods of all namespaces',
        [networkPolicy('shop/p', ingress([{ namespaceSelector: {}, ...none }]))],
        1,
        0,
      ],
      ['BPL006', 'pods of another namespace', [networkPolicy('shop/p', ingress([other]))], 1, 0],
      [
        'BPL014',
        'pods of a namespace with a label',
        [networkPolicy('shop/p', ingress([{ namespaceSelector: { matchLabels: { name: 'other' } } }]))],
        1,
        0,
      ],
      [
        'BPL007',
        'a port of own pods',
        [networkPolicy('shop/p', egress(undefined, { egress: [{ to: [{ podSelector: ofWeb }], ...sql }] }))],
        1,
        1,
      ],
      [
        'BPL007',
        'a port of pods of all namespaces',
        [
          networkPolicy(
            'shop/p',
            egress(undefined, { egress: [{ to: [{ namespaceSelector: {}, podSelector: ofWeb }], ...sql }] }),
          ),
        ],
        1,
        0,
      ],
      [
        'BPL007',
        'a port of everyone',
        [networkPolicy('shop/p', egress(undefined, { egress: [{ ports: [{ port: 'none' }] }] }))],
        1,
        0,
      ],
      ['BPL012', 'DNS that is denied', [networkPolicy('shop/p', denyAll)], 1, 1],
      ['BPL012', 'DNS that other pods may be', [networkPolicy('shop/p', egress([{ ...other, ...none }]))], 1, 0],
      ['BPL017', 'monitoring that may be elsewhere', [networkPolicy('shop/p', denyAll), monitoring], 1, 0],
    ];
    for (const [code, what, policies, known, confined] of cases) {
      it(`${code} tells of ${what} ${confined > 0 ? 'all the same' : 'nothing'}`, () => {
        const parts = { workloads: [web, db], policies, namespaces: { shop: {} } };
        const count = (more: Parts): number =>
          new Set(
            findingsOf(code, { parts: { ...parts, ...more }, options: { isComplete: true } }).map((text) =>
              text.split(' ').slice(1, 3).join(' '),
            ),
          ).size;
        assert.deepEqual([count({}) > 0, count({ confinedTo: 'shop' }) > 0], [known > 0, confined > 0]);
      });
    }
  });

  it('takes the annotation of a namespace for its workloads, but not for its policies', () => {
    const parts = one({ ...denyAll, podSelector: ofWeb, ingress: [{}] }, { workloads: [web, db] });
    const text = 'BPL010=no; BPL013=batch jobs';
    const findings = lint(modelOf(parts), {
      namespaceAnnotations: new Map([['shop', { [ANNOTATION_LINT_IGNORE]: text }]]),
    });
    const reasonsOf = (code: Code): (string | undefined)[] =>
      findings.filter((finding) => finding.code === code).map((finding) => finding.silenced?.reason);
    assert.deepEqual(reasonsOf('BPL010'), [undefined]);
    assert.deepEqual(reasonsOf('BPL013'), ['batch jobs', 'batch jobs', 'batch jobs']);
  });

  it('reads reasons as they are written', () => {
    const { reasons, problems } = readSilences('BPL003=egress = open by contract ;BPL007=old chart');
    assert.deepEqual(Object.fromEntries(reasons), { BPL003: 'egress = open by contract', BPL007: 'old chart' });
    assert.deepEqual(problems, []);
  });

  it('says of each finding what its code says', () => {
    const [finding] = lint(modelOf(one({ podSelector: {}, policyTypes: ['Ingress'], egress: [{}] })));
    const { severity, why } = CODES.BPL002;
    assert.deepEqual(finding && { ...finding, message: '' }, {
      code: 'BPL002',
      severity,
      object: { kind: 'NetworkPolicy', namespace: 'shop', name: 'p' },
      path: 'spec.egress',
      message: '',
      why,
      fix: 'Add Egress to spec.policyTypes, or remove spec.egress.',
    });
  });

  it('is in the order of objects and fields, whatever the order of the input', () => {
    const rules = Array.from({ length: 11 }, (_, index) => ({ ports: [{ port: 80 + index }] }));
    const policies = ['shop/b', 'shop/a', 'other/c'].map((id) =>
      networkPolicy(id, ingress(undefined, { ingress: rules })),
    );
    const parts: Parts = { workloads: [web, db], namespaces: { other: {}, shop: {} }, policies };
    const findings = lint(modelOf(parts));
    const turned = { ...parts, workloads: [db, web], policies: [...policies].reverse() };
    assert.deepEqual(lint(modelOf(turned)), findings);
    const paths = findings
      .filter(({ code, object }) => code === 'BPL011' && object.name === 'a')
      .map(({ path }) => path);
    assert.deepEqual(
      paths,
      rules.map((_, index) => `spec.ingress[${index}]`),
    );
    assert.deepEqual([...new Set(findings.map(({ object }) => object.name))], ['c', 'shop', 'a', 'b']);
  });

  describe('of what the operator makes', () => {
    /** The children of a BaselinePolicy in a namespace. */
    function children(spec: BaselinePolicySpec, name = 'shop'): NetworkPolicy[] {
      const desired = policy('restricted').with(spec).desiredIn(namespace(name));
      return [...desired.children.values()].map(({ template }) => ({
        metadata: { ...template.metadata, namespace: name },
        spec: template.spec,
      }));
    }
    const everything: BaselinePolicySpec = {
      rules: {
        allowDNS: { targets: ['KubeDNS', 'NodeLocalDNS', 'OpenShiftDNS', 'GKECloudDNS'] },
        allowSameNamespace: { enabled: true },
        allowIngressController: { enabled: true, from: [{ namespaceSelector: { matchLabels: { app: 'ingress' } } }] },
        allowExternalEgress: { enabled: true },
        allowMonitoring: { ports: [{ port: 'metrics' }] },
      },
    };
    const namespaces = { shop: {}, monitoring: {}, 'kube-system': {} };

    for (const [title, spec] of [
      ['spec: {}', {}],
      ['every rule', everything],
    ] as const) {
      it(`finds nothing with ${title}, offline and live`, () => {
        const policies = children(spec);
        const workloads = [web, db, coredns];
        for (const profile of Object.values(PROFILES)) {
          assert.deepEqual(lint(modelOf({ policies }), { profile }).map(show), []);
          assert.deepEqual(
            lint(modelOf({ policies, namespaces, workloads }), { profile, isComplete: true }).map(show),
            [],
          );
        }
      });
    }

    it('finds DNS that a baseline does not allow', () => {
      const policies = children({ rules: { allowDNS: { enabled: false } } });
      const findings = lint(modelOf({ policies, workloads: [web, db, coredns] }));
      assert.deepEqual(
        findings.map(({ code }) => code),
        ['BPL012'],
      );
    });
  });

  describe('documentation', () => {
    const text = readFileSync(join(import.meta.dirname, '../../../docs/lint.md'), 'utf8');
    const sections = new Map(
      text
        .split(/^## /m)
        .slice(1)
        .map((section): [string, string] => [section.slice(0, section.indexOf('\n')), section]),
    );

    it('has a section for each code, and for no other', () => {
      const documented = [...sections.keys()].filter((title) => title.startsWith('BPL'));
      const expected = Object.entries(CODES).map(([code, { title }]) => `${code}: ${title}`);
      assert.deepEqual(documented, expected);
    });

    it('has an example in each section that is found', () => {
      const workloads = [
        workload('orders/orders', { ports: [{ name: 'http', protocol: 'TCP', port: 8080 }], ips: ['10.244.0.9'] }),
        workload('orders/orders-db'),
        workload('gateway/gateway'),
        prometheus,
      ];
      const namespaces = { orders: {}, gateway: {}, monitoring: {} };
      for (const [title, section] of sections) {
        const code = title.slice(0, title.indexOf(':')) as Code;
        if (!Object.hasOwn(CODES, code)) continue;
        const written = parseAllDocuments(/```yaml\n([^`]*)```/.exec(section)?.[1] ?? '').map(
          (document) => document.toJS() as Partial<NetworkPolicy> & NetworkPolicySpec,
        );
        const policies = written.map(({ metadata, spec, ...fragment }, index): NetworkPolicy => {
          const policyTypes = Object.keys(fragment).map((field) => (field === 'ingress' ? 'Ingress' : 'Egress'));
          return {
            metadata: { namespace: 'orders', name: `p${index}`, ...metadata },
            spec: spec ?? { podSelector: {}, policyTypes, ...fragment },
          };
        });
        const baseline = code === 'BPL016' ? [managed('orders/b.default-deny', denyAll)] : [];
        const found = lint(modelOf({ workloads, namespaces, policies: [...policies, ...baseline] }));
        assert.ok(
          found.some((finding) => finding.code === code),
          `${code} is not found: ${found.map(show).join('\n')}`,
        );
      }
    });

    it('says in each what findings say', () => {
      for (const [code, { title, severity, why, fix }] of Object.entries<CodeDescription>(CODES)) {
        const section = (sections.get(`${code}: ${title}`) ?? '').replace(/\s+/g, ' ');
        assert.ok(section.includes(`Severity: ${severity}.`), `${code}: ${severity}`);
        assert.ok(section.includes(why), `${code}: ${why}`);
        assert.ok(section.includes(fix), `${code}: ${fix}`);
      }
    });
  });
});

describe('lint, for any cluster', () => {
  it('finds a rule shadowed only if nothing changes without it, nor without any that are', function () {
    this.timeout(120_000);
    let found = 0;
    fc.assert(
      fc.property(clusters, fc.boolean(), (cluster, ipBlockMatchesPods) => {
        const model = readModel(cluster);
        const removals = lint(model)
          .filter(({ code }) => code === 'BPL008' || code === 'BPL009')
          .map(({ object, path }): Change => {
            const of = `${object.namespace ?? ''}/${object.name}`;
            return { kind: 'RemoveRules', policy: of, paths: [path], message: '' };
          });
        const byPolicy = Map.groupBy(removals, (change) => (change.kind === 'RemoveRules' ? change.policy : ''));
        const together = [...byPolicy].map(([of, changes]): Change => {
          const paths = changes.flatMap((change) => (change.kind === 'RemoveRules' ? change.paths : []));
          return { kind: 'RemoveRules', policy: of, paths, message: '' };
        });
        for (const changes of [...removals.map((change) => [change]), together]) {
          const after = readModel(applyChanges(cluster, changes));
          const { isEmpty, lost, gained } = impact(model, after, { hostNetwork: 'as-pods', ipBlockMatchesPods });
          assert.deepEqual([...lost, ...gained], []);
          assert.ok(isEmpty);
        }
        found += removals.length;
      }),
      { numRuns: 3000 },
    );
    assert.ok(found > 200, `expected many shadowed rules, found ${found}`);
  });

  it('finds all rules that are written twice', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const [first, ...others] = cluster.policies;
        fc.pre(first !== undefined);
        const { policies } = readModel({ ...cluster, policies: [first] });
        const count = policies.flatMap(({ rules }) => Object.values(rules).flat()).length;
        const twin = { ...first, metadata: { ...first.metadata, name: 'twin' } };
        const findings = lint(readModel({ ...cluster, policies: [first, twin, ...others] }));
        const ofTwins = findings.filter(
          ({ code, object }) =>
            /BPL00[89]/.test(code) && (object.name === 'twin' || object.name === first.metadata.name),
        );
        assert.ok(ofTwins.length >= count, `expected ${count} findings, found ${ofTwins.length}`);
      }),
      { numRuns: 300 },
    );
  });

  it('is the same whatever the order of the input, and for every plugin', () => {
    fc.assert(
      fc.property(
        clusters,
        fc.constantFrom(...Object.values(PROFILES)),
        fc.boolean(),
        (cluster, profile, isComplete) => {
          const options = { profile, isComplete };
          const turned = {
            namespaces: new Map([...cluster.namespaces].reverse()),
            workloads: [...cluster.workloads].reverse(),
            policies: [...cluster.policies].reverse(),
          };
          assert.deepEqual(lint(readModel(frozen(turned)), options), lint(readModel(frozen(cluster)), options));
        },
      ),
      { numRuns: 500 },
    );
  });
});
