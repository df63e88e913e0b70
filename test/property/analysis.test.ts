import assert from 'node:assert/strict';
import fc from 'fast-check';
import { blockContains, formatRange, parseAddress, parseBlock, partition } from '../../src/analysis/address.ts';
import { applyChanges } from '../../src/analysis/change.ts';
import { classify } from '../../src/analysis/classes.ts';
import { workloadName, type Cluster } from '../../src/analysis/cluster.ts';
import { connections, type Connection, type ConnectionOptions } from '../../src/analysis/connections.ts';
import { allowedPorts, type Endpoint } from '../../src/analysis/evaluate.ts';
import { explain } from '../../src/analysis/explain.ts';
import { addressEndpoint, knownAddresses, podEndpoint, readModel, type Model } from '../../src/analysis/model.ts';
import { PortSet, PROTOCOLS, type PortsJSON, type Protocol } from '../../src/analysis/port-set.ts';
import { PROFILES, type ProfileName } from '../../src/analysis/profiles.ts';
import { addressTarget, decide, internetTarget, workloadTarget, type Target } from '../../src/analysis/verdict.ts';
import type { BaselinePolicy } from '../../src/api/baselinepolicy.ts';
import { childrenOf, wantedChildren } from '../../src/cli/input/children.ts';
import { bits, bruteForceAllows, type BruteEnd } from '../support/brute-force.ts';
import { ADDRESSES, clusters, INTERESTING_PORTS, ipBlock, policies } from '../support/cluster-arbitraries.ts';
import { workload } from '../support/cluster-fixtures.ts';
import { frozen } from '../support/fixtures.ts';

const options: fc.Arbitrary<Required<Omit<ConnectionOptions, 'cutAt'>>> = fc.record({
  hostNetwork: fc.constantFrom('as-pods', 'uncovered'),
  ipBlockMatchesPods: fc.boolean(),
});

function hasPort(ports: PortsJSON, protocol: string, port: number): boolean {
  if (ports === 'all') return true;
  return ports.some((one) => one.protocol === protocol && port >= one.port && port <= (one.endPort ?? one.port));
}

/** Whether a range of the output, such as `10.0.0.0-10.0.0.255`, has an address. */
function rangeHas(range: string, address: string): boolean {
  const [first = '', last = ''] = range.split('-');
  if (first.includes(':') !== address.includes(':')) return false;
  return bits(first) <= bits(address) && bits(address) <= bits(last);
}

/** Whether a rule that is not ignored speaks of IPv6. */
function usesIPv6(cluster: Cluster): boolean {
  return cluster.policies.some(({ spec = {} }) => {
    const types = spec.policyTypes ?? [];
    const isOnlyOne = types.length === 1;
    const ignored = isOnlyOne ? (types[0] === 'Ingress' ? 'egress' : 'ingress') : '';
    return JSON.stringify({ ...spec, [ignored]: [] }).includes('::');
  });
}

/** Entries of the output for a pair of ends. */
function entriesOf(list: readonly Connection[], source: BruteEnd, destination: BruteEnd): Connection[] {
  const is = (name: string, end: BruteEnd): boolean =>
    typeof end === 'string' ? !name.includes('[') && rangeHas(name, end) : name === workloadName(end);
  return list.filter(({ src, dst }) => is(src, source) && is(dst, destination));
}

/** Pairs that the output is about. */
function pairsOf(cluster: Cluster, hostNetwork: 'as-pods' | 'uncovered'): [BruteEnd, BruteEnd][] {
  const inside = cluster.workloads.filter((workload) => hostNetwork === 'as-pods' || !workload.hostNetwork);
  const outside = ADDRESSES.filter((address) => usesIPv6(cluster) || !address.includes(':'));
  const pairs = inside.flatMap((source) =>
    [...inside, ...outside].map((other): [BruteEnd, BruteEnd] => [source, other]),
  );
  const incoming = outside.flatMap((address) => inside.map((workload): [BruteEnd, BruteEnd] => [address, workload]));
  return [...pairs, ...incoming].filter(([source, destination]) => source !== destination);
}

function show(end: BruteEnd): string {
  return typeof end === 'string' ? end : workloadName(end);
}

describe('connections, for any cluster', function () {
  // Ten thousand clusters take a while where processors are few.
  this.timeout(300_000);

  it('are those that a brute-force evaluation of each pair and port allows', () => {
    fc.assert(
      fc.property(clusters, options, (cluster, of) => {
        const list = [...connections(readModel(frozen(cluster)), of)];
        for (const [source, destination] of pairsOf(cluster, of.hostNetwork)) {
          const entries = entriesOf(list, source, destination);
          assert.ok(entries.length <= 1, `${show(source)} -> ${show(destination)} is listed more than once`);
          const ports = entries[0]?.connections ?? [];
          for (const protocol of PROTOCOLS) {
            for (const port of INTERESTING_PORTS) {
              assert.equal(
                hasPort(ports, protocol, port),
                bruteForceAllows(cluster, source, destination, protocol, port, of),
                `${show(source)} -> ${show(destination)} ${port}/${protocol}`,
              );
            }
          }
        }
      }),
      { numRuns: 10_000 },
    );
  });

  it('are those of each pair by itself, whatever the classes and ranges', () => {
    fc.assert(
      fc.property(clusters, options, (cluster, of) => {
        const model = readModel(frozen(cluster));
        const list = [...connections(model, of)];
        for (const [source, destination] of pairsOf(cluster, of.hostNetwork)) {
          const ports = allowedPorts(model.policies, endpoint(model, source, of), endpoint(model, destination, of));
          const entries = entriesOf(list, source, destination);
          const expected = ports.isEmpty ? [] : [ports.toJSON()];
          assert.deepEqual(
            entries.map((entry) => entry.connections),
            expected,
            `${show(source)} -> ${show(destination)}`,
          );
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('have no two neighbouring ranges with the same connections', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const list = [...connections(readModel(cluster))];
        const ranges = new Map<string, string[]>();
        for (const { src, dst, connections: ports } of list) {
          const of = (name: string, line: string): void => {
            if (!name.includes('[')) ranges.set(name, [...(ranges.get(name) ?? []), line]);
          };
          of(src, `to ${dst} ${JSON.stringify(ports)}`);
          of(dst, `from ${src} ${JSON.stringify(ports)}`);
        }
        const ends = [...ranges].map(([name, lines]) => {
          const [first = '', last = ''] = name.split('-');
          return { first: bits(first), last: bits(last), lines: lines.sort().join() };
        });
        for (const one of ends) {
          for (const other of ends) {
            if (one === other || one.first.length !== other.first.length) continue;
            assert.ok(one.last < other.first || other.last < one.first, 'ranges are disjoint');
            const areNeighbours = BigInt(`0b${one.last}`) + 1n === BigInt(`0b${other.first}`);
            if (areNeighbours) assert.notEqual(one.lines, other.lines);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('stay when a policy is added that selects only pods that are isolated already', () => {
    fc.assert(
      fc.property(clusters, policies, options, (cluster, more, of) => {
        const added = more.map((policy) => ({
          ...policy,
          metadata: { ...policy.metadata, name: `added-${policy.metadata.name}` },
        }));
        // The same pods and directions, without a rule.
        const isolating = readModel({ ...cluster, policies: added }).policies.map(({ namespace, name, rules }) => ({
          metadata: { namespace, name: `isolating-${name}` },
          spec: {
            podSelector: added.find((policy) => policy.metadata.name === name)?.spec?.podSelector ?? {},
            policyTypes: (['Ingress', 'Egress'] as const).filter((type) => rules[type] !== undefined),
          },
        }));
        const before = readModel({ ...cluster, policies: [...cluster.policies, ...isolating] });
        const after = readModel({ ...cluster, policies: [...before.cluster.policies, ...added] });
        for (const [source, destination] of pairsOf(cluster, 'as-pods')) {
          const ports = (model: Model): PortSet =>
            allowedPorts(model.policies, endpoint(model, source, of), endpoint(model, destination, of));
          assert.ok(ports(after).includes(ports(before)), `${show(source)} -> ${show(destination)}`);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('are the same in whatever order the cluster is given', () => {
    fc.assert(
      fc.property(clusters, options, (cluster, of) => {
        const turned: Cluster = {
          namespaces: new Map([...cluster.namespaces].reverse()),
          workloads: cluster.workloads.toReversed(),
          policies: cluster.policies.toReversed(),
        };
        assert.deepEqual([...connections(readModel(turned), of)], [...connections(readModel(cluster), of)]);
      }),
      { numRuns: 1000 },
    );
  });

  it('need one class for workloads that differ in nothing that a policy uses', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const twins = cluster.workloads.map((workload) => ({
          ...workload,
          name: `twin-of-${workload.name}`,
          labels: { ...workload.labels, unused: workload.name },
          ports: [...workload.ports, { name: 'unused', protocol: 'TCP' as const, port: 5 }],
        }));
        const model = readModel({ ...cluster, workloads: [...cluster.workloads, ...twins] });
        const endpoints = [...cluster.workloads, ...twins].map((workload) => podEndpoint(model.cluster, workload, []));
        const { classOf } = classify(model.policies, endpoints);
        assert.deepEqual(classOf.slice(0, twins.length), classOf.slice(twins.length));
      }),
      { numRuns: 1000 },
    );
  });
});

/** An end as policies see it. */
function endpoint(model: Model, end: BruteEnd, of: Required<Omit<ConnectionOptions, 'cutAt'>>): Endpoint {
  if (typeof end === 'string') return addressEndpoint([parseAddress(end)]);
  return podEndpoint(model.cluster, end, of.ipBlockMatchesPods ? knownAddresses(end) : []);
}

describe('connections of what a BaselinePolicy renders, for any of its rules', function () {
  this.timeout(120_000);
  const TEAM = 'team';
  const ENDS: readonly BruteEnd[] = [
    ...['team/web', 'team/db', 'other/app', 'monitoring/prometheus', 'ingress/nginx', 'ingress/other'].map((id) =>
      workload(id),
    ),
    workload('kube-system/coredns', { labels: { 'k8s-app': 'kube-dns' } }),
    workload('kube-system/cache', { labels: { 'k8s-app': 'node-local-dns' } }),
    workload('kube-system/proxy'),
    // The internet, of which the second is an exception; a private address; DNS and the API server.
    ...['8.8.8.8', '9.9.9.9', '10.1.2.3', '169.254.20.10', '10.96.0.10', '172.16.0.1', '10.96.0.1'],
  ];
  const PORTS: readonly (readonly [Protocol, number])[] = [
    ['UDP', 53],
    ['TCP', 53],
    ['TCP', 80],
    ['TCP', 443],
    ['TCP', 6443],
    ['TCP', 9090],
  ];
  const ports = (port: number): fc.Arbitrary<{ ports?: { port: number }[] }> =>
    fc.constantFrom({}, { ports: [{ port }] });
  const choices = fc.record({
    deny: fc.subarray<'Ingress' | 'Egress'>(['Ingress', 'Egress']),
    dns: fc.boolean(),
    monitoring: fc.option(ports(9090)),
    sameNamespace: fc.boolean(),
    apiServer: fc.boolean(),
    ingressController: fc.option(ports(80)),
    external: fc.option(ports(443)),
  });
  type Choices = typeof choices extends fc.Arbitrary<infer T> ? T : never;

  function clusterOf(chosen: Choices): Cluster {
    const { deny, dns, monitoring, sameNamespace, apiServer, ingressController, external } = chosen;
    const controller = {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress' } },
      podSelector: { matchLabels: { app: 'nginx' } },
    };
    const policy: BaselinePolicy = {
      metadata: { name: 'base' },
      spec: {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': TEAM } },
        rules: {
          defaultDeny: { enabled: deny.length > 0, policyTypes: deny },
          allowDNS: { enabled: dns },
          allowMonitoring: { enabled: monitoring !== null, ...monitoring },
          allowSameNamespace: { enabled: sameNamespace },
          allowKubeAPIServer: { enabled: apiServer },
          allowIngressController: { enabled: ingressController !== null, from: [controller], ...ingressController },
          allowExternalEgress: { enabled: external !== null, except: ['9.9.9.0/24'], ...external },
        },
      },
    };
    const workloads = ENDS.filter((end) => typeof end !== 'string');
    const namespaces = new Map(workloads.map(({ namespace }) => [namespace, {}]));
    const discovered = {
      kubeDNSClusterIPs: ['10.96.0.10'],
      apiServerClusterIPs: ['10.96.0.1'],
      apiServerEndpoints: [{ addresses: ['172.16.0.1'], ports: [{ protocol: 'TCP' as const, port: 6443 }] }],
    };
    const { wanted, problems } = wantedChildren([policy], namespaces, discovered, []);
    assert.deepEqual(problems, []);
    return { namespaces, workloads, policies: wanted.flatMap((one) => childrenOf(one)) };
  }

  /** What the rules are documented to mean, for a connection that begins or ends in the namespace. */
  function isMeant(
    chosen: Choices,
    source: BruteEnd,
    destination: BruteEnd,
    protocol: Protocol,
    port: number,
  ): boolean {
    const { deny, dns, monitoring, sameNamespace, apiServer, ingressController, external } = chosen;
    const [from, to] = [source, destination].map((end) =>
      typeof end === 'string' ? end : `${end.namespace}/${end.name}`,
    );
    const isWithin = [from, to].every((end) => end?.startsWith(`${TEAM}/`));
    const has = (rule: { ports?: { port: number }[] } | null, of: boolean): boolean =>
      rule !== null && of && (rule.ports === undefined || (protocol === 'TCP' && rule.ports[0]?.port === port));
    const leaves = (): boolean => {
      const isClosed = deny.includes('Egress') || dns || sameNamespace || apiServer || external !== null;
      const servers = ['kube-system/coredns', 'kube-system/cache', '169.254.20.10', '10.96.0.10'];
      return (
        !isClosed ||
        (dns && port === 53 && servers.includes(to ?? '')) ||
        (sameNamespace && isWithin) ||
        (apiServer && ['172.16.0.1 6443/TCP', '10.96.0.1 443/TCP'].includes(`${to ?? ''} ${port}/${protocol}`)) ||
        has(external, to === '8.8.8.8')
      );
    };
    const enters = (): boolean => {
      const isClosed = deny.includes('Ingress') || monitoring !== null || sameNamespace || ingressController !== null;
      return (
        !isClosed ||
        (sameNamespace && isWithin) ||
        has(monitoring, from === 'monitoring/prometheus') ||
        has(ingressController, from === 'ingress/nginx')
      );
    };
    return (!from?.startsWith(`${TEAM}/`) || leaves()) && (!to?.startsWith(`${TEAM}/`) || enters());
  }

  it('are what its rules mean', () => {
    fc.assert(
      fc.property(choices, (chosen) => {
        const list = [...connections(readModel(clusterOf(chosen)))];
        for (const source of ENDS) {
          for (const destination of ENDS) {
            if (source === destination || (typeof source === 'string' && typeof destination === 'string')) continue;
            const [entry] = entriesOf(list, source, destination);
            for (const [protocol, port] of PORTS) {
              assert.equal(
                hasPort(entry?.connections ?? [], protocol, port),
                isMeant(chosen, source, destination, protocol, port),
                `${show(source)} -> ${show(destination)} ${port}/${protocol}`,
              );
            }
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('decide, for any cluster', function () {
  this.timeout(120_000);

  const profiles = Object.keys(PROFILES) as ProfileName[];
  const ports = fc.constantFrom(PortSet.all, PortSet.range('TCP', 80), PortSet.range('UDP', 79, 90));

  /** Calls `check` for every pair of targets of a cluster. */
  function forEachPair(cluster: Cluster, check: (model: Model, source: Target, destination: Target) => void): void {
    const model = readModel(cluster);
    const inside = model.workloads.map(workloadTarget);
    const outside = [addressTarget('10.1.1.1'), addressTarget('2001:db8::'), internetTarget(model)];
    for (const workload of inside) {
      for (const other of [...inside, ...outside]) {
        check(model, workload, other);
        if (other.kind === 'addresses') check(model, other, workload);
      }
    }
  }

  it('is what the policies say where nothing is left open', () => {
    fc.assert(
      fc.property(clusters, ports, (cluster, asked) => {
        forEachPair(cluster, (model, source, destination) => {
          if (
            source === destination ||
            [source, destination].some((end) => end.kind === 'addresses' && end.name === 'internet')
          )
            return;
          const closed = { ipBlockMatchesPods: false, ipBlockMatchesNodes: false, hostNetwork: 'as-pods' } as const;
          const workloads = [source, destination].flatMap((end) => (end.kind === 'workload' ? [end.workload] : []));
          if (workloads.some(({ hostNetwork }) => hostNetwork)) return;
          const [from, to] = [source, destination].map((end) =>
            end.kind === 'workload' ? podEndpoint(model.cluster, end.workload, []) : addressEndpoint(end.ranges),
          ) as [Endpoint, Endpoint];
          const expected = allowedPorts(model.policies, from, to).intersect(asked);
          const { allowed, possible } = decide(model, source, destination, asked, closed);
          assert.deepEqual([allowed.toString(), possible.toString()], [expected.toString(), expected.toString()]);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('is never another with a profile than without, but where that depends', () => {
    fc.assert(
      fc.property(clusters, fc.constantFrom(...profiles), ports, (cluster, profile, asked) => {
        forEachPair(cluster, (model, source, destination) => {
          const open = decide(model, source, destination, asked);
          const closed = decide(model, source, destination, asked, PROFILES[profile]);
          assert.ok(closed.allowed.includes(open.allowed));
          assert.ok(open.possible.includes(closed.possible));
          assert.ok(closed.possible.includes(closed.allowed));
          assert.equal(open.reasons.length > 0, open.verdict === 'depends' || open.reasons[0]?.code === 'Self');
        });
      }),
      { numRuns: 300 },
    );
  });

  it('turns with the change that explain proposes', () => {
    let proposed = 0;
    fc.assert(
      fc.property(clusters, fc.constantFrom(...profiles), ports, (cluster, profile, asked) => {
        forEachPair(cluster, (model, source, destination) => {
          const { decision, change, sides } = explain(model, source, destination, asked, PROFILES[profile]);
          for (const { allows } of sides) assert.ok(allows.includes(decision.allowed));
          if (change === undefined) return;
          proposed++;
          const changed = readModel(applyChanges(frozen(cluster), change));
          const again = (end: Target): Target => {
            const workload = changed.workloads.find(
              (one) => end.kind === 'workload' && workloadName(one) === workloadName(end.workload),
            );
            return workload === undefined ? end : workloadTarget(workload);
          };
          const { verdict } = decide(changed, again(source), again(destination), asked, PROFILES[profile]);
          assert.equal(verdict, decision.verdict === 'allow' ? 'deny' : 'allow');
        });
      }),
      { numRuns: 200 },
    );
    assert.ok(proposed > 100, `expected many changes, found ${proposed}`);
  });
});

describe('PortSet, for any sets', () => {
  const range = fc
    .tuple(fc.constantFrom(...PROTOCOLS), fc.constantFrom(1, 2, 3, 5, 8, 65_533, 65_535), fc.nat({ max: 3 }))
    .map(([protocol, first, more]) => ({ protocol, first, last: Math.min(first + more, 65_535) }));
  const ranges = fc.array(range, { maxLength: 6 });
  const universe = PROTOCOLS.flatMap((protocol) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 65_532, 65_533, 65_534, 65_535].map((port) => ({ protocol, port })),
  );
  type Ranges = typeof ranges extends fc.Arbitrary<infer T> ? T : never;

  function setOf(list: Ranges): PortSet {
    return list.reduce(
      (set, { protocol, first, last }) => set.union(PortSet.range(protocol, first, last)),
      PortSet.empty,
    );
  }

  it('joins, intersects and subtracts as sets of single ports do', () => {
    fc.assert(
      fc.property(ranges, ranges, (one, other) => {
        const [a, b] = [setOf(one), setOf(other)];
        const [union, intersection, difference] = [a.union(b), a.intersect(b), a.subtract(b)];
        let [isEmpty, includes] = [true, true];
        for (const { protocol, port } of universe) {
          const isIn = (list: Ranges): boolean =>
            list.some((range) => range.protocol === protocol && range.first <= port && port <= range.last);
          const [inOne, inOther] = [isIn(one), isIn(other)];
          assert.equal(union.has(protocol, port), inOne || inOther);
          assert.equal(intersection.has(protocol, port), inOne && inOther);
          assert.equal(difference.has(protocol, port), inOne && !inOther);
          if (inOne) isEmpty = false;
          if (inOther && !inOne) includes = false;
        }
        assert.equal(a.isEmpty, isEmpty);
        assert.equal(a.includes(b), includes);
      }),
      { numRuns: 2000 },
    );
  });

  it('is the same for the same ports, however they came together', () => {
    fc.assert(
      fc.property(ranges, ranges, (one, other) => {
        const [a, b] = [setOf(one), setOf(other)];
        const same = a.union(b);
        for (const set of [b.union(a), setOf([...other, ...one]), a.subtract(b).union(b), same.union(a)]) {
          assert.ok(set.equals(same));
          assert.equal(set.key, same.key);
          assert.equal(set.hash, same.hash);
          assert.deepEqual(set.ranges(), same.ranges());
        }
        assert.equal(a.equals(b), a.key === b.key);
        const sorted = same
          .ranges()
          .map(({ protocol, port, endPort = port }) => [PROTOCOLS.indexOf(protocol), port, endPort] as const);
        for (const [index, [protocol, port]] of sorted.entries()) {
          const [before, , end] = sorted[index - 1] ?? [-1, 0, 0];
          assert.ok(before < protocol || end + 1 < port, 'ranges are sorted, disjoint and not adjacent');
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('partition, for any ipBlocks', () => {
  it('has each address in one piece, and each block all or nothing of a piece', () => {
    fc.assert(
      fc.property(fc.array(ipBlock, { maxLength: 4 }), (list) => {
        const blocks = list.map(parseBlock);
        const pieces = partition(blocks.flatMap(({ cidr, except }) => [cidr, ...except]));
        const hasIPv6 = list.some(({ cidr }) => cidr.includes(':'));
        for (const text of ADDRESSES) {
          const within = pieces.filter((piece) => rangeHas(formatRange(piece), text));
          assert.equal(within.length, hasIPv6 || !text.includes(':') ? 1 : 0, text);
          for (const block of blocks) {
            for (const piece of within) {
              assert.equal(blockContains(block, parseAddress(text)), blockContains(block, piece));
            }
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});
