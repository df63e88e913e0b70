import { generateKeyPairSync, randomBytes, randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { stringify } from 'yaml';
import { findAsset } from './assets.ts';
import { AUDIT_POLICY, AUDIT_START, type AuditEvent, type AuditMark, readAuditLog } from './audit.ts';
import { CertificateAuthority } from './certificates.ts';
import { Component, ComponentError } from './component.ts';
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
}

/**
 * The address of the API server in the EndpointSlice of default/kubernetes, with the port of `server`. It is one for
 * documentation (RFC 5737): that slice cannot hold a loopback address, where the API server really listens.
 */
export const ADVERTISED_ADDRESS = '192.0.2.1';

/**
 * What tests and a demo need of a cluster: namespaces that go, garbage collection, quotas, pods of Deployments,
 * EndpointSlices of Services, aggregated ClusterRoles, and the type checks of ValidatingAdmissionPolicies.
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
  readonly #ca: CertificateAuthority;
  readonly #etcd: Agent;
  readonly #api: Agent;
  readonly #fail: (error: ComponentError) => void;
  readonly #expected = new Set<Component>();
  readonly #running = new Set<Component>();
  #apiServer: Component | undefined;
  #failure: ComponentError | undefined;
  #stopping = false;
  #audited = 0;
  #kubeconfigs = 0;

  private constructor(options: ControlPlaneOptions, guard: Guard, ca: CertificateAuthority, port: number) {
    this.#options = options;
    this.#guard = guard;
    this.#ca = ca;
    this.server = `https://127.0.0.1:${port}`;
    this.kubeconfig = join(guard.folder, 'kubeconfig');
    this.adminToken = randomBytes(16).toString('hex');
    this.caData = ca.certificate;
    this.#etcd = new Agent({ connect: { socketPath: this.#path('etcd.sock') } });
    this.#api = new Agent({ connect: { ca: ca.certificate }, allowH2: false });
    const { promise, resolve } = Promise.withResolvers<ComponentError>();
    this.failed = promise;
    this.#fail = resolve;
  }

  /**
   * Starts a control plane; about three seconds. It is ready when /readyz is ok and the namespaces default and
   * kube-system exist. Throws MissingAssetError without the programs, and ComponentError when one of them fails; then
   * nothing is left.
   */
  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const programs = ['etcd', 'kube-apiserver', ...(wantsControllers(options) ? ['kube-controller-manager'] : [])];
    for (const program of programs) findAsset(program as Parameters<typeof findAsset>[0]);
    const ca = new CertificateAuthority('control-plane');
    for (let attempt = 1; ; attempt++) {
      const controlPlane = new ControlPlane(options, await Guard.start(), ca, await freePort());
      try {
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
    const { certificate, key } = this.#ca.issueClient(user, groups);
    const path = this.#path(`kubeconfig-${++this.#kubeconfigs}`);
    await this.#writeKubeconfig(path, user, {
      'client-certificate-data': base64(certificate),
      'client-key-data': base64(key),
    });
    return path;
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
    const { header } = await this.#callEtcd('/v3/kv/range', { key: base64('\0'), limit: 1, keys_only: true });
    return Number(header.revision);
  }

  /**
   * Compacts etcd up to its current revision, which it returns. What the API server reads from etcd at an older
   * resourceVersion is 410 from now on. Its watch cache still serves watches from revisions that it remembers: for a
   * 410 there, restart the API server too, or switch the cache off for a resource, for example by
   * `apiServerFlags: ['--watch-cache-sizes=configmaps#0']`.
   */
  async compactEtcd(): Promise<number> {
    const revision = await this.etcdRevision();
    await this.#callEtcd('/v3/kv/compaction', { revision, physical: true });
    return revision;
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
    await this.#startEtcd();
    await this.startAPIServer();
    if (wantsControllers(this.#options)) {
      this.#run('kube-controller-manager', [
        `--kubeconfig=${this.#path('controller-manager.kubeconfig')}`,
        `--controllers=${CONTROLLERS.join()}`,
        '--leader-elect=false',
        '--secure-port=0',
        // The defaults, 20 requests a second, would make the namespaces of one test wait for those of another.
        '--kube-api-qps=1000',
        '--kube-api-burst=2000',
        '--concurrent-namespace-syncs=20',
        '--concurrent-resource-quota-syncs=20',
        ...(this.#options.controllerManagerFlags ?? []),
      ]);
    }
  }

  async #startEtcd(): Promise<void> {
    // A Unix socket needs no port. Peers there are none; their URL must only look like one.
    const peer = 'http://localhost:2380';
    const etcd = this.#run('etcd', [
      `--data-dir=${this.#path('etcd')}`,
      `--listen-client-urls=unix://${this.#path('etcd.sock')}`,
      '--advertise-client-urls=http://localhost:2379',
      '--listen-peer-urls=http://127.0.0.1:0',
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      '--unsafe-no-fsync',
      ...(this.#options.etcdFlags ?? []),
    ]);
    await etcd.ready(async () => {
      const { statusCode, body } = await request('http://localhost/health', { dispatcher: this.#etcd });
      await body.dump();
      return statusCode === 200;
    }, READY_TIMEOUT_MS);
  }

  #apiServerFlags(): string[] {
    const audit = [
      `--audit-log-path=${this.#path('audit.log')}`,
      `--audit-policy-file=${this.#path('audit-policy.yaml')}`,
      '--audit-log-maxsize=0', // never rotated: a mark is a place in one file
    ];
    return [
      `--etcd-servers=unix://${this.#path('etcd.sock')}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${new URL(this.server).port}`,
      `--advertise-address=${ADVERTISED_ADDRESS}`,
      `--tls-cert-file=${this.#path('server.crt')}`,
      `--tls-private-key-file=${this.#path('server.key')}`,
      `--client-ca-file=${this.#path('ca.crt')}`,
      `--token-auth-file=${this.#path('tokens.csv')}`,
      '--authorization-mode=Node,RBAC',
      // Without it a watch that a client keeps open holds up a stop for a minute.
      '--shutdown-watch-termination-grace-period=1s',
      '--service-cluster-ip-range=10.0.0.0/24',
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      `--service-account-key-file=${this.#path('service-account.pub')}`,
      `--service-account-signing-key-file=${this.#path('service-account.key')}`,
      ...(this.#options.auditLog ? audit : []),
      ...(this.#options.apiServerFlags ?? []),
    ];
  }

  async #writeFiles(): Promise<void> {
    const server = this.#ca.issueServer(['127.0.0.1', '10.0.0.1', 'localhost', 'kubernetes.default.svc']);
    const controllerManager = this.#ca.issueClient('system:kube-controller-manager', ['system:masters']);
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await Promise.all([
      writeFile(this.#path('ca.crt'), this.#ca.certificate),
      writeFile(this.#path('server.crt'), server.certificate),
      writeFile(this.#path('server.key'), server.key),
      writeFile(this.#path('service-account.pub'), publicKey.export({ type: 'spki', format: 'pem' })),
      writeFile(this.#path('service-account.key'), privateKey.export({ type: 'pkcs8', format: 'pem' })),
      writeFile(this.#path('tokens.csv'), `${this.adminToken},kubernetes-admin,kubernetes-admin,"system:masters"\n`),
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

  #run(program: Parameters<typeof findAsset>[0], flags: readonly string[]): Component {
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
    await Promise.all([this.#etcd.destroy(), this.#api.destroy()]);
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

  /** Calls etcd's gRPC gateway, which takes and gives JSON, bytes in base64 and 64-bit numbers as strings. */
  async #callEtcd(path: string, body: object): Promise<{ header: { revision: string } }> {
    const { statusCode, body: answer } = await request(`http://localhost${path}`, {
      dispatcher: this.#etcd,
      method: 'POST',
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (statusCode !== 200) throw new Error(`Expected 200 of etcd for ${path}, got ${statusCode}: ${text}`);
    return JSON.parse(text) as { header: { revision: string } };
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
