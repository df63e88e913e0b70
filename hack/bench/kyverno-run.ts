import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { readLines } from '../../src/kube/lines.ts';
import type { AuditEvent, AuditMark } from '../envtest/control-plane.ts';
import { Cluster, networkPolicyPath, type WireList, type WireObject } from './cluster.ts';
import { OURS, RunningContender } from './contender.ts';
import { generatingPolicy, GENERATING_POLICIES, type GeneratedChild } from './generating-policy.ts';
import { installKyverno, KYVERNO_AGENT, RunningKyverno } from './kyverno-controllers.ts';
import type { Memory } from './measured-process.ts';
import { countRequests, networkPolicyWrites, writesOf } from './operator-run.ts';

/** The policy, on both sides, and the beginning of its namespaces' names. */
export const POLICY = 'bench';
/** The child that changes, and the port that it gets. */
const CHANGED = { name: `${POLICY}.allow-monitoring`, port: 9090 };
/** No write for so long, but of heartbeats, and a side has nothing left to do, in milliseconds. */
const QUIET_MS = 10_000;
/** What is written when nothing happens, too: Kyverno writes its webhook configurations every few seconds. */
const HEARTBEATS: ReadonlySet<string> = new Set([
  'leases',
  'validatingwebhookconfigurations',
  'mutatingwebhookconfigurations',
]);
/** How long a fill or a change may take, in milliseconds. */
const LIMIT_MS = 30 * 60_000;
/** How long writes are counted after a start on a converged cluster, in milliseconds. */
const RESTART_MS = 120_000;

/** One of the two that are measured, at work: one process or several. */
interface Running extends AsyncDisposable {
  memory(): Memory;
  /** Processor time used so far, in seconds. */
  cpuSeconds(): number;
}

/** One of the two that are measured on the same work. */
export interface Side {
  readonly name: string;
  /** What the user agents of all its requests begin with. */
  readonly agent: string;
  install(cluster: Cluster): Promise<void>;
  /** Starts it and waits until it is ready; `start` counts its starts on one cluster. */
  start(cluster: Cluster, start: number): Promise<Running>;
  /** Creates the policy that fills the namespaces. */
  createPolicy(cluster: Cluster): Promise<void>;
  /** Changes the port of one rule, and so one child in each namespace. */
  changePolicy(cluster: Cluster, port: number): Promise<void>;
}

/** What one side did on a cluster of its own; memory in MB. */
export interface SideRun {
  readonly side: string;
  readonly namespaces: number;
  readonly fill: Work & {
    readonly perSecond: number;
    readonly requestsEach: number;
    readonly cpuSeconds: number;
    readonly memory: Memory;
  };
  readonly change: Work;
  /** In the two minutes after its start on a converged cluster. */
  readonly restart: Writes;
}

/** Requests until nothing was left to do, all but those of Leases. */
interface Writes {
  readonly networkPolicyWrites: number;
  readonly writes: number;
  /** By verb and resource. */
  readonly requests: Readonly<Record<string, number>>;
}

/** Work on so many NetworkPolicies. */
interface Work extends Writes {
  readonly wanted: number;
  /** From the request that asked for it until the last of them was right. */
  readonly seconds: number;
}

/** The operator of this repository. */
export const OURS_SIDE: Side = {
  name: OURS.name,
  agent: OURS.agent,
  install: () => Promise.resolve(),
  start: (cluster) => RunningContender.start(OURS, cluster),
  createPolicy: (cluster) => cluster.createPolicy(POLICY),
  changePolicy: (cluster, port) => cluster.changePolicy(POLICY, port),
};

/** Kyverno, with a policy that generates these children. */
export function kyvernoSide(children: readonly GeneratedChild[]): Side {
  return {
    name: 'Kyverno',
    agent: KYVERNO_AGENT,
    install: installKyverno,
    start: (cluster, start) => RunningKyverno.start(cluster, String(start)),
    async createPolicy(cluster) {
      await cluster.call('POST', GENERATING_POLICIES, generatingPolicy(POLICY, children));
    },
    async changePolicy(cluster, port) {
      const changed = children.map((child) => (child.name === CHANGED.name ? withPort(child, port) : child));
      const live = await cluster.call<WireObject>('GET', `${GENERATING_POLICIES}/${POLICY}`);
      const { spec } = generatingPolicy(POLICY, changed);
      await cluster.call('PUT', `${GENERATING_POLICIES}/${POLICY}`, { ...live, spec });
    },
  };
}

/**
 * Fill, change of one rule, and restart, each until the side has nothing left to do.
 * @throws AssertionError when the children are not the wanted ones
 */
export async function runSide(side: Side, namespaces: number, children: readonly GeneratedChild[]): Promise<SideRun> {
  await using cluster = await Cluster.start();
  await side.install(cluster);
  await cluster.createNamespaces(POLICY, namespaces);
  let fill: SideRun['fill'];
  let change: Work;
  {
    const started = await cluster.auditMark();
    await using running = await side.start(cluster, 1);
    await quiet(cluster, side, started);
    fill = await measureFill(cluster, side, running, namespaces, children);
    change = await measureChange(cluster, side, namespaces);
  }
  const mark = await cluster.auditMark();
  const endsAt = performance.now() + RESTART_MS;
  await using _running = await side.start(cluster, 2);
  await delay(endsAt - performance.now());
  return { side: side.name, namespaces, fill, change, restart: await writesSince(cluster, side, mark) };
}

async function measureFill(
  cluster: Cluster,
  side: Side,
  running: Running,
  namespaces: number,
  children: readonly GeneratedChild[],
): Promise<SideRun['fill']> {
  const wanted = namespaces * children.length;
  const cpuBefore = running.cpuSeconds();
  const mark = await cluster.auditMark();
  const startedAt = Date.now();
  const deadline = performance.now() + LIMIT_MS;
  await side.createPolicy(cluster);
  for (let count = 0; count < wanted; count = await cluster.countNetworkPolicies()) {
    if (performance.now() > deadline)
      throw new Error(`${side.name}: expected ${wanted} NetworkPolicies within ${LIMIT_MS / 60_000} min, got ${count}`);
    await delay(100);
  }
  await quiet(cluster, side, mark);
  const cpuSeconds = running.cpuSeconds() - cpuBefore;
  await assertChildren(cluster, children);
  const creates = networkPolicyWrites(await cluster.requestsOf(side.agent, mark)).filter(
    ({ verb, responseStatus }) => verb === 'create' && responseStatus?.code === 201,
  );
  const seconds = (Math.max(...creates.map((event) => Date.parse(event.stageTimestamp))) - startedAt) / 1000;
  const work = await writesSince(cluster, side, mark);
  const requests = Object.values(work.requests).reduce((total, count) => total + count, 0);
  return {
    ...work,
    wanted,
    seconds,
    perSecond: wanted / seconds,
    requestsEach: requests / wanted,
    cpuSeconds,
    memory: running.memory(),
  };
}

async function measureChange(cluster: Cluster, side: Side, namespaces: number): Promise<Work> {
  const path = `/apis/networking.k8s.io/v1/networkpolicies?fieldSelector=metadata.name=${CHANGED.name}`;
  const { resourceVersion } = (await cluster.call<WireList>('GET', path)).metadata;
  const events = await cluster.watch(
    `${path}&watch=true&resourceVersion=${resourceVersion}`,
    AbortSignal.timeout(LIMIT_MS),
  );
  const mark = await cluster.auditMark();
  const startedAt = performance.now();
  await side.changePolicy(cluster, CHANGED.port);
  const changed = new Set<unknown>();
  for await (const line of readLines(events)) {
    const { type, object } = JSON.parse(line) as { type: string; object: WireObject };
    if (type !== 'DELETED' && hasPort(object, CHANGED.port)) changed.add(object.metadata.namespace);
    if (changed.size === namespaces) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  await quiet(cluster, side, mark);
  return { ...(await writesSince(cluster, side, mark)), wanted: namespaces, seconds };
}

/** Resolves when a side has written nothing but heartbeats for a while, since the mark at least. */
async function quiet(cluster: Cluster, side: Side, mark: AuditMark): Promise<void> {
  const deadline = performance.now() + LIMIT_MS;
  let lastWriteAt = Date.now();
  for (let since = mark; Date.now() - lastWriteAt < QUIET_MS;) {
    if (performance.now() > deadline)
      throw new Error(`${side.name}: expected ${QUIET_MS / 1000} s without a write within ${LIMIT_MS / 60_000} min`);
    await delay(1_000);
    const next = await cluster.auditMark();
    for (const { objectRef, stageTimestamp } of writesOf(await cluster.requestsOf(side.agent, since))) {
      if (HEARTBEATS.has(objectRef?.resource ?? '')) continue;
      lastWriteAt = Math.max(lastWriteAt, Date.parse(stageTimestamp));
    }
    since = next;
  }
}

async function writesSince(cluster: Cluster, side: Side, mark: AuditMark): Promise<Writes> {
  const events = await requestsSince(cluster, side, mark);
  return {
    networkPolicyWrites: networkPolicyWrites(events).length,
    writes: writesOf(events).length,
    requests: countRequests(events),
  };
}

async function requestsSince(cluster: Cluster, side: Side, mark: AuditMark): Promise<AuditEvent[]> {
  const events = await cluster.requestsOf(side.agent, mark);
  return events.filter(({ objectRef }) => objectRef?.resource !== 'leases');
}

async function assertChildren(cluster: Cluster, children: readonly GeneratedChild[]): Promise<void> {
  const { items } = await cluster.call<WireList>('GET', networkPolicyPath(`${POLICY}-0`));
  const byName = (objects: readonly GeneratedChild[]): object =>
    Object.fromEntries(objects.map(({ name, spec }) => [name, spec]));
  assert.deepEqual(byName(items.map(generatedChild)), byName(children));
}

/** Name and spec of a NetworkPolicy. */
export function generatedChild({ metadata: { name }, spec }: WireObject): GeneratedChild {
  return { name, spec: spec as object };
}

interface MonitoringSpec {
  ingress?: { ports?: { port?: unknown }[] }[];
}

function hasPort({ spec }: WireObject, port: number): boolean {
  return (spec as MonitoringSpec).ingress?.some(({ ports }) => ports?.some((one) => one.port === port)) === true;
}

function withPort({ name, spec }: GeneratedChild, port: number): GeneratedChild {
  const { ingress, ...rest } = spec as MonitoringSpec;
  return {
    name,
    spec: { ...rest, ingress: ingress?.map((rule) => ({ ...rule, ports: [{ protocol: 'TCP', port }] })) },
  };
}
