import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { VERSION } from '../../src/version.ts';
import { findAsset } from '../../hack/envtest/assets.ts';
import { KubernetesNode } from '../../hack/node/node.ts';
import { KubeClient } from './kube.ts';
import { kubectl, PROJECT } from './kubectl.ts';
import { OPERATOR, OPERATOR_LEASE, OPERATOR_NAMESPACE } from './service-account.ts';

const OPERATOR_PODS = { labelSelector: `app.kubernetes.io/name=${OPERATOR},app.kubernetes.io/component=operator` };

/** The image that `config/manager` names. */
const DEFAULT_IMAGE = `${OPERATOR}:${VERSION}`;

/** Whether the tests have a node of their own, in place of a cluster of KUBECONFIG. */
export const OWN_NODE = (process.env['KUBECONFIG'] ?? '') === '';

/** Whether the cluster's network plugin enforces NetworkPolicies: of the tests' own it does, of another ENFORCED says so. */
export const ENFORCED = OWN_NODE || process.env['ENFORCED'] === 'true';

/** A Pod, as far as tests look at it. */
export interface Pod extends KubernetesObject {
  readonly spec: { readonly containers: readonly { readonly name: string; readonly image: string }[] };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly containerID?: string; readonly restartCount: number }[];
  };
}

/** What a command printed, and its exit code. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A cluster whose nodes run pods. */
export class RealCluster {
  readonly kubeconfig: string;
  readonly kube: KubeClient;
  /** The operator's image, which the nodes have or pull; it holds Node, so pods of tests run it too. */
  readonly image: string;
  readonly #node: KubernetesNode | undefined;
  readonly #plugin: string;

  private constructor(kubeconfig: string, plugin: string, node?: KubernetesNode) {
    this.kubeconfig = kubeconfig;
    this.kube = KubeClient.fromKubeconfig(kubeconfig);
    this.image = process.env['IMG'] ?? DEFAULT_IMAGE;
    this.#plugin = plugin;
    this.#node = node;
  }

  /** The cluster of KUBECONFIG, or one of a node of its own. */
  static async start(): Promise<RealCluster> {
    const plugin = await mkdtemp(join(tmpdir(), 'plugin-'));
    const script = join(PROJECT, 'dist/kubectl-baseline.js');
    await writeFile(join(plugin, 'kubectl-baseline'), `#!/bin/sh\nexec '${process.execPath}' '${script}' "$@"\n`, {
      mode: 0o755,
    });
    if (!OWN_NODE) return new RealCluster(process.env['KUBECONFIG'] ?? '', plugin);
    const node = await KubernetesNode.start({ operatorImage: process.env['IMG'] ?? DEFAULT_IMAGE });
    return new RealCluster(node.kubeconfig, plugin, node);
  }

  /** The node, which a test may restart. Throws when the cluster is not the tests' own. */
  get node(): KubernetesNode {
    if (!this.#node) throw new Error('Expected a node of its own, got the cluster of KUBECONFIG');
    return this.#node;
  }

  /** Runs kubectl; returns what it printed. */
  kubectl(...args: string[]): Promise<string> {
    return kubectl(args, this.kubeconfig);
  }

  /** Runs `kubectl baseline`: kubectl finds the bundled plugin on its PATH. Resolves whatever the exit code is. */
  async kubectlBaseline(...args: string[]): Promise<CommandResult> {
    const env = {
      ...process.env,
      KUBECONFIG: this.kubeconfig,
      PATH: `${this.#plugin}:${process.env['PATH'] ?? ''}`,
    };
    try {
      const { stdout, stderr } = await promisify(execFile)(findAsset('kubectl'), ['baseline', ...args], { env });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as CommandResult;
      // Something else than the command's own end, such as a kubectl that cannot be started.
      if (typeof code !== 'number') throw error;
      return { code, stdout, stderr };
    }
  }

  /** Installs what `config/default` has, with `image`, and waits until all replicas are ready. */
  async installOperator(): Promise<void> {
    if (this.image === DEFAULT_IMAGE) {
      await this.kubectl('apply', '-k', 'config/default');
    } else {
      const manifests = await this.kubectl('kustomize', 'config/default');
      const file = join(this.#plugin, 'operator.yaml');
      await writeFile(file, manifests.replace(`image: ${DEFAULT_IMAGE}`, `image: ${this.image}`));
      await this.kubectl('apply', '-f', file);
    }
    await this.operatorReady();
  }

  /** Removes the operator, its definition, rights and namespace as `make undeploy` does, BaselinePolicies first. */
  async undeploy(): Promise<void> {
    const env = { ...process.env, KUBECONFIG: this.kubeconfig, KUBECTL: findAsset('kubectl') };
    await promisify(execFile)('hack/undeploy.sh', ['delete'], { cwd: PROJECT, env });
  }

  /** Waits until all replicas of the operator are ready, none of an older Deployment among them. */
  async operatorReady(): Promise<void> {
    await this.kubectl(
      ...['rollout', 'status', `deployment/${OPERATOR}`, `--namespace=${OPERATOR_NAMESPACE}`, '--timeout=120s'],
    );
  }

  /** The operator's pods that are not about to end. */
  async operatorPods(): Promise<Pod[]> {
    const pods = await this.kube.resource<Pod>('v1', 'pods', OPERATOR_NAMESPACE).list(OPERATOR_PODS);
    return pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  /** Name of the operator's pod that leads, by the Lease; undefined when none does. */
  async leader(): Promise<string | undefined> {
    const lease = await this.kube
      .resource<Lease>('coordination.k8s.io/v1', 'leases', OPERATOR_NAMESPACE)
      .find(OPERATOR_LEASE);
    const pod = lease?.spec.holderIdentity?.split('_')[0];
    // A leader that ends gives the Lease back by an empty name.
    return pod === '' ? undefined : pod;
  }

  /** What helps to understand a failure: pods, events, the operator's last words. */
  async describe(): Promise<string> {
    const commands = [
      ['get', 'pods', '--all-namespaces', '--output=wide'],
      ['get', 'events', '--all-namespaces', '--sort-by=.metadata.creationTimestamp'],
      [
        'logs',
        `--namespace=${OPERATOR_NAMESPACE}`,
        `--selector=${OPERATOR_PODS.labelSelector}`,
        '--prefix',
        '--tail=20',
      ],
    ];
    const texts = commands.map(async (args) => {
      const printed = await this.kubectl(...args).catch((error: unknown) => String(error));
      return `$ kubectl ${args.join(' ')}\n${printed}`;
    });
    const failure = await Promise.race([this.#node?.failed, Promise.resolve()]);
    return [...(await Promise.all(texts)), failure?.message ?? ''].join('\n');
  }

  /** Ends what was started; a cluster of KUBECONFIG stays. */
  async stop(): Promise<void> {
    await this.kube.close();
    await this.#node?.stop();
    await rm(this.#plugin, { recursive: true });
  }
}

interface Lease extends KubernetesObject {
  readonly spec: { readonly holderIdentity?: string };
}
