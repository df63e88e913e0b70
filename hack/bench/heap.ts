import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { KubeConfig, ListWatch, NetworkingV1Api, Watch } from '@kubernetes/client-node';
import { KubeClient, RESOURCES } from '../../src/kube/client.ts';
import { loadClusterAccess } from '../../src/kube/kubeconfig.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { Transport } from '../../src/kube/transport.ts';
import { createLogger } from '../../src/observability/log.ts';
import { createCaches } from '../../src/reconcilers/caches.ts';

/*
 * Prints how many bytes of heap a watched cache of all NetworkPolicies of a cluster takes for each of them, as JSON. One
 * process for each cache, so that nothing else is in the figure:
 *
 *     node --expose-gc hack/bench/heap.ts --kubeconfig=FILE --cache=ours|list-watch
 */
const { values: flags } = parseArgs({ options: { kubeconfig: { type: 'string' }, cache: { type: 'string' } } });
const { kubeconfig = '', cache } = flags;
if (kubeconfig === '' || (cache !== 'ours' && cache !== 'list-watch')) {
  throw new Error('Expected --kubeconfig=FILE and --cache=ours or --cache=list-watch');
}

const { open, close } = cache === 'ours' ? await ours() : listWatch();
const before = await heapUsed();
const objects = await open();
const after = await heapUsed();
await close();
console.log(JSON.stringify({ cache, objects, bytesEach: (after - before) / objects }));

async function ours() {
  const access = await loadClusterAccess(kubeconfig, {});
  const transport = new Transport({ access, userAgent: 'bench-heap', connections: 4, timeoutMs: 60_000 });
  const { networkPolicies } = createCaches();
  const reflector = new Reflector({
    client: new KubeClient(transport),
    type: RESOURCES.networkPolicies,
    scope: {},
    store: networkPolicies,
    logger: createLogger({ level: 'warn', format: 'text', stream: process.stderr }),
    pageSize: 500,
  });
  return {
    open: async () => {
      reflector.start();
      await reflector.whenSynced();
      return networkPolicies.size;
    },
    close: async () => {
      await reflector.stop();
      await transport.close();
    },
  };
}

function listWatch() {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const api = config.makeApiClient(NetworkingV1Api);
  const informer = new ListWatch(
    '/apis/networking.k8s.io/v1/networkpolicies',
    new Watch(config),
    () => api.listNetworkPolicyForAllNamespaces(),
    false,
  );
  return {
    open: async () => {
      await informer.start();
      return informer.list().length;
    },
    close: () => informer.stop(),
  };
}

/** Bytes of live objects. */
async function heapUsed(): Promise<number> {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error('Expected node --expose-gc');
  for (let round = 0; round < 5; round++) {
    await setImmediate();
    gc();
  }
  return process.memoryUsage().heapUsed;
}
