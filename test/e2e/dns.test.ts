import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { ClientPod } from '../support/client-pod.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import type { Pod, RealCluster } from '../support/real-cluster.ts';

interface Service extends KubernetesObject {
  readonly spec: { readonly clusterIP: string };
}

interface EndpointSlice extends KubernetesObject {
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly targetRef?: { readonly name: string };
  }[];
  readonly ports: readonly { readonly port: number; readonly protocol: string }[];
}

describe('DNS for a pod in a namespace that has opted in', function () {
  this.timeout(300_000);
  let cluster: RealCluster;
  let baseline: OwnBaseline;
  let namespace: string;
  let service: Service;

  before(async () => {
    cluster = await installedOperator();
    baseline = await OwnBaseline.create(cluster);
    namespace = await baseline.optedIn('dns');
    service = await cluster.kube.resource<Service>('v1', 'services', 'kube-system').get('kube-dns');
  });

  after(() => baseline[Symbol.asyncDispose]());

  it('is answered by pods and ports that allow-dns selects', async () => {
    const { egress = [] } = (await baseline.child(namespace, 'allow-dns')).spec;
    const rule = egress.find(({ to }) =>
      to?.some(({ podSelector }) => podSelector?.matchLabels?.['k8s-app'] === 'kube-dns'),
    );
    assert.ok(rule, JSON.stringify(egress));
    const peer = rule.to?.find(({ podSelector }) => podSelector?.matchLabels?.['k8s-app'] === 'kube-dns');
    const namespaces = await cluster.kube.namespaces.list({
      labelSelector: query(peer?.namespaceSelector?.matchLabels),
    });
    assert.deepEqual(
      namespaces.map(({ metadata }) => metadata.name),
      ['kube-system'],
    );
    const pods = await cluster.kube
      .resource<Pod>('v1', 'pods', 'kube-system')
      .list({ labelSelector: query(peer?.podSelector?.matchLabels) });
    const slices = await cluster.kube
      .resource<EndpointSlice>('discovery.k8s.io/v1', 'endpointslices', 'kube-system')
      .list({ labelSelector: 'kubernetes.io/service-name=kube-dns' });
    const answering = slices.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses));
    assert.ok(answering.length > 0, JSON.stringify(slices));
    const selected = new Set(pods.map(({ status }) => status.podIP));
    assert.deepEqual(
      answering.filter((address) => !selected.has(address)),
      [],
    );

    const allowed = new Set(rule.ports?.map(({ protocol = 'TCP', port }) => `${String(port)}/${protocol}`));
    const used = slices.flatMap(({ ports }) => ports.map(({ port, protocol }) => `${port}/${protocol}`));
    assert.deepEqual(
      used.filter((port) => port.startsWith('53/') && !allowed.has(port)),
      [],
    );
    assert.ok(used.includes('53/UDP') && used.includes('53/TCP'), String(used));
  });

  it('has the address of the Service among the peers of allow-dns, for a cache of DNS on each node', async () => {
    const { egress = [] } = (await baseline.child(namespace, 'allow-dns')).spec;
    const blocks = egress.flatMap(({ to = [] }) => to.flatMap(({ ipBlock }) => ipBlock?.cidr ?? []));
    assert.ok(blocks.includes(`${service.spec.clusterIP}/32`), String(blocks));
  });

  it('answers, by UDP and by TCP', async () => {
    const pod = await ClientPod.start(cluster, { namespace, name: 'client' });
    const answers = await pod.run(`
      import { promises as dns } from 'node:dns';
      import { connect } from 'node:net';
      const name = 'kubernetes.default.svc.cluster.local';
      // RFC 1035: a message with one question, for the A record, after its length as TCP wants it.
      const question = Buffer.concat([Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ...name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
        Buffer.from([0, 0, 1, 0, 1])]);
      const overTCP = () => new Promise((resolve, reject) => {
        const socket = connect(53, '${service.spec.clusterIP}', () => {
          socket.write(Buffer.concat([Buffer.from([0, question.length]), question]));
        });
        socket.on('error', reject);
        socket.once('data', (data) => { socket.destroy(); resolve([...data.subarray(-4)].join('.')); });
      });
      const { address } = await dns.lookup('kubernetes.default');
      export default { search: address, udp: await dns.resolve4(name), tcp: await overTCP() };`);
    const { spec } = await cluster.kube.resource<Service>('v1', 'services', 'default').get('kubernetes');
    assert.deepEqual(answers, { search: spec.clusterIP, udp: [spec.clusterIP], tcp: spec.clusterIP });
  });
});

/** Labels as the label selector of a list. */
function query(labels: Readonly<Record<string, string>> = {}): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join();
}
