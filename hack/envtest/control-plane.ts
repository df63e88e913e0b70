import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { stringify } from 'yaml';
import { type Asset, findAsset } from './assets.ts';
import { AUDIT_POLICY, AUDIT_START, type AuditEvent, type AuditMark, readAuditLog } from './audit.ts';
import type { KeyedCertificate } from './certificates.ts';
import { Component, ComponentError } from './component.ts';
import { Credentials } from './credentials.ts';
import { Etcd } from './etcd.ts';
import { Guard } from './guard.ts';

export type { AuditEvent, AuditMark } from './audit.ts';
export { ComponentError } from './component.ts';

/** What a control plane is started with. */
export interface ControlPlaneOptions {
  /** Run kube-controller-manager, which deletes namespaces and collects garbage. Default: true. */
  controllerManager?: boolean;
  /** Write the audit log that `auditEvents` reads. Default: false. */
  auditLog?: boolean;
  /** More flags, after the usual ones: the last of a kind wins. */
  apiServerFlags?: readonly string[];
  controllerManagerFlags?: readonly string[];
  etcdFlags?: readonly string[];
  /** Where nodes and pods find the API server. Default: nowhere, it is on loopback, and there are no nodes. */
  network?: ClusterNetwork;
}

/** The network of a control plane that has nodes. */
export interface ClusterNetwork {
  /** IPv4 address of this machine that nodes and pods reach, and port, where the API server listens. */
  readonly host: string;
  readonly port: number;
  /** Addresses of Services, and the first of them, which is that of default/kubernetes. */
  readonly serviceRange: string;
  readonly kubernetesService: string;
}

/**
 * The address of the API server in the EndpointSlice of default/kubernetes, with the port of `server`. It is one for
 * documentation (RFC 5737): that slice cannot hold a loopback address, where the API server really listens.
 */
export const ADVERTISED_ADDRESS = '192.0.2.1';

/**
 * What tests and a demo need of a cluster without nodes: namespaces that go, garbage collection, quotas, pods of
 * Deployments, EndpointSlices of Services, aggregated ClusterRoles, and the type checks of ValidatingAdmissionPolicies.
 */
const CONTROLLERS = [
  'namespace-controller',
  'garbage-collector-controller',
  'serviceaccount-controller',
  'resourcequota-controller',
  'deployment-controller',
  'replicaset-controller',
  'endpointslice-controller',
  'clusterrole-aggregation-controller',
  'validatingadmissionpolicy-status-controller',
];

/**
 * Below the ports that Linux and macOS give to outgoing connections: such a connection cannot take the API server's
 * port while that is down, and a client that reconnects cannot connect to itself.
 */
const PORTS = { min: 10_000, max: 32_767 };
const PORT_ATTEMPTS = 10;
/** Names and addresses by which the API server is known, wherever it is. */
const HOSTS = ['127.0.0.1', 'localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
const READY_TIMEOUT_MS = 60_000;
const STOP_GRACE_MS = 10_000;

/**
 * A kube-apiserver with RBAC, an etcd and a kube-controller-manager on this machine, of their own: any number can run
 * at a time. Everything is in one temporary folder. When this process ends, however it does, the others end and the
 * folder goes; they do not keep it alive.
 */
export class ControlPlane implements AsyncDisposable {
  /** URL of the API server. */
  readonly server: string;
  /** Path of a kubeconfig for the administrator (group system:masters), by token. */
  readonly kubeconfig: string;
  /** Bearer token of the administrator. */
  readonly adminToken: string;
  /** Certificate of the authority that signed the API server's, PEM. */
  readonly caData: string;
  /** Resolves with the error of the first component that ends without being told to; never rejects. */
  readonly failed: Promise<ComponentError>;

  readonly #options: ControlPlaneOptions;
  readonly #guard: Guard;
  readonly #credentials: Credentials;
  readonly #etcd: Etcd;
  readonly #api: Agent;
  readonly #fail: (error: ComponentError) => void;
  readonly #expected = new Set<Component>();
  readonly #running = new Set<Component>();
  #credentialFlags: readonly string[] = [];
  #apiServer: Component | undefined;
  #failure: ComponentError | undefined;
  #stopping = false;
  #audited = 0;
  #kubeconfigs = 0;

  private constructor(options: ControlPlaneOptions, guard: Guard, credentials: Credentials, port: number) {
    const host = options.network?.host ?? '127.0.0.1';
    this.#options = options;
    this.#guard = guard;
    this.#credentials = credentials;
    this.server = `https://${host}:${port}`;
    this.kubeconfig = join(guard.folder, 'kubeconfig');
    this.adminToken = credentials.adminToken;
    this.caData = credentials.authority.certificate;
    this.#etcd = new Etcd(guard.folder);
    this.#api = new Agent({ connect: { ca: this.caData }, allowH2: false });
    const { promise, resolve } = Promise.withResolvers<ComponentError>();
    this.failed = promise;
    this.#fail = resolve;
  }

  /**
   * Starts a control plane; about three seconds. It is ready when /readyz is ok, the namespaces default and
   * kube-system exist, and the controllers work. Throws MissingAssetError without the programs, and ComponentError when
   * one of them fails; then nothing is left.
   */
  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const programs: Asset[] = ['etcd', 'kube-apiserver'];
    if (wantsControllers(options)) programs.push('kube-controller-manager');
    for (const program of programs) findAsset(program);
    const { network } = options;
    const hosts = network ? [network.host, network.kubernetesService] : ['10.0.0.1'];
    return ControlPlane.#launch(options, new Credentials([...HOSTS, ...hosts]));
  }

  /**
   * Starts a second control plane that serves the state of this one at a moment during the call, with the same UIDs and
   * resourceVersions, and every write that was answered before it; about three seconds. This one goes on: its watches
   * stay, its writes wait for some tenths of a second. From that moment each lives a life of its own. Both have the
   * same certificate authority, admin token, users and ServiceAccount keys, so a client needs only the other `server`.
   *
   * The fork has the options of this one, but no kube-controller-manager, and the address in its EndpointSlice of
   * default/kubernetes stays this one's, so that only what its clients write changes what they see. Its etcd still gets
   * a few writes, by the API server's own start and its Lease: for lists of the fork to be older by their
   * resourceVersions, this one's `etcdRevision()` has to have gone further. The two are stopped in any order.
   */
  async fork(): Promise<ControlPlane> {
    if (this.#stopping) throw new Error('Expected a control plane that runs, got one that was stopped');
    const apiServerFlags = ['--endpoint-reconciler-type=none', ...(this.#options.apiServerFlags ?? [])];
    const options = { ...this.#options, controllerManager: false, apiServerFlags };
    return ControlPlane.#launch(options, this.#credentials, this.#etcd);
  }

  static async #launch(options: ControlPlaneOptions, credentials: Credentials, data?: Etcd): Promise<ControlPlane> {
    for (let attempt = 1; ; attempt++) {
      const port = options.network?.port ?? (await freePort());
      const controlPlane = new ControlPlane(options, await Guard.start(), credentials, port);
      try {
        await data?.copyDataTo(controlPlane.#etcd);
        await controlPlane.#start();
        return controlPlane;
      } catch (error) {
        await controlPlane.#end();
        // Another program took the port between our look and the API server's.
        const taken = error instanceof ComponentError && error.log.includes('address already in use');
        if (!taken || attempt === PORT_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Path of a kubeconfig, by a client certificate, for a user in groups; `system:authenticated` comes by itself. What
   * the user may do is for RBAC objects to say.
   */
  async kubeconfigFor(user: string, groups: readonly string[] = []): Promise<string> {
    const { certificate, key } = this.#credentials.authority.issueClient(user, groups);
    const path = this.#path(`kubeconfig-${++this.#kubeconfigs}`);
    await this.#writeKubeconfig(path, user, {
      'client-certificate-data': base64(certificate),
      'client-key-data': base64(key),
    });
    return path;
  }

  /** The certificate, and its key, of a server for these host names and IPv4 addresses, for example of a kubelet. */
  issueServer(hosts: readonly string[]): KeyedCertificate {
    return this.#credentials.authority.issueServer(hosts);
  }

  /** Path of a kubeconfig with a token, valid for an hour, of a ServiceAccount that exists. */
  async kubeconfigForServiceAccount(namespace: string, name: string): Promise<string> {
    const url = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const { status, text } = await this.#request('POST', url, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 3600 },
    });
    if (status !== 201) {
      throw new Error(`Expected 201 for a token of ServiceAccount ${namespace}/${name}, got ${status}: ${text}`);
    }
    const { token } = (JSON.parse(text) as { status: { token: string } }).status;
    const path = this.#path(`kubeconfig-${++this.#kubeconfigs}`);
    await this.#writeKubeconfig(path, `system:serviceaccount:${namespace}:${name}`, { token });
    return path;
  }

  /** The numbers of the processes that run now, by the names of the programs. */
  get processes(): ReadonlyMap<string, number> {
    return new Map([...this.#running].flatMap(({ name, pid }) => (pid === undefined ? [] : [[name, pid]])));
  }

  /**
   * A mark after all requests that have come by now; `auditEvents(mark)` gives those that come later. A request whose
   * effect is seen already may still be without its audit event: the mark goes by when requests were received.
   */
  async auditMark(): Promise<AuditMark> {
    const { end, at } = await this.#readAuditLog(this.#audited);
    this.#audited = end;
    return { offset: end, at };
  }

  /**
   * The audit events since a mark, or since the start, in the order of the log: all of requests that have been answered
   * by now. A running watch shows as `ResponseStarted`; count other requests by `ResponseComplete`.
   */
  async auditEvents(since: AuditMark = AUDIT_START): Promise<AuditEvent[]> {
    const { events } = await this.#readAuditLog(since.offset);
    return events.filter(({ requestReceivedTimestamp }) => requestReceivedTimestamp > since.at);
  }

  /** Stops the API server and starts it again, with the same address, certificates and data. */
  async restartAPIServer(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.stopAPIServer(signal);
    await this.startAPIServer();
  }

  /** Stops the API server and waits for its end: SIGTERM answers what is in flight first, SIGKILL is a crash. */
  async stopAPIServer(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (!this.#apiServer) return;
    this.#expected.add(this.#apiServer);
    await this.#apiServer.stop(signal, STOP_GRACE_MS);
    this.#apiServer = undefined;
  }

  /** Starts a stopped API server, and waits until it is ready. */
  async startAPIServer(): Promise<void> {
    if (this.#apiServer) throw new Error('Expected a stopped API server, got one that runs');
    this.#apiServer = this.#run('kube-apiserver', this.#apiServerFlags());
    await this.#apiServer.ready(async () => {
      for (const path of ['/readyz', '/api/v1/namespaces/default', '/api/v1/namespaces/kube-system']) {
        const { status } = await this.#request('GET', path);
        if (status !== 200) return false;
      }
      return true;
    }, READY_TIMEOUT_MS);
  }

  /** The current revision of etcd: the resourceVersion of the last write. */
  async etcdRevision(): Promise<number> {
    return this.#etcd.revision();
  }

  /**
   * Compacts etcd up to its current revision, which it returns. What the API server reads from etcd at an older
   * resourceVersion is 410 from now on. Its watch cache still serves watches from revisions that it remembers: for a
   * 410 there, restart the API server too, or switch the cache off for a resource, for example by
   * `apiServerFlags: ['--watch-cache-sizes=configmaps#0']`.
   */
  async compactEtcd(): Promise<number> {
    return this.#etcd.compact();
  }

  /**
   * Ends all processes and removes the folder. Throws ComponentError, after that, when a component had ended without
   * being told to. Calling it again does nothing more.
   */
  async stop(): Promise<void> {
    await this.#end();
    if (this.#failure) throw this.#failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(): Promise<void> {
    await this.#writeFiles();
    await this.#etcd.start((flags) => this.#run('etcd', flags), this.#options.etcdFlags);
    await this.startAPIServer();
    if (wantsControllers(this.#options)) {
      const controllerManager = this.#run('kube-controller-manager', [
        `--kubeconfig=${this.#path('controller-manager.kubeconfig')}`,
        ...(this.#options.network
          ? [
              '--controllers=*',
              `--flex-volume-plugin-dir=${this.#path('volume-plugins')}`,
              ...this.#credentials.controllerManagerFlags(this.#guard.folder),
            ]
          : [`--controllers=${CONTROLLERS.join()}`]),
        '--leader-elect=false',
        '--secure-port=0',
        // The defaults, 20 requests a second, would make the namespaces of one test wait for those of another.
        '--kube-api-qps=1000',
        '--kube-api-burst=2000',
        '--concurrent-namespace-syncs=20',
        '--concurrent-resource-quota-syncs=20',
        ...(this.#options.controllerManagerFlags ?? []),
      ]);
      // The work of a controller: until its start is over, kube-controller-manager ends when the API server does.
      const work = '/api/v1/namespaces/default/serviceaccounts/default';
      await controllerManager.ready(async () => (await this.#request('GET', work)).status === 200, READY_TIMEOUT_MS);
    }
  }

  #apiServerFlags(): string[] {
    const { hostname, port } = new URL(this.server);
    const { network } = this.#options;
    const audit = [
      `--audit-log-path=${this.#path('audit.log')}`,
      `--audit-policy-file=${this.#path('audit-policy.yaml')}`,
      '--audit-log-maxsize=0', // never rotated: a mark is a place in one file
    ];
    return [
      `--etcd-servers=${this.#etcd.endpoint}`,
      `--bind-address=${hostname}`,
      `--secure-port=${port}`,
      `--advertise-address=${network?.host ?? ADVERTISED_ADDRESS}`,
      ...this.#credentialFlags,
      '--authorization-mode=Node,RBAC',
      // Without it a watch that a client keeps open holds up a stop for a minute.
      '--shutdown-watch-termination-grace-period=1s',
      `--service-cluster-ip-range=${network?.serviceRange ?? '10.0.0.0/24'}`,
      '--kubelet-preferred-address-types=InternalIP',
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      ...(this.#options.auditLog ? audit : []),
      ...(this.#options.apiServerFlags ?? []),
    ];
  }

  async #writeFiles(): Promise<void> {
    const controllerManager = this.#credentials.authority.issueClient('system:kube-controller-manager', [
      'system:masters',
    ]);
    this.#credentialFlags = await this.#credentials.writeTo(this.#guard.folder);
    await Promise.all([
      writeFile(this.#path('audit-policy.yaml'), AUDIT_POLICY),
      this.#writeKubeconfig(this.kubeconfig, 'kubernetes-admin', { token: this.adminToken }),
      this.#writeKubeconfig(this.#path('controller-manager.kubeconfig'), 'system:kube-controller-manager', {
        'client-certificate-data': base64(controllerManager.certificate),
        'client-key-data': base64(controllerManager.key),
      }),
    ]);
  }

  async #writeKubeconfig(path: string, user: string, credentials: Record<string, string>): Promise<void> {
    const cluster = 'control-plane';
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: cluster, cluster: { server: this.server, 'certificate-authority-data': base64(this.caData) } },
      ],
      users: [{ name: user, user: credentials }],
      contexts: [{ name: cluster, context: { cluster, user } }],
      'current-context': cluster,
    };
    await writeFile(path, stringify(config, { lineWidth: 0 }));
  }

  #run(program: Asset, flags: readonly string[]): Component {
    const component = new Component(this.#guard, findAsset(program), flags);
    this.#running.add(component);
    void component.ended.then(async (how) => {
      this.#running.delete(component);
      if (this.#stopping || this.#expected.delete(component)) return;
      this.#failure ??= await component.error(how);
      this.#fail(this.#failure);
    });
    return component;
  }

  async #end(): Promise<void> {
    this.#stopping = true;
    await this.#guard.end();
    await Promise.all([this.#etcd.close(), this.#api.destroy()]);
  }

  /**
   * Reads the log after a request of our own has shown up in it: the API server logs a request just after it has sent
   * the last byte of the answer. That request is left out; `at` is when it was received, empty without an API server.
   */
  async #readAuditLog(since: number): Promise<{ events: AuditEvent[]; end: number; at: string }> {
    if (!this.#options.auditLog) throw new Error('Expected a control plane started with auditLog: true');
    const barrier = randomUUID();
    if (this.#apiServer) await this.#request('GET', `/version?audit-barrier=${barrier}`);
    const deadline = performance.now() + STOP_GRACE_MS;
    for (;;) {
      const { events, end } = await readAuditLog(this.#path('audit.log'), since);
      const own = events.find((event) => event.requestURI.endsWith(barrier));
      if (!this.#apiServer || own !== undefined) {
        const others = events.filter((event) => !event.requestURI.includes('audit-barrier='));
        return { events: others, end, at: own?.requestReceivedTimestamp ?? '' };
      }
      if (performance.now() > deadline) {
        throw new Error(`Expected the request /version?audit-barrier=${barrier} in the audit log, found it not`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async #request(method: 'GET' | 'POST', path: string, body?: object): Promise<{ status: number; text: string }> {
    const { statusCode, body: answer } = await request(this.server + path, {
      dispatcher: this.#api,
      method,
      headers: { authorization: `Bearer ${this.adminToken}`, 'content-type': 'application/json' },
      body: body ? JSON.stringify(body) : null,
    });
    return { status: statusCode, text: await answer.text() };
  }

  #path(name: string): string {
    return join(this.#guard.folder, name);
  }
}

function wantsControllers(options: ControlPlaneOptions): boolean {
  return options.controllerManager ?? true;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** A port of 127.0.0.1 where nothing listens now; another program may still take it. */
async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(PORTS.min, PORTS.max + 1);
    const server = createServer();
    try {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
      return port;
    } catch (error) {
      if (attempt === PORT_ATTEMPTS) throw error;
    } finally {
      server.close();
    }
  }
}
