import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { findAsset } from '../envtest/assets.ts';
import { Component } from '../envtest/component.ts';
import { ComponentError, ControlPlane } from '../envtest/control-plane.ts';
import { Guard } from '../envtest/guard.ts';
import { containerdConfig } from './containerd.ts';
import { divertConnections, ENFORCER, enforcerFlags, readsQueue } from './enforcement.ts';
import { COREDNS_IMAGE, PAUSE_IMAGE, writeCoreDNSImage, writeOperatorImage, writePauseImage } from './images.ts';
import { NETWORK } from './network.ts';

const NAME = 'node';
const CONTAINERD = '/run/containerd/containerd.sock';
/** Where Debian's containernetworking-plugins has them. */
const NETWORK_PLUGINS = '/usr/lib/cni';
const READY_TIMEOUT_MS = 120_000;
const STOP_GRACE_MS = 10_000;
const POLL_MS = 100;

/** What a node is started with. */
export interface NodeOptions {
  /** Name and tag of the image that is made of dist/ and LICENSE, and is there for pods. */
  readonly operatorImage: string;
}

/** The place where a node runs is not the one that it needs. */
export class NoSandboxError extends Error {
  constructor(variable: string) {
    super(`Expected ${variable}, which hack/node/sandbox.ts sets, found none: a node runs in namespaces of its own`);
    this.name = 'NoSandboxError';
  }
}

/**
 * A Kubernetes node with a control plane of its own, in the namespaces that sandbox.ts made: containerd, kubelet,
 * kube-proxy, kube-scheduler, and CoreDNS as a pod. Pods are real, and NetworkPolicies are enforced between them, until
 * ignoreNetworkPolicies. It leaves its removal to the sandbox: of what it makes there, nothing is seen outside.
 */
export class KubernetesNode implements AsyncDisposable {
  /** Path of a kubeconfig for the administrator. */
  readonly kubeconfig: string;
  /** Resolves with the error of the first component that ends without being told to; never rejects. */
  readonly failed: Promise<ComponentError>;

  readonly #controlPlane: ControlPlane;
  readonly #guard: Guard;
  readonly #cgroup: string;
  readonly #fail: (error: ComponentError) => void;
  readonly #expected = new Set<Component>();
  #containerd: Component | undefined;
  #kubelet: Component | undefined;
  #enforcer: Component | undefined;

  private constructor(controlPlane: ControlPlane, guard: Guard, cgroup: string) {
    this.#controlPlane = controlPlane;
    this.#guard = guard;
    this.#cgroup = cgroup;
    this.kubeconfig = controlPlane.kubeconfig;
    const { promise, resolve } = Promise.withResolvers<ComponentError>();
    this.failed = promise;
    this.#fail = resolve;
    void controlPlane.failed.then(resolve);
  }

  /**
   * Starts a node; about half a minute. It is ready when Kubernetes says so, and lookups have who answers them. Throws
   * NoSandboxError outside of a sandbox, MissingAssetError without a program, ComponentError when one fails.
   */
  static async start({ operatorImage }: NodeOptions): Promise<KubernetesNode> {
    const cgroup = variable('NODE_CGROUP');
    variable('NODE_SANDBOX');
    const controlPlane = await ControlPlane.start({
      network: {
        host: NETWORK.gateway,
        port: NETWORK.apiServerPort,
        serviceRange: NETWORK.services,
        kubernetesService: NETWORK.kubernetesService,
      },
      apiServerFlags: ['--enable-admission-plugins=NodeRestriction'],
    });
    const node = new KubernetesNode(controlPlane, await Guard.start(), cgroup);
    try {
      await node.#start(operatorImage);
    } catch (error) {
      await node.#end();
      throw error;
    }
    return node;
  }

  /** Makes the images of an archive of `docker save` known to the node. */
  async importImages(archive: string): Promise<void> {
    await promisify(execFile)('ctr', [`--address=${CONTAINERD}`, '--namespace=k8s.io', 'images', 'import', archive]);
  }

  /**
   * Restarts the node as a power cut would: kubelet and containerd are stopped, all processes of pods end without warning,
   * then both are started again. The control plane goes on. Resolves when kubelet has told that the node is ready again;
   * the pods start again after that.
   */
  async restart(): Promise<void> {
    const { status: before } = await this.#readNode();
    if (this.#kubelet) await this.#stop(this.#kubelet);
    if (this.#containerd) await this.#stop(this.#containerd);
    await this.#killPods();
    await this.#startContainerd();
    await this.#startKubelet();
    await this.#until(this.#kubelet, async () => heartbeat((await this.#readNode()).status) !== heartbeat(before));
    await this.#until(this.#kubelet, async () => isReady((await this.#readNode()).status));
  }

  /**
   * From now on nothing enforces NetworkPolicies, as where a network plugin only bridges: connections are made that no
   * policy allows. Until enforceNetworkPolicies.
   */
  async ignoreNetworkPolicies(): Promise<void> {
    const enforcer = this.#enforcer;
    if (!enforcer) return;
    this.#enforcer = undefined;
    await divertConnections('nobody');
    this.#expected.add(enforcer);
    await enforcer.stop('SIGKILL', STOP_GRACE_MS);
  }

  /** From now on NetworkPolicies are enforced between pods, as when the node was started. */
  async enforceNetworkPolicies(): Promise<void> {
    if (this.#enforcer) return;
    this.#enforcer = this.#run(ENFORCER, enforcerFlags(this.kubeconfig, NAME));
    await this.#enforcer.ready(readsQueue, READY_TIMEOUT_MS);
    await divertConnections('enforcer');
  }

  /** Ends all processes of a pod, of this UID, without warning; kubelet starts them again. */
  async crashPod(uid: string): Promise<void> {
    await this.#killContained((cgroup) => cgroup.includes(`pod${uid}`));
  }

  /** Ends all processes. Calling it again does nothing more. */
  async stop(): Promise<void> {
    await this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(operatorImage: string): Promise<void> {
    await this.#writeFiles();
    await this.#startContainerd();
    await this.#makeImages(operatorImage);
    await this.#startKubelet();
    const scheduler = await this.#controlPlane.kubeconfigFor('system:kube-scheduler');
    this.#run(findAsset('kube-scheduler'), [`--kubeconfig=${scheduler}`, '--leader-elect=false', '--secure-port=0']);
    const proxy = await this.#controlPlane.kubeconfigFor('system:kube-proxy');
    this.#run(findAsset('kube-proxy'), [
      `--kubeconfig=${proxy}`,
      `--hostname-override=${NAME}`,
      '--proxy-mode=iptables',
      `--cluster-cidr=${NETWORK.pods}`,
      // These are the kernel's, and not for namespaces to set.
      '--conntrack-max-per-core=0',
      '--conntrack-tcp-timeout-established=0s',
      '--conntrack-tcp-timeout-close-wait=0s',
    ]);
    await this.enforceNetworkPolicies();
    await this.#until(this.#kubelet, async () => isReady((await this.#readNode()).status));
    await this.#kubectl(['apply', '-f', join(import.meta.dirname, 'coredns.yaml')]);
    await this.#kubectl([
      ...['rollout', 'status', 'deployment/coredns', '--namespace=kube-system'],
      `--timeout=${READY_TIMEOUT_MS}ms`,
    ]);
  }

  async #startContainerd(): Promise<void> {
    const containerd = this.#run('containerd', [`--config=${this.#path('containerd.toml')}`]);
    this.#containerd = containerd;
    await containerd.ready(async () => {
      await promisify(execFile)('ctr', [`--address=${CONTAINERD}`, '--connect-timeout=2s', 'version']);
      return true;
    }, READY_TIMEOUT_MS);
  }

  async #startKubelet(): Promise<void> {
    const kubeconfig = await this.#controlPlane.kubeconfigFor(`system:node:${NAME}`, ['system:nodes']);
    this.#kubelet = this.#run(findAsset('kubelet'), [
      `--config=${this.#path('kubelet.yaml')}`,
      `--kubeconfig=${kubeconfig}`,
      `--hostname-override=${NAME}`,
      `--node-ip=${NETWORK.gateway}`,
    ]);
  }

  async #makeImages(operatorImage: string): Promise<void> {
    const images: [name: string, write: (archive: string) => Promise<void>][] = [
      [PAUSE_IMAGE, writePauseImage],
      [COREDNS_IMAGE, writeCoreDNSImage],
      [operatorImage, (archive) => writeOperatorImage(operatorImage, archive)],
    ];
    for (const [index, [, write]] of images.entries()) {
      const archive = this.#path(`image-${index}.tar`);
      await write(archive);
      await this.importImages(archive);
      await rm(archive);
    }
  }

  async #writeFiles(): Promise<void> {
    const { certificate, key } = this.#controlPlane.issueServer([NAME, NETWORK.gateway]);
    await mkdir(this.#path('cni'));
    await Promise.all([
      writeFile(this.#path('ca.crt'), this.#controlPlane.caData),
      writeFile(this.#path('kubelet.crt'), certificate),
      writeFile(this.#path('kubelet.key'), key),
      writeFile(this.#path('resolv.conf'), ''),
      writeFile(this.#path('cni/bridge.conflist'), JSON.stringify(networkConfig())),
      writeFile(this.#path('containerd.toml'), runtimeConfig(this.#path('cni'))),
      writeFile(this.#path('kubelet.yaml'), stringify(kubeletConfig(this.#guard.folder, this.#cgroup))),
    ]);
  }

  /** Kills what runs in containers, and what watches over it: in this process namespace all of that is the node's. */
  async #killPods(): Promise<void> {
    for (const pid of await processesOf('containerd-shim')) kill(pid);
    await this.#killContained(() => true);
  }

  /** Kills the processes of the node's cgroups whose paths are selected, and waits until they have ended. */
  async #killContained(selected: (cgroup: string) => boolean): Promise<void> {
    const hierarchy = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'].find((folder) =>
      existsSync(join(folder, this.#cgroup)),
    );
    const root = join(hierarchy ?? '/sys/fs/cgroup', this.#cgroup);
    const contained = async (): Promise<number[]> => {
      const files = (await readdir(root, { recursive: true })).filter((path) => path.endsWith('cgroup.procs'));
      const lists = await Promise.all(
        files.filter(selected).map((file) => readFile(join(root, file), 'utf8').catch(() => '')),
      );
      return lists.flatMap((list) => list.split('\n').filter(Boolean).map(Number));
    };
    const pids = new Set(await contained());
    for (const pid of pids) kill(pid);
    await this.#until(undefined, async () => !(await contained()).some((pid) => pids.has(pid)));
  }

  async #readNode(): Promise<NodeObject> {
    return JSON.parse(await this.#kubectl(['get', 'node', NAME, '--output=json'])) as NodeObject;
  }

  async #kubectl(args: readonly string[]): Promise<string> {
    const env = { ...process.env, KUBECONFIG: this.kubeconfig };
    const { stdout } = await promisify(execFile)(findAsset('kubectl'), args, { env, maxBuffer: 2 ** 24 });
    return stdout;
  }

  /** Waits until `condition` holds; a rejection counts as no, and is the cause when time is up. */
  async #until(component: Component | undefined, condition: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (let cause: unknown; ;) {
      try {
        if (await condition()) return;
      } catch (error) {
        cause = error;
      }
      if (performance.now() > deadline) {
        const what = `was not ready within ${READY_TIMEOUT_MS} ms`;
        throw (await component?.error(what)) ?? new Error(`The node ${what}`, { cause });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  #run(program: string, flags: readonly string[]): Component {
    const component = new Component(this.#guard, program, flags);
    void component.ended.then(async (how) => {
      if (!this.#expected.delete(component)) this.#fail(await component.error(how));
    });
    return component;
  }

  async #stop(component: Component): Promise<void> {
    this.#expected.add(component);
    await component.stop('SIGTERM', STOP_GRACE_MS);
  }

  async #end(): Promise<void> {
    await this.#guard.end();
    await this.#controlPlane.stop();
  }

  #path(name: string): string {
    return join(this.#guard.folder, name);
  }
}

interface NodeObject {
  status: NodeStatus;
}

interface NodeStatus {
  conditions?: { type: string; status: string; lastHeartbeatTime: string }[];
}

function heartbeat(status: NodeStatus): string | undefined {
  return status.conditions?.find(({ type }) => type === 'Ready')?.lastHeartbeatTime;
}

function isReady(status: NodeStatus): boolean {
  return status.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
}

/** A pod is on the bridge, and reaches everything by the node. */
function networkConfig(): object {
  return {
    cniVersion: '0.4.0',
    name: 'bridge',
    plugins: [
      {
        type: 'bridge',
        bridge: NETWORK.bridge,
        isGateway: true,
        // A pod may reach itself by its Service.
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          ranges: [[{ subnet: NETWORK.pods, gateway: NETWORK.gateway }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
    ],
  };
}

function runtimeConfig(networkConfigs: string): string {
  return `${containerdConfig({ root: '/var/lib/containerd', state: '/run/containerd', address: CONTAINERD })}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/${PAUSE_IMAGE}"
# A container whose score would be below containerd's own gets that, as not everybody may go below.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "${NETWORK_PLUGINS}"
conf_dir = "${networkConfigs}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
`;
}

function kubeletConfig(folder: string, cgroup: string): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: NETWORK.gateway,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: join(folder, 'ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: join(folder, 'kubelet.crt'),
    tlsPrivateKeyFile: join(folder, 'kubelet.key'),
    clusterDNS: [NETWORK.dnsService],
    clusterDomain: 'cluster.local',
    resolvConf: join(folder, 'resolv.conf'),
    containerRuntimeEndpoint: `unix://${CONTAINERD}`,
    volumePluginDir: '/var/lib/kubelet/volume-plugins',
    cgroupDriver: 'cgroupfs',
    cgroupRoot: cgroup,
    // The machine is not the node's own: it may have cgroups of version 1, swap, and a disk that is nearly full.
    failCgroupV1: false,
    failSwapOn: false,
    evictionHard: {},
    enforceNodeAllocatable: [],
    imageGCHighThresholdPercent: 100,
    localStorageCapacityIsolation: false,
  };
}

async function processesOf(program: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')));
  return pids.filter((_, index) => names[index]?.startsWith(program)).map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new NoSandboxError(name);
  return value;
}
