import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseAddress } from '../../../src/analysis/address.ts';
import { impact, type Impact, type ImpactOptions, type WorkloadChange } from '../../../src/analysis/impact.ts';
import type { Connection } from '../../../src/analysis/connections.ts';
import { allowedPorts, type Endpoint } from '../../../src/analysis/evaluate.ts';
import { addressEndpoint, knownAddresses, podEndpoint, readModel, type Model } from '../../../src/analysis/model.ts';
import { PortSet, type PortRange } from '../../../src/analysis/port-set.ts';
import { PROFILES } from '../../../src/analysis/profiles.ts';
import type { NetworkPolicy, NetworkPolicyPeer } from '../../../src/api/networkpolicy.ts';
import { workloadName, type Workload } from '../../../src/analysis/cluster.ts';
import { ADDRESSES, clusters } from '../../support/cluster-arbitraries.ts';
import { frozen } from '../../support/fixtures.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const web = workload('shop/web');
const db = workload('shop/db');
const coredns = workload('kube-system/coredns', { labels: { 'k8s-app': 'kube-dns' } });
const prometheus = workload('monitoring/prometheus');

const deny = networkPolicy('shop/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
const denyEgress = networkPolicy('shop/deny-egress', { podSelector: {}, policyTypes: ['Egress'] });
const fromMonitoring: NetworkPolicyPeer[] = [
  {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } },
    podSelector: { matchLabels: { app: 'prometheus' } },
  },
];
const allowMonitoring = networkPolicy('shop/allow-monitoring', {
  podSelector: {},
  policyTypes: ['Ingress'],
  ingress: [{ from: fromMonitoring, ports: [{ port: 9090 }] }],
});
const allowDNS = networkPolicy('shop/allow-dns', {
  podSelector: {},
  policyTypes: ['Egress'],
  egress: [
    {
      to: [
        {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
          podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
        },
      ],
      ports: [{ protocol: 'UDP', port: 53 }, { port: 53 }],
    },
  ],
});

/** What other policies do to the same workloads. */
function change(
  workloads: readonly Workload[],
  before: readonly NetworkPolicy[],
  after: readonly NetworkPolicy[],
  options?: ImpactOptions,
): Impact {
  return impact(modelOf({ workloads, policies: before }), modelOf({ workloads, policies: after }), options);
}

function texts(connections: Iterable<Connection>): string[] {
  return [...connections].map(({ src, dst, connections: ports }) => `${src} -> ${dst} ${JSON.stringify(ports)}`);
}

describe('impact', () => {
  it('is empty when nothing changes, however it is written', () => {
    const before = networkPolicy('shop/p', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] });
    const after = networkPolicy('shop/q', {
      podSelector: { matchLabels: {} },
      policyTypes: ['Ingress'],
      ingress: [{ from: [], ports: [{ protocol: 'TCP', port: 80, endPort: 80 }] }],
    });
    const { isEmpty, summary, lost, gained } = change([web, db], [before], [after]);
    assert.equal(isEmpty, true);
    assert.deepEqual([...lost, ...gained], []);
    assert.deepEqual(summary, { lost: 0, gained: 0, pairs: [], morePairs: 0, namespaces: [] });
  });

  it('lists connections that are lost and gained, with the ports', () => {
    const ports = (...list: number[]): NetworkPolicy =>
      networkPolicy('shop/p', {
        podSelector: { matchLabels: { app: 'db' } },
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ podSelector: {} }], ports: list.map((port) => ({ port })) }],
      });
    const { lost, gained, isEmpty } = change([web, db], [ports(80, 81, 443)], [ports(443, 8080)]);
    assert.equal(isEmpty, false);
    assert.deepEqual(texts(lost), ['shop/web[Pod] -> shop/db[Pod] [{"protocol":"TCP","port":80,"endPort":81}]']);
    assert.deepEqual(texts(gained), ['shop/web[Pod] -> shop/db[Pod] [{"protocol":"TCP","port":8080}]']);
    assert.deepEqual(texts(lost), texts(lost), 'can be read twice');
  });

  it('cuts outside ranges where either side has a block, and joins those of which the same is lost', () => {
    const to = (cidr: string, except: string[]): NetworkPolicy =>
      networkPolicy('shop/p', {
        podSelector: {},
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr, except } }] }],
      });
    const { lost, gained } = change(
      [web],
      [to('0.0.0.0/0', ['12.0.0.0/8'])],
      [to('0.0.0.0/0', ['10.0.0.0/8', '11.0.0.0/8'])],
    );
    assert.deepEqual(texts(lost), ['shop/web[Pod] -> 10.0.0.0-11.255.255.255 "all"']);
    assert.deepEqual(texts(gained), ['shop/web[Pod] -> 12.0.0.0-12.255.255.255 "all"']);
  });

  it('has IPv6 when one side speaks of it', () => {
    const block = networkPolicy('shop/p', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '2001:db8::/32' } }] }],
    });
    const { lost, gained } = change([web], [denyEgress], [block]);
    assert.deepEqual(texts(lost), []);
    assert.deepEqual(texts(gained), ['shop/web[Pod] -> 2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff "all"']);
  });

  it('counts a workload that only one side has by its connections alone', () => {
    const { lost, gained, isolation, dns } = impact(
      modelOf({ workloads: [web, db] }),
      modelOf({ workloads: [web], policies: [deny] }),
    );
    assert.deepEqual(
      texts(lost).filter((text) => text.includes('db')),
      [
        'shop/db[Pod] -> shop/web[Pod] "all"',
        'shop/db[Pod] -> 0.0.0.0-255.255.255.255 "all"',
        'shop/web[Pod] -> shop/db[Pod] "all"',
        '0.0.0.0-255.255.255.255 -> shop/db[Pod] "all"',
      ],
    );
    assert.deepEqual(texts(gained), []);
    assert.deepEqual(isolation.Egress, { lost: [], gained: ['shop/web[Pod]'] });
    assert.deepEqual(dns, { lost: ['shop/web[Pod]'], gained: [] });
  });

  it('sees workloads whose labels change', () => {
    const policies = [
      networkPolicy('shop/p', {
        podSelector: { matchLabels: { app: 'db' } },
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }] }],
      }),
    ];
    const { lost, gained } = impact(
      modelOf({ workloads: [web, db], policies }),
      modelOf({ workloads: [{ ...web, labels: { app: 'wbe' } }, db], policies }),
    );
    assert.deepEqual(texts(lost), ['shop/web[Pod] -> shop/db[Pod] "all"']);
    assert.deepEqual(texts(gained), []);
  });

  it('says which workloads become isolated, and which lose isolation', () => {
    const forward = change(
      [web, db],
      [denyEgress],
      [networkPolicy('shop/in', { podSelector: { matchLabels: { app: 'web' } } })],
    );
    assert.deepEqual(forward.isolation, {
      Ingress: { lost: [], gained: ['shop/web[Pod]'] },
      Egress: { lost: ['shop/db[Pod]', 'shop/web[Pod]'], gained: [] },
    });
    assert.deepEqual(
      forward.summary.namespaces.map(({ namespace, workloads, ingressIsolation, egressIsolation }) => [
        namespace,
        workloads,
        ingressIsolation,
        egressIsolation,
      ]),
      [['shop', 2, { lost: 0, gained: 1 }, { lost: 2, gained: 0 }]],
    );
  });

  it('says which workloads lose DNS, also without DNS pods in the input', () => {
    for (const workloads of [
      [web, db, coredns],
      [web, db],
    ]) {
      assert.deepEqual(change(workloads, [], [deny]).dns, { lost: ['shop/db[Pod]', 'shop/web[Pod]'], gained: [] });
      assert.deepEqual(change(workloads, [], [deny, allowDNS]).dns, { lost: [], gained: [] });
      assert.deepEqual(change(workloads, [deny], [deny, allowDNS]).dns.gained, ['shop/db[Pod]', 'shop/web[Pod]']);
      assert.deepEqual(
        change(workloads, [], [deny]).summary.namespaces.map(({ namespace, dns }) => [namespace, dns]),
        [['shop', { lost: 2, gained: 0 }]],
      );
    }
    const closed = networkPolicy('kube-system/deny', { podSelector: {}, policyTypes: ['Ingress'] });
    assert.deepEqual(change([web, coredns], [], [closed]).dns.lost, ['shop/web[Pod]']);
  });

  it('asks the profile whether an ipBlock has DNS pods', () => {
    const block = networkPolicy('shop/p', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }],
    });
    const workloads = [web, { ...coredns, ips: ['10.0.0.9'] }];
    assert.deepEqual(change(workloads, [], [block]).dns.lost, []);
    assert.deepEqual(change(workloads, [], [block], { profile: PROFILES.cilium }).dns.lost, ['shop/web[Pod]']);
  });

  it('says which workloads monitoring does not reach any more, also without monitoring pods in the input', () => {
    for (const workloads of [[web, prometheus], [web]]) {
      assert.deepEqual(change(workloads, [allowMonitoring], [deny]).monitoring, {
        lost: ['shop/web[Pod]'],
        gained: [],
      });
      // Fewer ports are not all of them.
      assert.deepEqual(change(workloads, [], [deny, allowMonitoring]).monitoring, { lost: [], gained: [] });
      assert.deepEqual(change(workloads, [deny], [deny, allowMonitoring]).monitoring.gained, ['shop/web[Pod]']);
    }
    const closed = networkPolicy('monitoring/deny', { podSelector: {}, policyTypes: ['Egress'] });
    assert.deepEqual(change([web, prometheus], [], [closed]).monitoring.lost, ['shop/web[Pod]']);
  });

  it('takes the namespaces of monitoring that are named', () => {
    const watcher = workload('watch/agent');
    assert.deepEqual(change([web, watcher], [], [deny]).monitoring.lost, []);
    const options = { monitoringNamespaces: ['watch'] };
    assert.deepEqual(change([web, watcher], [], [deny], options).monitoring.lost, ['shop/web[Pod]']);
  });

  it('leaves the host network out, unless it is taken for pods', () => {
    const host = { ...web, hostNetwork: true };
    assert.equal(change([host], [], [deny]).isEmpty, true);
    const { isolation, lost } = change([host], [], [deny], { hostNetwork: 'as-pods' });
    assert.deepEqual(isolation.Ingress.gained, ['shop/web[Pod]']);
    assert.equal([...lost].length, 2);
  });

  it('lets ipBlocks match pods when asked to', () => {
    const block = networkPolicy('shop/p', {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }],
    });
    const workloads = [web, { ...db, ips: ['10.0.0.1'] }];
    const toDB = (options: ImpactOptions): string[] =>
      texts(change(workloads, [], [block], options).lost).filter((text) => text.includes('-> shop/db'));
    assert.equal(toDB({}).length, 1);
    assert.equal(toDB({ ipBlockMatchesPods: true }).length, 0);
  });

  it('has a summary by pairs of namespaces that stays small', () => {
    const workloads = ['a', 'b', 'c'].flatMap((name) => [workload(`${name}/one`), workload(`${name}/two`)]);
    const policies = [networkPolicy('a/deny', { podSelector: {}, policyTypes: ['Ingress'] })];
    const { summary } = change(workloads, [], policies, { summaryLimit: 2 });
    assert.deepEqual(summary.pairs, [
      { src: 'b', dst: 'a', lost: 4, gained: 0 },
      { src: 'c', dst: 'a', lost: 4, gained: 0 },
    ]);
    assert.deepEqual([summary.lost, summary.gained, summary.morePairs], [12, 0, 2]);
    const { pairs } = change(workloads, [], policies).summary;
    assert.deepEqual(pairs.slice(2), [
      { src: 'a', dst: 'a', lost: 2, gained: 0 },
      { src: 'outside', dst: 'a', lost: 2, gained: 0 },
    ]);
  });

  it('compares 2,000 workloads and 2,000 policies, no two alike, in time', function () {
    this.timeout(300_000);
    const workloads = Array.from({ length: 2000 }, (_, index) =>
      workload(`team-${index % 100}/w${index}`, { labels: { app: `a${index}` } }),
    );
    const policies = Array.from({ length: 2000 }, (_, index) =>
      networkPolicy(`team-${index % 100}/p${index}`, {
        podSelector: { matchLabels: { app: `a${index}` } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: `a${(index * 7) % 2000}` } } }] },
        ],
        egress: [{ to: [{ ipBlock: { cidr: `10.${index >> 8}.${index & 255}.0/24` } }], ports: [{ port: 1 + index }] }],
      }),
    );
    const namespaces = new Map<string, Record<string, string>>();
    const start = process.cpuUsage();
    const result = impact(
      readModel({ namespaces, workloads, policies: [] }),
      readModel({ namespaces, workloads, policies }),
    );
    let count = 0;
    for (const { connections } of result.lost) count += connections.length > 0 ? 1 : 0;
    // Of the processor, as other work may go on beside this.
    const seconds = process.cpuUsage(start).user / 1_000_000;
    assert.equal(count, result.summary.lost);
    assert.ok(count > 4_000_000, `expected all pairs and ranges, found ${count}`);
    assert.equal(result.summary.pairs.length, 50);
    assert.ok(seconds < 20, `expected less than 20 s, took ${seconds.toFixed(1)} s`);
  });
});

describe('impact, for any clusters', () => {
  const options: fc.Arbitrary<ImpactOptions> = fc.record({
    hostNetwork: fc.constantFrom('as-pods', 'uncovered'),
    ipBlockMatchesPods: fc.boolean(),
  });
  /** Two clusters: the same workloads under other policies, or nothing in common but names. */
  const pairs = fc
    .tuple(clusters, clusters, fc.boolean())
    .map(([one, other, isSame]) =>
      [one, isSame ? { ...one, policies: other.policies } : other].map((cluster) => readModel(frozen(cluster))),
    ) as fc.Arbitrary<[Model, Model]>;

  it('is empty from a cluster to itself', () => {
    fc.assert(
      fc.property(clusters, options, (cluster, of) => {
        const { isEmpty, lost, gained } = impact(readModel(cluster), readModel(cluster), of);
        assert.deepEqual([isEmpty, ...lost, ...gained], [true]);
      }),
      { numRuns: 300 },
    );
  });

  it('is the reverse of the impact of going back', () => {
    const turned = ({ lost, gained }: WorkloadChange): WorkloadChange => ({ lost: gained, gained: lost });
    fc.assert(
      fc.property(pairs, options, ([before, after], of) => {
        const forth = impact(before, after, of);
        const back = impact(after, before, of);
        assert.deepEqual([...back.lost], [...forth.gained]);
        assert.deepEqual([...back.gained], [...forth.lost]);
        assert.deepEqual(back.dns, turned(forth.dns));
        assert.deepEqual(back.monitoring, turned(forth.monitoring));
        assert.deepEqual(back.isolation.Ingress, turned(forth.isolation.Ingress));
        assert.deepEqual(back.isolation.Egress, turned(forth.isolation.Egress));
        assert.equal(back.isEmpty, forth.isEmpty);
        assert.equal(back.summary.lost, [...forth.gained].length);
      }),
      { numRuns: 300 },
    );
  });

  it('is the difference of what each pair may do before and after', function () {
    this.timeout(120_000);
    fc.assert(
      fc.property(pairs, options, ([before, after], of) => {
        const result = impact(before, after, of);
        const entries = { lost: [...result.lost], gained: [...result.gained] };
        const names = [...new Set([before, after].flatMap(({ workloads }) => workloads.map(workloadName)))];
        const addresses = ADDRESSES.filter((address) => before.usesIPv6 || after.usesIPv6 || !address.includes(':'));
        for (const source of [...names, ...addresses]) {
          for (const destination of names.includes(source) ? [...names, ...addresses] : names) {
            if (source === destination) continue;
            const [one, other] = [before, after].map((model) => portsBetween(model, source, destination, of)) as [
              PortSet,
              PortSet,
            ];
            const pair = `${source} -> ${destination}`;
            assert.deepEqual(portsIn(entries.lost, source, destination), one.subtract(other).ranges(), `${pair} lost`);
            assert.deepEqual(
              portsIn(entries.gained, source, destination),
              other.subtract(one).ranges(),
              `${pair} gained`,
            );
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  function portsBetween(model: Model, source: string, destination: string, of: ImpactOptions): PortSet {
    const [from, to] = [source, destination].map((name): Endpoint | undefined => {
      if (!name.includes('[')) return addressEndpoint([parseAddress(name)]);
      const found = model.workloads.find((candidate) => workloadName(candidate) === name);
      if (found === undefined || (found.hostNetwork && of.hostNetwork !== 'as-pods')) return undefined;
      return podEndpoint(model.cluster, found, of.ipBlockMatchesPods === true ? knownAddresses(found) : []);
    });
    return from === undefined || to === undefined ? PortSet.empty : allowedPorts(model.policies, from, to);
  }

  /** The ports of the one entry for a pair; none without an entry. */
  function portsIn(entries: readonly Connection[], source: string, destination: string): PortRange[] {
    const found = entries.filter(({ src, dst }) => isEnd(src, source) && isEnd(dst, destination));
    assert.ok(found.length <= 1, `${source} -> ${destination} is listed more than once`);
    const ports = found[0]?.connections ?? [];
    return ports === 'all' ? PortSet.all.ranges() : ports;
  }

  function isEnd(name: string, wanted: string): boolean {
    if (name.includes('[') || wanted.includes('[')) return name === wanted;
    const [first = '', last = ''] = name.split('-');
    const [low, at, high] = [parseAddress(first), parseAddress(wanted), parseAddress(last)];
    return low.family === at.family && low.first <= at.first && at.first <= high.first;
  }
});
