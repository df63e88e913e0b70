import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { MANAGER } from './api/names.ts';
import type { Options } from './config.ts';
import { Controller } from './controller/controller.ts';
import { mapChanges } from './reconcilers/mappers.ts';
import { KubeClient, RESOURCES } from './kube/client.ts';
import { APIError } from './kube/errors.ts';
import { EventRecorder } from './kube/events.ts';
import type { ClusterAccess } from './kube/kubeconfig.ts';
import { LeaderElector } from './kube/lease.ts';
import { Reflector, type ReflectorOptions } from './kube/reflector.ts';
import { Transport } from './kube/transport.ts';
import { formatBindAddress, type BindAddress } from './observability/bind-address.ts';
import { CertificateFiles } from './observability/certificate-files.ts';
import {
  startHttpEndpoints,
  type HealthCheck,
  type HttpEndpoints,
  type MetricsSecurity,
} from './observability/http.ts';
import type { Logger } from './observability/log.ts';
import { MetricsAccess } from './observability/metrics-access.ts';
import type { Metrics } from './observability/metrics.ts';
import { controllerObserver, requestObserver, watchObserver } from './observability/observers.ts';
import type { ServingCertificate } from './observability/serving-certificate.ts';
import { discoveryNeeds, type DiscoveryNeeds } from './policy/desired.ts';
import { createCaches, type Caches } from './reconcilers/caches.ts';
import { ChildWriter } from './reconcilers/child-writer.ts';
import { AddressDiscovery } from './reconcilers/discovery.ts';
import { NamespaceReconciler } from './reconcilers/namespace.ts';
import { OwnedCounter } from './reconcilers/owned-counter.ts';
import { PolicyReconciler } from './reconcilers/policy.ts';
import { PolicyStates } from './reconcilers/policy-states.ts';
import { SecondLook } from './reconcilers/second-look.ts';
import { VERSION } from './version.ts';

/** The API server did not answer when the operator started, or refused it. */
export class UnreachableError extends Error {
  constructor(server: URL, cause: unknown) {
    const { message } = cause as Error;
    super(
      cause instanceof APIError
        ? `The API server at ${server.origin} refuses: ${message}. Check the credentials in the kubeconfig.`
        : `Cannot reach the API server at ${server.origin}: ${message}. ` +
            'Check that it runs, and that the kubeconfig names the right address and certificate authority.',
      { cause },
    );
    this.name = 'UnreachableError';
  }
}

/** What an {@link Operator} is made of beside its flags. */
export interface OperatorDependencies {
  readonly access: ClusterAccess;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** The operator's own namespace, if it has one. */
  readonly ownNamespace: string | undefined;
}

/** Requests at a time beside those of the workers: lists, status, events. The Lease has a connection of its own. */
const EXTRA_CONNECTIONS = 8;
/** Tries of the first request before the API server counts as unreachable, and the pause between them. */
const FIRST_TRIES = 5;
const FIRST_TRY_EVERY_MS = 1_000;
/** All these tries together end by then: a server that accepts connections and says nothing must not hold up longer. */
const FIRST_ANSWER_WITHIN_MS = 10_000;
/** Writing a policy of 1.5 MB takes the API server seconds; the others must not wait for that. */
const POLICY_WORKERS = 4;
/** Prometheus gives a scrape ten seconds by default. */
const ACCESS_REVIEW_TIMEOUT_MS = 8_000;
/** Reports of many namespaces become one look at the policy. */
const REPORT_DELAY_MS = 50;

/**
 * The running operator: caches kept by watches, two controllers on them (namespaces do the work, policies look after
 * roll-out and status), and the election that lets one process write. Builds all parts, starts and stops them in order.
 */
export class Operator {
  readonly #options: Options;
  readonly #logger: Logger;
  readonly #metrics: Metrics;
  readonly #access: ClusterAccess;
  readonly #transport: Transport;
  readonly #client: KubeClient;
  readonly #caches: Caches = createCaches();
  readonly #discovery: AddressDiscovery;
  readonly #events: EventRecorder;
  readonly #states: PolicyStates;
  readonly #secondLook: SecondLook;
  readonly #namespaces: Controller;
  readonly #policies: Controller;
  readonly #reflectors: Reflector[];
  readonly #policyReflector: Reflector;
  readonly #elector: LeaderElector | undefined;
  #endpoints: HttpEndpoints | undefined;
  #resync: NodeJS.Timeout | undefined;
  #leading = false;
  #stopping = false;

  constructor(options: Options, { access, logger, metrics, ownNamespace }: OperatorDependencies) {
    this.#options = options;
    this.#logger = logger;
    this.#metrics = metrics;
    this.#access = access;
    this.#transport = new Transport({
      access,
      userAgent: `${MANAGER}/${VERSION}`,
      connections: options.concurrency + EXTRA_CONNECTIONS,
      timeoutMs: options.kubeApiTimeoutMs,
      observer: requestObserver(metrics, logger),
    });
    this.#client = new KubeClient(this.#transport);
    this.#events = new EventRecorder(this.#client, logger);
    this.#states = new PolicyStates(metrics);

    const observer = watchObserver(metrics);
    const createReflector = (
      source: Pick<ReflectorOptions, 'type' | 'scope' | 'store' | 'onMissing' | 'onFound'>,
    ): Reflector =>
      new Reflector({
        ...source,
        client: this.#client,
        logger,
        observer,
        pageSize: options.listPageSize,
        onRecovered: () => {
          this.#hasten();
        },
      });
    this.#policyReflector = createReflector({
      type: RESOURCES.baselinePolicies,
      scope: {},
      store: this.#caches.policies,
      onMissing: () => {
        logger.error('The CustomResourceDefinition of BaselinePolicy is not installed, waiting for it', {
          install: 'kubectl apply -f crds/',
        });
      },
      // What was refused to be written meanwhile must be looked at again.
      onFound: () => {
        if (this.#leading) this.#lead();
      },
    });
    this.#reflectors = [
      this.#policyReflector,
      createReflector({ type: RESOURCES.namespaces, scope: {}, store: this.#caches.namespaces }),
      createReflector({ type: RESOURCES.networkPolicies, scope: {}, store: this.#caches.networkPolicies }),
    ];
    this.#discovery = new AddressDiscovery(createReflector, () => {
      for (const policy of this.#caches.policies.values()) this.#policies.enqueue(policy.name);
    });

    const monotonic = (): number => performance.now();
    const common = {
      caches: this.#caches,
      discovery: this.#discovery,
      protectedNamespaces: new Set([
        ...options.protectedNamespaces,
        ...(ownNamespace === undefined ? [] : [ownNamespace]),
      ]),
      logger,
      metrics,
      events: this.#events,
      monotonic,
      wallClock: () => new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    };
    const mayWrite = (): boolean => this.#mayWrite();
    const fencedClient = new KubeClient(this.#transport, mayWrite);
    this.#secondLook = new SecondLook(this.#client, this.#caches, monotonic);
    const namespaceReconciler = new NamespaceReconciler({
      ...common,
      writer: new ChildWriter(fencedClient, this.#caches.networkPolicies, mayWrite),
      secondLook: this.#secondLook,
      stateOf: (policy) => this.#states.of(policy),
      onReport: (policy) => {
        this.#policies.enqueueAfter(policy, REPORT_DELAY_MS);
      },
    });
    const policyReconciler = new PolicyReconciler({
      ...common,
      client: fencedClient,
      owned: new OwnedCounter(this.#caches.networkPolicies),
      states: this.#states,
      brake: { count: options.deletionBrakeCount, percent: options.deletionBrakePercent },
      mayWrite,
      enqueueNamespace: (name, lane) => {
        this.#namespaces.enqueue(name, lane);
      },
    });
    this.#namespaces = new Controller({
      name: 'namespace',
      reconcile: namespaceReconciler.reconcile,
      concurrency: options.concurrency,
      logger,
      observer: controllerObserver(metrics, 'namespace'),
    });
    this.#policies = new Controller({
      name: 'baselinepolicy',
      reconcile: policyReconciler.reconcile,
      concurrency: POLICY_WORKERS,
      logger,
      observer: controllerObserver(metrics, 'baselinepolicy'),
    });
    this.#caches.policies.subscribe(() => {
      this.#requireAddresses();
    });
    mapChanges(this.#caches, {
      enqueueNamespace: (name, afterMs = 0) => {
        this.#namespaces.enqueueAfter(name, afterMs);
      },
      enqueuePolicy: (name) => {
        this.#policies.enqueue(name);
      },
    });
    this.#elector = options.leaderElect ? this.#createElector(ownNamespace) : undefined;
  }

  /**
   * Starts: endpoints first, then caches, then the election. Resolves when the caches are synced and the operator
   * works, or waits to lead.
   * @throws UnreachableError, ListenError, CertificateError
   */
  async start(): Promise<void> {
    this.#endpoints = await startHttpEndpoints({
      metricsBindAddress: this.#options.metricsBindAddress,
      healthProbeBindAddress: this.#options.healthProbeBindAddress,
      metrics: this.#metrics.registry,
      metricsSecurity: await this.#metricsSecurity(),
      liveness: [],
      readiness: [...this.#reflectors.map((reflector) => readiness(reflector)), this.#addressReadiness()],
    });
    await this.#reachServer();
    const { metricsAddress, healthProbeAddress } = this.#endpoints;
    this.#logger.info('Starting operator', {
      version: VERSION,
      server: this.#access.server.href,
      metrics: addressText(metricsAddress),
      health: addressText(healthProbeAddress),
    });
    for (const reflector of this.#reflectors) reflector.start();
    await Promise.all(this.#reflectors.map((reflector) => reflector.whenSynced()));
    if (this.#stopping) return;
    this.#logger.info('Synced caches', {
      namespaces: this.#caches.namespaces.size,
      policies: this.#caches.policies.size,
      networkPolicies: this.#caches.networkPolicies.size,
    });
    this.#secondLook.followNamespaces();
    this.#scheduleResync();
    if (this.#elector === undefined) this.#lead();
    else this.#elector.start();
  }

  /**
   * Stops in order: no new work, work in hand finishes, the Lease is given back, connections end.
   * @returns whether the work in hand was finished in time
   */
  async stop(): Promise<boolean> {
    this.#stopping = true;
    clearInterval(this.#resync);
    const cancel = new AbortController();
    const paused = Promise.all([this.#namespaces.pause(), this.#policies.pause()]).then(() => true);
    const late = delay(this.#options.shutdownTimeoutMs, false, { signal: cancel.signal }).catch(() => false);
    const finished = await Promise.race([paused, late]);
    cancel.abort();
    // The Lease goes only when nothing of ours can be written any more.
    if (finished) await this.#elector?.stop();
    this.#leading = false;
    await Promise.all([
      this.#events.close(),
      this.#discovery.stop(),
      ...this.#reflectors.map((reflector) => reflector.stop()),
      this.#endpoints?.close(),
    ]);
    await this.#transport.close();
    return finished;
  }

  #mayWrite(): boolean {
    // Without its definition nothing says what a policy wants; the children stay as they are.
    if (this.#policyReflector.missing) return false;
    return this.#leading && (this.#elector?.isLeader() ?? true);
  }

  /** Tries now what failed: the API server answers again. */
  #hasten(): void {
    this.#namespaces.hasten();
    this.#policies.hasten();
  }

  #lead(): void {
    if (this.#stopping) return;
    this.#leading = true;
    this.#states.clear();
    this.#namespaces.resume();
    this.#policies.resume();
    for (const policy of this.#caches.policies.values()) this.#policies.enqueue(policy.name);
  }

  #follow(): void {
    this.#leading = false;
    void Promise.all([this.#namespaces.pause(), this.#policies.pause()]).then(() => {
      if (!this.#leading) this.#states.clear();
    });
  }

  #createElector(ownNamespace: string | undefined): LeaderElector {
    const { leaderElectionId: name, leaderElectionNamespace, ...options } = this.#options;
    const status = this.#metrics.leaderElectionMasterStatus;
    status.set({ name }, 0);
    return new LeaderElector({
      client: this.#client,
      namespace: leaderElectionNamespace ?? ownNamespace ?? '',
      name,
      identity: `${hostname()}_${randomUUID()}`,
      leaseDurationMs: options.leaseDurationMs,
      renewDeadlineMs: options.renewDeadlineMs,
      retryPeriodMs: options.retryPeriodMs,
      logger: this.#logger,
      onStartedLeading: () => {
        status.set({ name }, 1);
        this.#lead();
      },
      onStoppedLeading: () => {
        status.set({ name }, 0);
        this.#follow();
      },
      // Nobody waits out a back-off for a server, or for rights, that are back: it is up to half a minute.
      onReachedAgain: () => {
        for (const reflector of this.#reflectors) reflector.hasten();
        this.#discovery.hasten();
      },
    });
  }

  /** What guards /metrics, unless plain HTTP is asked for. Followers are scraped too, so nothing here asks who leads. */
  async #metricsSecurity(): Promise<MetricsSecurity | undefined> {
    const { metricsSecure, metricsBindAddress } = this.#options;
    if (!metricsSecure || metricsBindAddress === undefined) return undefined;
    const access = { path: '/metrics', verb: 'get' };
    const review = (token: string) => this.#client.reviewAccess(token, access, ACCESS_REVIEW_TIMEOUT_MS);
    return {
      certificate: await this.#metricsCertificate(),
      access: new MetricsAccess({ review, logger: this.#logger }),
    };
  }

  async #metricsCertificate(): Promise<ServingCertificate> {
    const { metricsCertPath: folder, metricsCertName: certificateName, metricsCertKey: keyName } = this.#options;
    const logger = this.#logger;
    if (folder !== undefined) return CertificateFiles.open({ folder, certificateName, keyName, logger });
    // Brings a large library along, that nobody else needs.
    const { SelfSignedCertificate } = await import('./observability/self-signed-certificate.ts');
    return SelfSignedCertificate.create({ hosts: ['localhost', '127.0.0.1', '::1', hostname()], logger });
  }

  #addressReadiness(): HealthCheck {
    return {
      name: 'cache-addresses',
      failure: () => (this.#discovery.isKnown(this.#addressNeeds()) ? undefined : 'not synced yet'),
    };
  }

  /** Watches the addresses that any policy uses, and no others; followers too, so that failover needs no list. */
  #requireAddresses(): void {
    this.#discovery.require(this.#addressNeeds());
  }

  #addressNeeds(): DiscoveryNeeds {
    const needs = [...this.#caches.policies.values()]
      .filter(({ object }) => object.metadata.deletionTimestamp === undefined)
      .map(({ object }) => discoveryNeeds(object.spec));
    return {
      kubeDNS: needs.some(({ kubeDNS }) => kubeDNS),
      apiServer: needs.some(({ apiServer }) => apiServer),
    };
  }

  async #reachServer(): Promise<void> {
    const deadline = performance.now() + FIRST_ANSWER_WITHIN_MS;
    for (let attempt = 1; ; attempt++) {
      try {
        const leftMs = Math.ceil(deadline - performance.now());
        const { gitVersion } = await this.#client.version(Math.min(this.#options.kubeApiTimeoutMs, leftMs));
        this.#logger.debug('Reached API server', { version: gitVersion });
        return;
      } catch (error) {
        const isRefused = error instanceof APIError && (error.status === 401 || error.status === 403);
        const isLast = isRefused || attempt >= FIRST_TRIES || performance.now() + FIRST_TRY_EVERY_MS >= deadline;
        if (isLast || this.#stopping) throw new UnreachableError(this.#access.server, error);
        await delay(FIRST_TRY_EVERY_MS);
      }
    }
  }

  /** Lists everything anew from time to time: what a watch lost without anybody noticing is found then. */
  #scheduleResync(): void {
    const period = this.#options.resyncPeriodMs;
    if (period === 0) return;
    // Up to a tenth earlier, so that the replicas of a cluster do not list at the same moment.
    this.#resync = setInterval(
      () => {
        for (const reflector of this.#reflectors) reflector.resync();
        this.#discovery.resync();
        for (const policy of this.#caches.policies.values()) this.#policies.enqueue(policy.name, 'backlog');
        for (const namespace of this.#caches.namespaces.values()) this.#namespaces.enqueue(namespace.name, 'backlog');
      },
      period * (1 - Math.random() * 0.1),
    );
  }
}

function readiness(reflector: Reflector): HealthCheck {
  return {
    name: `cache-${reflector.resource}`,
    failure: () => {
      if (reflector.missing) return 'the API server does not know this resource: kubectl apply -f crds/';
      if (reflector.failure !== undefined) return (reflector.failure as Error).message;
      return reflector.synced ? undefined : 'not synced yet';
    },
  };
}

function addressText(address: BindAddress | undefined): string {
  return address === undefined ? 'off' : formatBindAddress(address);
}
