import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findAsset } from '../envtest/assets.ts';
import type { Cluster, WireObject } from './cluster.ts';
import { freePort } from './free-port.ts';
import { MeasuredProcess, type Memory } from './measured-process.ts';

const pathOf = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** What the user agents of both controllers begin with: client-go takes the names of the programs. */
export const KYVERNO_AGENT = 'kyverno-';
const NAMESPACE = 'kyverno';
/** The controllers by the names of their Deployments, ServiceAccounts and programs, with the names of their Leases. */
const ADMISSION = { name: 'kyverno-admission-controller', lease: 'kyverno' };
const BACKGROUND = { name: 'kyverno-background-controller', lease: 'kyverno-background-controller' };
const READY_TIMEOUT_MS = 120_000;

/** What this module reads of a Deployment. */
interface Deployment {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly {
          readonly args: readonly string[];
          readonly env: readonly { readonly name: string; readonly value?: string }[];
        }[];
      };
    };
  };
}

/**
 * Installs Kyverno's own manifest, which is its chart with the default values: definitions, configuration, Deployments.
 * No kubelet runs these, and no controller manager aggregates the ClusterRoles, so both controllers become
 * administrators.
 */
export async function installKyverno(cluster: Cluster): Promise<void> {
  const kubectl = (...args: string[]): unknown =>
    execFileSync(findAsset('kubectl'), [`--kubeconfig=${cluster.controlPlane.kubeconfig}`, ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  kubectl('create', '--validate=false', '-f', `${kyvernoModule().Dir}/config/install-latest-testing.yaml`);
  kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s');
  await cluster.call('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
    metadata: { name: 'kyverno-administrators' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [ADMISSION, BACKGROUND].map(({ name }) => ({ kind: 'ServiceAccount', namespace: NAMESPACE, name })),
  });
}

/** Kyverno's admission and background controllers at work outside of a cluster where Kyverno is installed. */
export class RunningKyverno implements AsyncDisposable {
  readonly #processes: readonly MeasuredProcess[];

  private constructor(processes: readonly MeasuredProcess[]) {
    this.#processes = processes;
  }

  /**
   * Starts both and waits until both lead and the webhook for policies is registered.
   * @param pod suffix of the names of their pods, and so another holder of their Leases than before
   * @throws Error when one of them ends, or when they are not ready in time
   */
  static async start(cluster: Cluster, pod: string): Promise<RunningKyverno> {
    const webhook = await freePort();
    const processes: MeasuredProcess[] = [];
    const running = new RunningKyverno(processes);
    try {
      processes.push(
        await startController(cluster, ADMISSION.name, pod, [
          // The API server reaches the webhooks here, not by a Service.
          `--serverIP=127.0.0.1:${webhook}`,
          '--webhookServerHost=127.0.0.1',
          `--webhookServerPort=${webhook}`,
        ]),
      );
      processes.push(await startController(cluster, BACKGROUND.name, pod, []));
      await running.#ready(cluster, pod);
    } catch (error) {
      await running[Symbol.asyncDispose]();
      throw error;
    }
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#processes.map((controller) => controller[Symbol.asyncDispose]()));
  }

  /** Of both together; the sum of the peaks, which need not have been at one time. */
  memory(): Memory {
    const memories = this.#processes.map((controller) => controller.memory());
    return { rss: sum(memories.map(({ rss }) => rss)), peak: sum(memories.map(({ peak }) => peak)) };
  }

  /** Processor time that both together have used, in seconds. */
  cpuSeconds(): number {
    return sum(this.#processes.map((controller) => controller.cpuSeconds()));
  }

  async #ready(cluster: Cluster, pod: string): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (!(await isReady(cluster, pod))) {
      const ended = this.#processes.find((controller) => controller.ended !== undefined);
      if (ended !== undefined) throw new Error(`Expected Kyverno's controllers to run, one ended with ${ended.ended}`);
      if (performance.now() > deadline)
        throw new Error(`Expected Kyverno to be ready within ${READY_TIMEOUT_MS / 1000} s of its start, it was not`);
      await delay(200);
    }
  }
}

/** Starts a controller with the arguments and variables of its Deployment, and more flags, of which the last wins. */
async function startController(
  cluster: Cluster,
  name: string,
  pod: string,
  flags: readonly string[],
): Promise<MeasuredProcess> {
  const deployment = await cluster.call<Deployment>('GET', `/apis/apps/v1/namespaces/${NAMESPACE}/deployments/${name}`);
  const container = deployment.spec.template.spec.containers[0];
  if (container === undefined) throw new Error(`Deployment ${name}: expected a container, got none`);
  const values = container.env.flatMap(({ name, value }): [string, string][] =>
    value === undefined ? [] : [[name, value]],
  );
  const command = [
    pathOf(`bin/peers/${name}`),
    ...container.args,
    `--kubeconfig=${await cluster.controlPlane.kubeconfigForServiceAccount(NAMESPACE, name)}`,
    // Both ask for the same ports, and two benchmarks may run at a time.
    '--metricsHost=127.0.0.1',
    `--metricsPort=${await freePort()}`,
    `--controllerRuntimeMetricsAddress=127.0.0.1:${await freePort()}`,
    ...flags,
  ];
  const folder = pathOf('bin/bench');
  mkdirSync(folder, { recursive: true });
  const log = openSync(`${folder}/${name}-${pod}.log`, 'w');
  try {
    return await MeasuredProcess.start(
      command,
      // The rest of its Deployment's variables: fields of the pod.
      { ...Object.fromEntries(values), KYVERNO_NAMESPACE: NAMESPACE, KYVERNO_POD_NAME: `${name}-${pod}` },
      log,
    );
  } finally {
    closeSync(log);
  }
}

async function isReady(cluster: Cluster, pod: string): Promise<boolean> {
  for (const { name, lease } of [ADMISSION, BACKGROUND]) {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/${lease}`;
    if (!(await cluster.isServed(path))) return false;
    const { spec } = await cluster.call<WireObject>('GET', path);
    if ((spec as { holderIdentity?: string }).holderIdentity !== `${name}-${pod}`) return false;
  }
  const webhooks = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
  return cluster.isServed(`${webhooks}/kyverno-policy-validating-webhook-cfg`);
}

/** The Go module of Kyverno that the controllers were built from: its version and where its sources are. */
export function kyvernoModule(): { readonly Version: string; readonly Dir: string } {
  const args = ['mod', 'download', '-C', pathOf('hack/bench/peers/kyverno'), '-json', 'github.com/kyverno/kyverno'];
  return JSON.parse(execFileSync('go', args, { encoding: 'utf8' })) as { Version: string; Dir: string };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
