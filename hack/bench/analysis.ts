import { parseArgs } from 'node:util';
import type { Cluster, Workload } from '../../src/analysis/cluster.ts';
import { connections } from '../../src/analysis/connections.ts';
import { readModel } from '../../src/analysis/model.ts';
import { PortSet } from '../../src/analysis/port-set.ts';
import { decide, internetTarget, workloadTarget } from '../../src/analysis/verdict.ts';
import type { NetworkPolicy, NetworkPolicySpec } from '../../src/api/networkpolicy.ts';

/*
 * Measures how long the analysis of generated clusters takes, and how much memory.
 *
 *     node hack/bench/analysis.ts --workloads=2000 --policies=2000 --cluster=open
 *
 * The peak of memory is that of the process so far: it is of one cluster alone with --cluster.
 *
 * `product`: teams with a baseline of policies each, as people write them. `apart`: no two workloads are alike to the
 * policies, each of which selects across the cluster, has a block of addresses of its own, and uses named ports.
 * `open`: nothing is isolated, so that all pairs are in the output.
 */
const { values: flags } = parseArgs({
  options: {
    workloads: { type: 'string', default: '2000' },
    policies: { type: 'string', default: '2000' },
    cluster: { type: 'string' },
  },
});
const WORKLOADS = Number(flags.workloads);
const POLICIES = Number(flags.policies);
const NAMESPACES = 100;

const CLUSTERS: Readonly<Record<string, () => Cluster>> = {
  product: () => cluster((index) => ({ app: `app-${withinTeam(index)}`, version: `v${index}` }), productPolicy),
  apart: () => cluster((index) => ({ app: `app-${index}`, group: `g-${index % 50}` }), apartPolicy),
  open: () => cluster((index) => ({ app: `app-${index}` }), closedPolicy),
};

console.log('| cluster | connections | read s | all pairs s | one pair ms | internet ms | peak MB |');
console.log('| --- | --- | --- | --- | --- | --- | --- |');
for (const [name, make] of Object.entries(CLUSTERS)) {
  if (flags.cluster !== undefined && flags.cluster !== name) continue;
  const input = make();
  const [model, read] = timed(() => readModel(input));
  const [first, last] = [model.workloads[0], model.workloads.at(-1)];
  if (first === undefined || last === undefined) throw new Error('expected workloads, found none');
  const [, pair] = timed(() => decide(model, workloadTarget(first), workloadTarget(last), PortSet.range('TCP', 8080)));
  const [, internet] = timed(() => decide(model, workloadTarget(first), internetTarget(model)));
  // As a command would hold them, to sort or to write them.
  const [list, all] = timed(() => [...connections(model)]);
  const peak = process.resourceUsage().maxRSS / 1024;
  console.log(
    `| ${[name, list.length, seconds(read), seconds(all), pair.toFixed(0), internet.toFixed(0), peak.toFixed(0)].join(' | ')} |`,
  );
}

function timed<T>(run: () => T): [T, number] {
  const start = performance.now();
  return [run(), performance.now() - start];
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(2);
}

function namespaceOf(index: number): string {
  return `team-${index % NAMESPACES}`;
}

/** Number of a workload, or policy, in its namespace. */
function withinTeam(index: number): number {
  return Math.floor(index / NAMESPACES);
}

function cluster(
  labels: (index: number) => Record<string, string>,
  spec: (index: number) => NetworkPolicySpec,
): Cluster {
  return {
    namespaces: new Map(
      Array.from({ length: NAMESPACES }, (_, index) => [namespaceOf(index), { tier: `tier-${index % 5}` }]),
    ),
    workloads: Array.from({ length: WORKLOADS }, (_, index): Workload => ({
      namespace: namespaceOf(index),
      name: `workload-${index}`,
      kind: 'Deployment',
      labels: labels(index),
      ports: [{ name: 'http', protocol: 'TCP', port: 8000 + (index % 10) }],
      hostNetwork: false,
    })),
    policies: Array.from({ length: POLICIES }, (_, index): NetworkPolicy => ({
      metadata: { namespace: namespaceOf(index), name: `policy-${index}` },
      spec: spec(index),
    })),
  };
}

/** Of each team: default-deny, DNS, monitoring, the internet, and one policy an application. */
function productPolicy(number: number): NetworkPolicySpec {
  const index = withinTeam(number);
  switch (index) {
    case 0:
      return { podSelector: {}, policyTypes: ['Ingress', 'Egress'] };
    case 1:
      return {
        podSelector: {},
        policyTypes: ['Egress'],
        egress: [
          {
            to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'team-0' } } }],
            ports: [{ protocol: 'UDP', port: 53 }, { port: 53 }],
          },
        ],
      };
    case 2:
      return {
        podSelector: {},
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { tier: 'tier-1' } } }], ports: [{ port: 'http' }] }],
      };
    case 3:
      return {
        podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['app-1', 'app-2'] }] },
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '192.168.0.0/16'] } }] }],
      };
    default:
      return {
        podSelector: { matchLabels: { app: `app-${index}` } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: [{ podSelector: { matchLabels: { app: `app-${index - 1}` } } }], ports: [{ port: 8000 + index }] },
        ],
        egress: [
          { to: [{ podSelector: { matchLabels: { app: `app-${index + 1}` } } }] },
          { to: [{ ipBlock: { cidr: `203.0.${index}.0/24` } }], ports: [{ port: 443 }] },
        ],
      };
  }
}

function apartPolicy(number: number): NetworkPolicySpec {
  const group = { matchExpressions: [{ key: 'group', operator: 'NotIn' as const, values: [`g-${number % 50}`] }] };
  return {
    podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: [`app-${number}`] }] },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [
      {
        from: [{ namespaceSelector: {}, podSelector: group }],
        ports: [{ port: 'http' }, { port: 1 + (number % 60_000) }],
      },
      { from: [{ ipBlock: { cidr: `${1 + (number >> 8)}.${number & 255}.0.0/16` } }], ports: [{ port: 443 }] },
    ],
    egress: [
      {
        to: [
          {
            namespaceSelector: {
              matchExpressions: [{ key: 'tier', operator: 'NotIn', values: [`tier-${number % 5}`] }],
            },
            podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: [`app-${number}`] }] },
          },
        ],
        ports: [{ port: 'http' }, { port: 1000, endPort: 1000 + (number % 60_000) }],
      },
    ],
  };
}

/** Selects no pod. */
function closedPolicy(): NetworkPolicySpec {
  return { podSelector: { matchLabels: { app: 'none' } }, policyTypes: ['Ingress', 'Egress'] };
}
