import assert from 'node:assert/strict';
import { ClientPod } from './client-pod.ts';
import type { RealCluster } from './real-cluster.ts';

/** How long a connection may take that is allowed; one that is not is dropped without a word by most network plugins. */
const CONNECT_TIMEOUT_MS = 1500;

/** What pods are started with. */
export interface ConnectingPodsOptions {
  /** Namespaces of the cluster, by those that the test names. */
  readonly namespaces: Readonly<Record<string, string>>;
  /** TCP ports on which all pods listen. */
  readonly ports: readonly number[];
}

/** How one pod differs from others. */
export interface PodOptions {
  /** Default: the label `app`, with the pod's own name. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Names of ports, for policies that name them. */
  readonly portNames?: Readonly<Record<string, number>>;
}

/**
 * Pods that listen on ports and try to connect to each other, by names such as `shop/web`. A connection is told as
 * `shop/web > shop/api:8080`.
 */
export class ConnectingPods {
  readonly #cluster: RealCluster;
  readonly #options: ConnectingPodsOptions;
  readonly #pods = new Map<string, ClientPod>();

  constructor(cluster: RealCluster, options: ConnectingPodsOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** Starts a pod, and waits until it is ready. It goes with its namespace. */
  async start(name: string, { labels, portNames = {} }: PodOptions = {}): Promise<void> {
    const { namespace, name: pod } = this.#locate(name);
    const script = `import { createServer } from 'node:http';
      for (const port of ${JSON.stringify(this.#options.ports)}) {
        createServer((_, answer) => answer.end('reached')).listen(port);
      }`;
    const ports = Object.entries(portNames).map(([of, containerPort]) => ({ name: of, containerPort }));
    const options = { namespace, name: pod, labels: labels ?? { app: pod }, ports, script };
    this.#pods.set(name, await ClientPod.start(this.#cluster, options));
  }

  /** The connections that are made, in order: each pod tries all others on all ports. */
  async connected(): Promise<string[]> {
    const lists = [...this.#pods].map(async ([source, pod]) => {
      const targets = [...this.#pods].flatMap(([name, { ip }]) =>
        name === source
          ? []
          : this.#options.ports.map((port) => ({ name: `${name}:${port}`, url: `http://${ip}:${port}` })),
      );
      const reached = (await pod.run(`
        const reaches = ({ url }) => fetch(url, { signal: AbortSignal.timeout(${CONNECT_TIMEOUT_MS}) })
          .then((answer) => answer.text()).then((text) => text === 'reached', () => false);
        export default Promise.all(${JSON.stringify(targets)}.map(reaches));`)) as boolean[];
      return targets.filter((_, index) => reached[index]).map(({ name }) => `${source} > ${name}`);
    });
    return (await Promise.all(lists)).flat().sort();
  }

  /** The connections that `kubectl baseline matrix` says to be allowed, in order. */
  async foretold(...flags: string[]): Promise<string[]> {
    const names = new Map(
      [...this.#pods.keys()].map((name) => {
        const { namespace, name: pod } = this.#locate(name);
        return [`${namespace}/${pod}[Pod]`, name];
      }),
    );
    const lists = this.#options.ports.map(async (port) => {
      const { code, stdout, stderr } = await this.#cluster.kubectlBaseline(
        ...['matrix', '--all-namespaces', `--port=${port}/TCP`, '--output=json', ...flags],
      );
      assert.equal(code, 0, stderr);
      const rows = JSON.parse(stdout) as { source: string; destinations: Record<string, string> }[];
      return rows.flatMap(({ source, destinations }) => {
        const from = names.get(source);
        if (from === undefined) return [];
        return Object.entries(destinations).flatMap(([destination, state]) => {
          const to = names.get(destination);
          return to === undefined || state !== 'all' ? [] : [`${from} > ${to}:${port}`];
        });
      });
    });
    return (await Promise.all(lists)).flat().sort();
  }

  #locate(name: string): { namespace: string; name: string } {
    const [namespace = '', pod = ''] = name.split('/');
    return { namespace: this.#options.namespaces[namespace] ?? namespace, name: pod };
  }
}
