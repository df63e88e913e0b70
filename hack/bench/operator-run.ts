import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AuditEvent } from '../envtest/control-plane.ts';
import { BENCH_AGENT, Cluster, inParallel, type WireList, type WireObject } from './cluster.ts';
import { OURS, RunningContender, type Contender } from './contender.ts';
import { bareWrites, Bystander, healChildren, latencyOf, protectNewNamespaces, type Latency } from './latency.ts';

const BARE_LIST = fileURLToPath(new URL('bare-list.ts', import.meta.url));
/** The policy, and the beginning of its namespaces' names. */
const POLICY = 'bench';
const CHILDREN = 4;
/** How long nothing happens before memory counts as steady, in milliseconds. */
const SETTLE_MS = 20_000;
/** A status may follow two seconds after the last write. */
const STATUS_MS = 3_000;
const SAMPLES = 200;
const RESTARTS = 3;
/** New namespaces while a large fill runs. */
const PROBES = 20;

/** What a contender did on a cluster of its own with so many namespaces; durations in milliseconds, memory in MB. */
export interface OperatorRun {
  readonly contender: string;
  readonly namespaces: number;
  readonly fill: Work & {
    /** NetworkPolicies that had to be created. */
    readonly wanted: number;
    readonly seconds: number;
    readonly cpuSeconds: number;
    /** New namespaces in the midst of it; only where asked for. */
    readonly newNamespace?: Latency;
    readonly bystander: Latency;
    readonly tooManyRequests: number;
  };
  /** One rule is changed, and so one NetworkPolicy in each namespace; so many had to be written. */
  readonly specChange: Work & { readonly wanted: number };
  readonly idleWrite: Latency;
  readonly idleBystander: Latency;
  readonly newNamespace: Latency;
  readonly healEdit: Latency;
  readonly healDelete: Latency;
  /** Writes of NetworkPolicies for each heal. */
  readonly writesPerHeal: number;
  readonly noise: Record<string, number>;
  readonly restarts: readonly Restart[];
  readonly memory: { readonly steady: number; readonly peak: number };
  readonly eventLoop?: { readonly p99: number; readonly max: number };
}

/** Writes of NetworkPolicies by one client, timed by the API server's audit log. */
export interface Work {
  readonly perSecond: number;
  /** Writes of NetworkPolicies. */
  readonly writes: number;
  /** All requests, by verb and resource. */
  readonly requests: Record<string, number>;
}

/** A start on a cluster where nothing is left to do. */
export interface Restart {
  /** From the start of the process until it was ready. */
  readonly readyAfterMs: number;
  /** From the first list until it was ready. */
  readonly syncedAfterMs: number;
  /** The same lists by a bare loop that parses them. */
  readonly listMs: number;
  readonly requests: Record<string, number>;
}

/** The whole life of an operator: started, filled, healed, changed, disturbed and started again. */
export async function runOperator(contender: Contender, namespaces: number, probed: boolean): Promise<OperatorRun> {
  await using cluster = await Cluster.start();
  await cluster.createNamespaces(POLICY, namespaces);
  const idleBystander = await bystanding(cluster, () => delay(5_000));
  let life: Omit<OperatorRun, 'restarts'>;
  {
    await using operator = await RunningContender.start(contender, cluster);
    const idleWrite = latencyOf(await bareWrites(cluster, SAMPLES));
    const fill = await measureFill(cluster, operator, namespaces, probed);
    const eventLoop = contender === OURS ? await operator.eventLoopDelay() : undefined;
    await delay(SETTLE_MS);
    const memory = { steady: operator.memory().rss, peak: operator.memory().peak };
    const newNamespace = latencyOf(await protectNewNamespaces(cluster, POLICY, 'late', SAMPLES));
    const beforeHeals = await cluster.auditMark();
    const healed = Array.from({ length: Math.min(namespaces, SAMPLES) }, (_, index) => `${POLICY}-${index}`);
    const { edits, deletes } = await healChildren(cluster, POLICY, healed);
    const healWrites = networkPolicyWrites(await cluster.requestsOf(contender.agent, beforeHeals)).length;
    const specChange = await measureSpecChange(cluster, operator);
    const noise = await measureNoise(cluster, operator, namespaces);
    life = {
      contender: contender.name,
      namespaces,
      fill,
      specChange,
      idleWrite,
      idleBystander: latencyOf(idleBystander),
      newNamespace,
      healEdit: latencyOf(edits),
      healDelete: latencyOf(deletes),
      writesPerHeal: healWrites / (edits.length + deletes.length),
      noise,
      memory,
      ...(eventLoop !== undefined && { eventLoop }),
    };
  }
  const restarts: Restart[] = [];
  for (let round = 0; round < RESTARTS; round++) restarts.push(await restart(contender, cluster));
  return { ...life, restarts };
}

async function measureFill(
  cluster: Cluster,
  operator: RunningContender,
  namespaces: number,
  probed: boolean,
): Promise<OperatorRun['fill']> {
  const { contender } = operator;
  if (contender === OURS) await operator.eventLoopDelay();
  const before = await cluster.countNetworkPolicies();
  let wanted = 0;
  const cpuBefore = operator.cpuSeconds();
  const mark = await cluster.auditMark();
  let probes: number[] = [];
  const bystander = await bystanding(cluster, async () => {
    await cluster.createPolicy(POLICY);
    if (probed) {
      // What comes before the policy is rolled out is part of the roll-out.
      await cluster.filled(before + 1);
      probes = await protectNewNamespaces(cluster, POLICY, 'probe', PROBES);
    }
    wanted = CHILDREN * (namespaces + probes.length);
    await cluster.filled(before + wanted);
  });
  const cpuSeconds = operator.cpuSeconds() - cpuBefore;
  await delay(STATUS_MS);
  const events = await cluster.requestsOf(contender.agent, mark);
  return {
    ...workOf(events),
    wanted,
    cpuSeconds,
    bystander: latencyOf(bystander),
    tooManyRequests: await countTooManyRequests(cluster, mark),
    ...(probed && { newNamespace: latencyOf(probes) }),
  };
}

async function measureSpecChange(
  cluster: Cluster,
  { contender }: RunningContender,
): Promise<OperatorRun['specChange']> {
  const wanted = (await cluster.countNetworkPolicies()) / CHILDREN;
  const mark = await cluster.auditMark();
  await cluster.changePolicy(POLICY, 9090);
  let events: AuditEvent[];
  do {
    await delay(500);
    events = await cluster.requestsOf(contender.agent, mark);
  } while (networkPolicyWrites(events).length < wanted);
  await delay(STATUS_MS);
  return { ...workOf(await cluster.requestsOf(contender.agent, mark)), wanted };
}

/** A thousand changes that are no concern of the operator; the requests that it made for them. */
async function measureNoise(cluster: Cluster, { contender }: RunningContender, namespaces: number) {
  const mark = await cluster.auditMark();
  await inParallel(
    Array.from({ length: 1_000 }, (_, index) => index),
    async (index) => {
      const namespace = `${POLICY}-${index % namespaces}`;
      const value = String(index);
      if (index % 3 === 0) {
        await cluster.call('PATCH', `/api/v1/namespaces/${namespace}`, { metadata: { annotations: { noise: value } } });
      } else if (index % 3 === 1) {
        await cluster.call('PATCH', `/api/v1/namespaces/${namespace}`, { metadata: { labels: { noise: value } } });
      } else {
        const pod = { metadata: { name: `noise-${value}` }, spec: { containers: [{ name: 'main', image: 'none' }] } };
        await cluster.call('POST', `/api/v1/namespaces/${namespace}/pods`, pod);
      }
    },
  );
  await delay(STATUS_MS);
  const events = await cluster.requestsOf(contender.agent, mark);
  return countRequests(events.filter(({ verb, objectRef }) => verb !== 'watch' && objectRef?.resource !== 'leases'));
}

async function restart(contender: Contender, cluster: Cluster): Promise<Restart> {
  const listMs = bareLists(cluster);
  const mark = await cluster.auditMark();
  await using operator = await RunningContender.start(contender, cluster);
  const readyAt = Date.now();
  await delay(STATUS_MS);
  const events = await cluster.requestsOf(contender.agent, mark);
  const lists = events.filter(({ verb, objectRef }) => verb === 'list' && objectRef?.resource === 'networkpolicies');
  const firstList = Math.min(...lists.map((event) => Date.parse(event.requestReceivedTimestamp)));
  return {
    readyAfterMs: operator.readyAfterMs,
    syncedAfterMs: readyAt - firstList,
    listMs,
    requests: countRequests(events.filter(({ objectRef }) => objectRef?.resource !== 'leases')),
  };
}

/** How long the lists take that an operator starts with, by a process that has just started; milliseconds. */
function bareLists({ controlPlane: { server, adminToken: token, caData: ca } }: Cluster): number {
  const input = JSON.stringify({ server, token, ca });
  return Number(execFileSync(process.execPath, [BARE_LIST], { input, encoding: 'utf8' }));
}

/** Runs while a bystander writes; the bystander's latencies. */
async function bystanding(cluster: Cluster, run: () => Promise<unknown>): Promise<number[]> {
  const bystander = new Bystander(cluster);
  await run();
  return bystander.stop();
}

async function countTooManyRequests(
  cluster: Cluster,
  mark: Awaited<ReturnType<Cluster['auditMark']>>,
): Promise<number> {
  const events = await cluster.controlPlane.auditEvents(mark);
  return events.filter(({ responseStatus }) => responseStatus?.code === 429).length;
}

/** Speed, from the arrival of the first write of a NetworkPolicy until the answer to the last; and all requests. */
export function workOf(events: readonly AuditEvent[]): Work & { readonly seconds: number } {
  const writes = networkPolicyWrites(events);
  const first = Math.min(...writes.map((event) => Date.parse(event.requestReceivedTimestamp)));
  const last = Math.max(...writes.map((event) => Date.parse(event.stageTimestamp)));
  const seconds = (last - first) / 1000;
  return { perSecond: writes.length / seconds, writes: writes.length, seconds, requests: countRequests(events) };
}

/** Those of them that wrote a NetworkPolicy. */
export function networkPolicyWrites(events: readonly AuditEvent[]): AuditEvent[] {
  return writesOf(events).filter(({ objectRef }) => objectRef?.resource === 'networkpolicies');
}

/** Those of them that wrote anything. */
export function writesOf(events: readonly AuditEvent[]): AuditEvent[] {
  return events.filter(({ verb }) => WRITES.has(verb));
}

const WRITES: ReadonlySet<string> = new Set(['create', 'update', 'patch', 'delete', 'deletecollection']);

/** How many requests there were by verb and resource. */
export function countRequests(events: readonly AuditEvent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verb, objectRef } of events) {
    const subresource = objectRef?.subresource === undefined ? '' : `/${objectRef.subresource}`;
    const key = `${verb} ${objectRef?.resource ?? ''}${subresource}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

/** A bare loop that writes what an operator would: the fill of so many namespaces, and then one change in each. */
export async function runLoop(
  namespaces: number,
  children: readonly object[],
): Promise<{ fill: Work; specChange: Work }> {
  await using cluster = await Cluster.start();
  await cluster.createNamespaces(POLICY, namespaces);
  const names = Array.from({ length: namespaces }, (_, index) => `${POLICY}-${index}`);
  const work = names.flatMap((namespace) =>
    children.map((child) => ({ path: `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`, child })),
  );
  const fillMark = await cluster.auditMark();
  const created = new Map<string, WireChild>();
  await inParallel(work, async ({ path, child }) => {
    const answer = await cluster.call<WireChild>('POST', path, child);
    if (answer.metadata.name.endsWith('.allow-monitoring')) created.set(path, answer);
  });
  const fill = workOf(await cluster.requestsOf(BENCH_AGENT, fillMark));
  const changeMark = await cluster.auditMark();
  await inParallel([...created], async ([path, child]) => {
    const ingress = child.spec.ingress.map((rule) => ({ ...rule, ports: [{ protocol: 'TCP', port: 9090 }] }));
    await cluster.call('PUT', `${path}/${child.metadata.name}`, { ...child, spec: { ...child.spec, ingress } });
  });
  return { fill, specChange: workOf(await cluster.requestsOf(BENCH_AGENT, changeMark)) };
}

interface WireChild {
  metadata: { name: string };
  spec: { ingress: object[] };
}

/** The children of one namespace as our operator makes them, without an owner that the loop's cluster lacks. */
export async function childrenOfOurs(): Promise<WireObject[]> {
  await using cluster = await Cluster.start();
  await cluster.createNamespaces(POLICY, 1);
  await using _operator = await RunningContender.start(OURS, cluster);
  await cluster.createPolicy(POLICY);
  await cluster.filled(CHILDREN);
  const path = `/apis/networking.k8s.io/v1/namespaces/${POLICY}-0/networkpolicies`;
  const { items } = await cluster.call<WireList>('GET', path);
  return items.map(({ metadata: { name, labels, ownerReferences }, ...rest }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    ...rest,
    metadata: { name, labels, ownerReferences },
  }));
}
