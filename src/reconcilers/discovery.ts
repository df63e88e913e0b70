import type { KubernetesObject } from '../api/metadata.ts';
import { RESOURCES } from '../kube/client.ts';
import type { Reflector, ReflectorOptions } from '../kube/reflector.ts';
import { Store, type CachedObject } from '../kube/store.ts';
import type { DiscoveryNeeds } from '../policy/desired.ts';
import type { APIServerEndpoints, DiscoveredAddresses } from '../policy/discovery.ts';

interface CachedService extends CachedObject {
  readonly clusterIPs: readonly string[];
}

interface CachedSlice extends CachedObject, APIServerEndpoints {}

interface WireService extends KubernetesObject {
  spec?: { clusterIP?: string; clusterIPs?: string[] };
}

interface WireSlice extends KubernetesObject {
  endpoints?: { addresses: string[]; conditions?: { ready?: boolean } }[] | null;
  ports?: { protocol?: 'TCP' | 'UDP' | 'SCTP'; port?: number }[] | null;
}

/** Makes a reflector that is not started yet. */
export type CreateReflector = (source: Pick<ReflectorOptions, 'type' | 'scope' | 'store'>) => Reflector;

/**
 * The addresses that rules take from the cluster. Watches a Service or an EndpointSlice only while some policy uses it.
 */
export class AddressDiscovery {
  readonly #createReflector: CreateReflector;
  readonly #onChange: () => void;
  readonly #kubeDNS: Source<CachedService>;
  readonly #apiServerService: Source<CachedService>;
  readonly #apiServerSlices: Source<CachedSlice>;

  /** @param onChange called when addresses have changed, or have become known */
  constructor(createReflector: CreateReflector, onChange: () => void) {
    this.#createReflector = createReflector;
    this.#onChange = onChange;
    this.#kubeDNS = this.#service('kube-system', 'kube-dns');
    this.#apiServerService = this.#service('default', 'kubernetes');
    this.#apiServerSlices = new Source(
      trimSlice,
      (store) =>
        this.#createReflector({
          type: RESOURCES.endpointSlices,
          scope: { namespace: 'default', labelSelector: 'kubernetes.io/service-name=kubernetes' },
          store,
        }),
      this.#onChange,
    );
  }

  /** Starts the watches that are needed and stops the others. */
  require(needs: DiscoveryNeeds): void {
    this.#kubeDNS.switch(needs.kubeDNS);
    this.#apiServerService.switch(needs.apiServer);
    this.#apiServerSlices.switch(needs.apiServer);
  }

  /** Whether what is needed has been read completely. */
  isKnown(needs: DiscoveryNeeds): boolean {
    return (
      (!needs.kubeDNS || this.#kubeDNS.synced) &&
      (!needs.apiServer || (this.#apiServerService.synced && this.#apiServerSlices.synced))
    );
  }

  /** The addresses that are needed, and a text that changes whenever they do. */
  addresses(needs: DiscoveryNeeds): { readonly addresses: DiscoveredAddresses; readonly revision: string } {
    const addresses: DiscoveredAddresses = {
      kubeDNSClusterIPs: needs.kubeDNS ? [...this.#kubeDNS.values()].flatMap(({ clusterIPs }) => clusterIPs) : [],
      apiServerEndpoints: needs.apiServer
        ? [...this.#apiServerSlices.values()].map(({ addresses: list, ports }) => ({ addresses: list, ports }))
        : [],
      apiServerClusterIPs: needs.apiServer
        ? [...this.#apiServerService.values()].flatMap(({ clusterIPs }) => clusterIPs)
        : [],
    };
    return { addresses, revision: JSON.stringify(addresses) };
  }

  /** Reads everything anew that is watched. */
  resync(): void {
    for (const source of this.#sources()) source.resync();
  }

  /** Tries again now what failed: the API server is back. */
  hasten(): void {
    for (const source of this.#sources()) source.hasten();
  }

  /** Ends all watches. */
  async stop(): Promise<void> {
    await Promise.all(this.#sources().map((source) => source.stop()));
  }

  #sources(): Pick<Source<CachedObject>, 'resync' | 'hasten' | 'stop'>[] {
    return [this.#kubeDNS, this.#apiServerService, this.#apiServerSlices];
  }

  #service(namespace: string, name: string): Source<CachedService> {
    return new Source(
      trimService,
      (store) =>
        this.#createReflector({
          type: RESOURCES.services,
          scope: { namespace, fieldSelector: `metadata.name=${name}` },
          store,
        }),
      this.#onChange,
    );
  }
}

/** One watch that can be switched on and off. */
class Source<T extends CachedObject> {
  readonly #start: () => { store: Store<T>; reflector: Reflector };
  readonly #onChange: () => void;
  #current: { readonly store: Store<T>; readonly reflector: Reflector } | undefined;

  constructor(trim: (object: KubernetesObject) => T, create: (store: Store<T>) => Reflector, onChange: () => void) {
    this.#onChange = onChange;
    this.#start = () => {
      const store = new Store<T>(trim);
      return { store, reflector: create(store) };
    };
  }

  get synced(): boolean {
    return this.#current?.reflector.synced ?? false;
  }

  values(): Iterable<T> {
    return this.#current?.store.values() ?? [];
  }

  switch(on: boolean): void {
    if (!on) {
      void this.stop();
      return;
    }
    if (this.#current !== undefined) return;
    this.#current = this.#start();
    const { store, reflector } = this.#current;
    store.subscribe(() => {
      if (reflector.synced) this.#onChange();
    });
    void reflector.whenSynced().then(this.#onChange);
    reflector.start();
  }

  resync(): void {
    this.#current?.reflector.resync();
  }

  hasten(): void {
    this.#current?.reflector.hasten();
  }

  async stop(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.reflector.stop();
  }
}

function trimService(object: KubernetesObject): CachedService {
  const { clusterIP, clusterIPs } = (object as WireService).spec ?? {};
  const addresses = clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP]);
  // A headless Service says "None" where others have an address.
  return { ...cachedFields(object), clusterIPs: addresses.filter((address) => address !== 'None' && address !== '') };
}

function trimSlice(object: KubernetesObject): CachedSlice {
  const { endpoints, ports } = object as WireSlice;
  return {
    ...cachedFields(object),
    // An endpoint of unknown readiness counts as ready (discovery.k8s.io/v1: EndpointConditions).
    addresses: (endpoints ?? [])
      .filter(({ conditions }) => conditions?.ready !== false)
      .flatMap((item) => item.addresses),
    ports: (ports ?? []).flatMap(({ protocol = 'TCP', port }) => (port === undefined ? [] : [{ protocol, port }])),
  };
}

function cachedFields({ metadata }: KubernetesObject): CachedObject {
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
  };
}
