import type { KubernetesObject } from '../../src/api/metadata.ts';
import type { Pod, RealCluster } from './real-cluster.ts';

/** What a pod runs when it only waits for what tests run in it. */
const WAIT = 'setInterval(() => {}, 2 ** 30)';
const START_TIMEOUT = '--timeout=120s';

/** A container as namespaces admit it where Pod Security `restricted` is enforced. */
export const RESTRICTED = {
  pod: { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: { type: 'RuntimeDefault' } },
  container: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
} as const;

/** What a pod is made of. */
export interface ClientPodOptions {
  readonly namespace: string;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** An ES module that Node runs in it until the pod ends. Default: one that waits. */
  readonly script?: string;
  readonly serviceAccountName?: string;
  /** Ports as the pod declares them. */
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
}

/** A pod in which tests run scripts of Node, to look at the network from there. */
export class ClientPod {
  /** Address of the pod. */
  readonly ip: string;
  readonly #cluster: RealCluster;
  readonly #options: ClientPodOptions;

  private constructor(cluster: RealCluster, options: ClientPodOptions, ip: string) {
    this.#cluster = cluster;
    this.#options = options;
    this.ip = ip;
  }

  /** Starts a pod and waits until it is ready. It goes with its namespace. */
  static async start(cluster: RealCluster, options: ClientPodOptions): Promise<ClientPod> {
    const { namespace, name, labels = {}, script = WAIT, serviceAccountName, ports = [] } = options;
    const pods = cluster.kube.resource<Pod | KubernetesObject>('v1', 'pods', namespace);
    await pods.create({
      metadata: { name, labels },
      spec: {
        ...(serviceAccountName !== undefined && { serviceAccountName }),
        automountServiceAccountToken: serviceAccountName !== undefined,
        terminationGracePeriodSeconds: 1,
        securityContext: RESTRICTED.pod,
        containers: [
          {
            name: 'client',
            image: cluster.image,
            imagePullPolicy: 'IfNotPresent',
            command: ['node', '--input-type=module', '--eval', script],
            ports,
            securityContext: RESTRICTED.container,
          },
        ],
      },
    });
    await cluster.kubectl('wait', `--namespace=${namespace}`, '--for=condition=Ready', `pod/${name}`, START_TIMEOUT);
    const { status } = (await pods.get(name)) as Pod;
    if (status.podIP === undefined) throw new Error(`Expected a pod ${namespace}/${name} with an address, got none`);
    return new ClientPod(cluster, options, status.podIP);
  }

  /** Runs an ES module in the pod whose default export is awaited; returns that value, as JSON carries it. */
  async run(script: string): Promise<unknown> {
    const { namespace, name } = this.#options;
    const module = Buffer.from(script).toString('base64');
    const program = `const { default: value } = await import('data:text/javascript;base64,${module}');
      process.stdout.write(JSON.stringify((await value) ?? null), () => process.exit(0));`;
    const printed = await this.#cluster.kubectl(
      ...['exec', `--namespace=${namespace}`, name, '--', 'node', '--input-type=module', '--eval', program],
    );
    return JSON.parse(printed);
  }
}
