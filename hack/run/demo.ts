import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { API_VERSION, KIND, PLURAL, type BaselinePolicy } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { LABEL_MANAGED_BY, MANAGER } from '../../src/api/names.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { loadClusterAccess } from '../../src/kube/kubeconfig.ts';
import { Transport } from '../../src/kube/transport.ts';
import { ControlPlane } from '../envtest/control-plane.ts';
import { guideText, type DemoObjects } from './guide.ts';
import { applyManifest, readManifests, type Manifest } from './manifests.ts';
import { OperatorProcess } from './operator.ts';
import { StopSignals } from './stop-signals.ts';

/** What a demo is run with. */
export interface DemoOptions {
  /** The checkout. */
  readonly root: string;
  /** Flags of the operator, beside --kubeconfig. */
  readonly operatorFlags: readonly string[];
  /** Where the operator serves its metrics. */
  readonly metricsURL: string;
  /** Without kube-controller-manager, deleted namespaces stay Terminating. */
  readonly controllerManager: boolean;
  /** Folder of kubectl, when none is on the PATH. */
  readonly kubectlFolder: string | undefined;
}

const POLICIES = `/apis/${API_VERSION}/${PLURAL}`;
const CHILDREN = `/apis/networking.k8s.io/v1/networkpolicies?labelSelector=${LABEL_MANAGED_BY}%3D${MANAGER}`;
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Runs the operator on a cluster of its own with the samples in it, and prints a guide when they are ready. Resolves
 * with the exit code when all has ended: 0 after SIGINT or SIGTERM, 1 when the operator ended by itself. The operator
 * ends before the cluster, so that it can finish its writes; nothing is left, however this process ends.
 *
 * @throws {ComponentError} when the cluster ended by itself.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const stop = new StopSignals();
  console.log('Starting a control plane of its own; this takes a few seconds');
  await using controlPlane = await ControlPlane.start({ controllerManager: options.controllerManager });
  const processes = [...controlPlane.processes].map(([name, pid]) => `${name} ${pid}`).join(', ');
  console.log(`Started the control plane at ${controlPlane.server} (${processes})`);

  const { kubeconfig } = controlPlane;
  const access = await loadClusterAccess(kubeconfig, {});
  const transport = new Transport({ access, userAgent: 'make-run', connections: 4, timeoutMs: REQUEST_TIMEOUT_MS });
  const over = new AbortController();
  try {
    const samples = await applySamples(transport, options.root);
    if (stop.received()) return 0;

    await using operator = await OperatorProcess.start(options.root, [
      `--kubeconfig=${kubeconfig}`,
      ...options.operatorFlags,
    ]);
    console.log(`Started the operator (operator ${String(operator.pid)})`);
    stop.forward((signal) => {
      operator.signal(signal);
    });
    const guided = whenReady(transport, samples, over.signal).then((objects) => {
      if (objects !== undefined) console.log(guideText(objects, { ...options, kubeconfig }));
      return operator.ended;
    });
    const end = await Promise.race([operator.ended, controlPlane.failed, guided]);
    // What the control plane died of is thrown when it is disposed of.
    if (end instanceof Error) return 1;
    // A signal that comes before the operator listens to it ends it just as well.
    if (stop.received() && (end.code === 0 || end.code === null)) return 0;
    console.error(`Expected the operator to run until Ctrl-C, but it ${end.text}`);
    return 1;
  } finally {
    over.abort();
    await transport.close();
  }
}

/** Installs the definition, waits until BaselinePolicies are served, and applies the samples; returns those. */
async function applySamples(transport: Transport, root: string): Promise<Manifest[]> {
  const definitions = await readManifests(join(root, 'crds'));
  for (const definition of definitions) await applyManifest(transport, definition);
  await poll(async () => {
    try {
      return await transport.request<object>({ method: 'GET', path: POLICIES, resource: PLURAL });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }, 'the API server to serve BaselinePolicies');
  const samples = await readManifests(join(root, 'config', 'samples'));
  for (const sample of samples) await applyManifest(transport, sample);
  console.log(`Applied crds/ and config/samples/ (${definitions.length + samples.length} objects)`);
  return samples;
}

/** Resolves with the objects of the demo when its BaselinePolicy is Ready; undefined when it is over before. */
async function whenReady(
  transport: Transport,
  samples: readonly Manifest[],
  over: AbortSignal,
): Promise<DemoObjects | undefined> {
  const get = async <T>(path: string): Promise<T> => transport.request<T>({ method: 'GET', path, resource: 'demo' });
  const named = (kind: string): string[] =>
    samples.filter((sample) => sample.kind === kind).map(({ metadata }) => metadata.name);
  const [name = ''] = named(KIND);
  try {
    const policy = await poll(async () => {
      over.throwIfAborted();
      const found = await get<BaselinePolicy>(`${POLICIES}/${name}`);
      return isReady(found) ? found : undefined;
    }, `the BaselinePolicy ${name} to be Ready`);
    const { items } = await get<{ items: KubernetesObject[] }>(CHILDREN);
    const namespaces = named('Namespace').map((namespace) => get<KubernetesObject>(`/api/v1/namespaces/${namespace}`));
    return { policy, namespaces: await Promise.all(namespaces), children: items };
  } catch (error) {
    if (over.aborted) return undefined;
    throw error;
  }
}

function isReady({ metadata, status }: BaselinePolicy): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status === 'True' && ready.observedGeneration === metadata.generation;
}

/** Looks again and again until there is something. Throws after a minute. */
async function poll<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline)
      throw new Error(`Expected ${what} within ${READY_TIMEOUT_MS / 1000} s; it is not`);
    await delay(POLL_MS);
  }
}
