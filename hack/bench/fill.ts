import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Agent } from 'undici';
import { parse } from 'yaml';
import { ControlPlane, type AuditEvent } from '../envtest/control-plane.ts';

/*
 * Measures how fast the operator fills namespaces, against a bare loop that writes the same objects over the same
 * number of connections to the same API server, in turns within one run. Both are timed by the API server's audit log.
 *
 *     node hack/bench/fill.ts --namespaces=1000 --rounds=3
 */
const { values: flags } = parseArgs({
  options: {
    namespaces: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '3' },
    concurrency: { type: 'string', default: '16' },
  },
});
const NAMESPACES = Number(flags.namespaces);
const ROUNDS = Number(flags.rounds);
/** The operator's agent has eight connections more than workers; see src/operator.ts. */
const CONNECTIONS = Number(flags.concurrency) + 8;
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const CRD = fileURLToPath(new URL('../../crds/baselinepolicy.dev_baselinepolicies.yaml', import.meta.url));
const COMPILE_CACHE = fileURLToPath(new URL('../../node_modules/.cache/compile', import.meta.url));
const BASELINE_POLICIES = '/apis/baselinepolicy.dev/v1alpha1/baselinepolicies';
const LOOP_AGENT = 'bench-loop';
const OPERATOR_AGENT = 'baseline-policy-operator/';

interface WireObject {
  metadata: { name: string; namespace?: string; [field: string]: unknown };
  [field: string]: unknown;
}

interface WirePolicy extends WireObject {
  status?: { conditions?: { type: string; status: string }[] };
}

/** The cluster of the round, and connections to it; each round has a fresh one. */
let controlPlane: ControlPlane;
let agent: Agent;
let bodies: readonly WireObject[] = [];

const speeds = { operator: [] as number[], loop: [] as number[] };
for (let round = 0; round < ROUNDS; round++) {
  await using started = await ControlPlane.start({ auditLog: true, controllerManager: false });
  controlPlane = started;
  agent = new Agent({
    connections: CONNECTIONS,
    pipelining: 1,
    allowH2: false,
    connect: { ca: controlPlane.caData },
  });
  await call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', parse(readFileSync(CRD, 'utf8')));
  const turns = [runOperator, runLoop];
  // Who comes second finds a warmer API server; the loop can be first only when the operator has written once.
  if (round % 2 === 1) turns.reverse();
  for (const turn of turns) await turn(round);
  await agent.destroy();
}
console.log(`
| NetworkPolicies/s, ${NAMESPACES} namespaces x 4, ${CONNECTIONS} connections | min | median | max |
| --- | --- | --- | --- |
| operator | ${row(speeds.operator)} |
| bare loop | ${row(speeds.loop)} |

operator / loop (medians): ${(median(speeds.operator) / median(speeds.loop)).toFixed(2)}`);

async function runOperator(round: number): Promise<void> {
  const filled = await fillByOperator(`operator-${round}`);
  speeds.operator.push(filled.perSecond);
  console.log(JSON.stringify({ round, contender: 'operator', ...filled }));
  bodies = await childrenOf(`operator-${round}-0`);
}

async function runLoop(round: number): Promise<void> {
  const perSecond = await fillByLoop(`loop-${round}`);
  speeds.loop.push(perSecond);
  console.log(JSON.stringify({ round, contender: 'loop', perSecond }));
}

async function fillByOperator(label: string) {
  await createNamespaces(label);
  const port = await freePort();
  const operator = spawn(
    process.execPath,
    [
      // As `npm run operator` starts it.
      '--max-semi-space-size=8',
      '--single-threaded-gc',
      MAIN,
      `--kubeconfig=${controlPlane.kubeconfig}`,
      `--concurrency=${flags.concurrency}`,
      '--log-level=warn',
      '--metrics-bind-address=0',
      `--health-probe-bind-address=127.0.0.1:${port}`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE } },
  );
  try {
    // What is measured is an operator that runs and gets a policy, not its start.
    while (!(await isServing(`http://127.0.0.1:${port}/readyz`))) await delay(50);
    const mark = await controlPlane.auditMark();
    await call('POST', BASELINE_POLICIES, {
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      metadata: { name: label },
      spec: { namespaceSelector: { matchLabels: { bench: label } }, rules: { allowSameNamespace: { enabled: true } } },
    });
    while (!(await isReady(label))) await delay(200);
    const memory = readMemory(operator);
    const events = (await controlPlane.auditEvents(mark)).filter((event) =>
      event.userAgent?.startsWith(OPERATOR_AGENT),
    );
    return { perSecond: createsPerSecond(events), requests: countRequests(events), ...memory };
  } finally {
    operator.kill('SIGTERM');
    await once(operator, 'exit');
  }
}

/** Writes the same bodies as the operator did, as fast as the connections allow. */
async function fillByLoop(label: string): Promise<number> {
  await createNamespaces(label);
  const work = Array.from({ length: NAMESPACES }, (_, index) => `${label}-${index}`).flatMap((namespace) =>
    bodies.map(({ metadata, ...rest }) => ({
      path: `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`,
      body: { ...rest, metadata: { ...metadata, namespace } },
    })),
  );
  const mark = await controlPlane.auditMark();
  await inParallel(work, ({ path, body }) => call('POST', path, body));
  const events = await controlPlane.auditEvents(mark);
  return createsPerSecond(events.filter((event) => event.userAgent === LOOP_AGENT));
}

async function createNamespaces(label: string): Promise<void> {
  const names = Array.from({ length: NAMESPACES }, (_, index) => `${label}-${index}`);
  await inParallel(names, (name) =>
    call('POST', '/api/v1/namespaces', { metadata: { name, labels: { bench: label } } }),
  );
}

async function inParallel<T>(items: readonly T[], run: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      for (const item of queue) await run(item);
    }),
  );
}

/**
 * The children in a namespace without what the API server adds, and with another owner, that the operator does not
 * know: it would remove what it owns and did not make.
 */
async function childrenOf(namespace: string): Promise<WireObject[]> {
  const path = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`;
  const { items } = (await call('GET', path)) as { items: WireObject[] };
  const { metadata } = (await call('GET', '/api/v1/namespaces/kube-public')) as WireObject;
  const owner = {
    apiVersion: 'v1',
    kind: 'Namespace',
    name: metadata.name,
    uid: metadata['uid'],
    controller: true,
    blockOwnerDeletion: true,
  };
  return items.map(({ metadata: { name, labels }, spec }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `loop.${name}`, labels, ownerReferences: [owner] },
    spec,
  }));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function isServing(url: string): Promise<boolean> {
  return fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function isReady(policy: string): Promise<boolean> {
  const { status } = (await call('GET', `${BASELINE_POLICIES}/${policy}`)) as WirePolicy;
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}

async function call(method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown> {
  for (;;) {
    const response = await agent.request({
      origin: controlPlane.server,
      path,
      method,
      headers: {
        authorization: `Bearer ${controlPlane.adminToken}`,
        'content-type': 'application/json',
        'user-agent': LOOP_AGENT,
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.body.text();
    if (response.statusCode < 400) return JSON.parse(text);
    // The resource of a CustomResourceDefinition is served a moment after it was created.
    if (response.statusCode !== 404) throw new Error(`${method} ${path}: ${response.statusCode} ${text}`);
    await delay(100);
  }
}

/** From the first request's arrival until the last answer, of all creates of NetworkPolicies. */
function createsPerSecond(events: readonly AuditEvent[]): number {
  const creates = events.filter(
    ({ verb, objectRef }) => verb === 'create' && objectRef?.resource === 'networkpolicies',
  );
  const first = Math.min(...creates.map((event) => Date.parse(event.requestReceivedTimestamp)));
  const last = Math.max(...creates.map((event) => Date.parse(event.stageTimestamp)));
  return Math.round((creates.length * 1000) / (last - first));
}

function countRequests(events: readonly AuditEvent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verb, objectRef, stage } of events) {
    if (stage === 'ResponseStarted') continue;
    const subresource = objectRef?.subresource === undefined ? '' : `/${objectRef.subresource}`;
    const key = `${verb} ${objectRef?.resource ?? ''}${subresource}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

/** Resident set now and at its peak, in MB, as the kernel counts it. */
function readMemory(child: ChildProcess): { rssMB: number; peakMB: number } {
  const status = readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8');
  const megabytes = (field: string): number =>
    Math.round(Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024);
  return { rssMB: megabytes('VmRSS'), peakMB: megabytes('VmHWM') };
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

function row(numbers: readonly number[]): string {
  return [Math.min(...numbers), median(numbers), Math.max(...numbers)].join(' | ');
}
