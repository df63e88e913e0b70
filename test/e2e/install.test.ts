import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { eventually } from '../support/await.ts';
import { ClientPod } from '../support/client-pod.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { StatusError } from '../support/kube.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { ENFORCED, type RealCluster } from '../support/real-cluster.ts';
import { OPERATOR, OPERATOR_NAMESPACE } from '../support/service-account.ts';

const SERVICE = `${OPERATOR}-metrics`;
const MONITORING = 'monitoring';
/** Of its pods. */
const METRICS_PORT = 8443;
const PROBES_PORT = 8081;
const RBAC = 'rbac.authorization.k8s.io/v1';

interface Service extends KubernetesObject {
  readonly spec: { readonly ports: readonly { readonly name: string; readonly port: number }[] };
}

/** What an HTTP server answered. */
interface Page {
  readonly status: number;
  readonly text: string;
}

describe('The installed operator', function () {
  this.timeout(300_000);
  let cluster: RealCluster;
  let baseline: OwnBaseline;

  before(async () => {
    cluster = await installedOperator();
    baseline = await OwnBaseline.create(cluster);
  });

  after(async () => {
    await removeScraper(cluster, baseline.name);
    await baseline[Symbol.asyncDispose]();
  });

  it('is ready with two replicas, of which one leads, and none was restarted', async () => {
    const pods = await cluster.operatorPods();
    assert.equal(pods.length, 2);
    for (const { metadata, status } of pods) {
      assert.equal(status.phase, 'Running', metadata.name);
      assert.ok(
        status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
        metadata.name,
      );
      assert.deepEqual(
        status.containerStatuses?.map(({ restartCount }) => restartCount),
        [0],
        metadata.name,
      );
    }
    await eventually(async () => {
      const leader = await cluster.leader();
      assert.ok(
        pods.some(({ metadata }) => metadata.name === leader),
        `the Lease has ${String(leader)}`,
      );
    });
  });

  it('runs where Pod Security restricted is enforced, which refuses other pods', async () => {
    const { labels } = (await cluster.kube.namespaces.get(OPERATOR_NAMESPACE)).metadata;
    assert.equal(labels?.['pod-security.kubernetes.io/enforce'], 'restricted');
    const pods = cluster.kube.resource('v1', 'pods', OPERATOR_NAMESPACE);
    const careless = { metadata: { name: 'careless' }, spec: { containers: [{ name: 'a', image: cluster.image }] } };
    await assert.rejects(pods.create(careless, { dryRun: 'All' }), (error) => {
      assert.ok(error instanceof StatusError);
      assert.equal(error.status, 403);
      assert.match(error.message, /violates PodSecurity "restricted/);
      return true;
    });
  });

  it('runs as nobody, on a file system that it cannot write', async () => {
    const [pod] = await cluster.operatorPods();
    assert.ok(pod);
    const script = `
      const { writeFileSync } = process.getBuiltinModule('fs');
      let code;
      try { writeFileSync('/app/dist/main.js', ''); } catch (error) { code = error.code; }
      console.log(JSON.stringify({ uid: process.getuid(), gid: process.getgid(), code }));`;
    const printed = await cluster.kubectl(
      ...['exec', `--namespace=${OPERATOR_NAMESPACE}`, pod.metadata.name, '--', 'node', '--eval', script],
    );
    assert.deepEqual(JSON.parse(printed), { uid: 65532, gid: 65532, code: 'EROFS' });
  });

  it('has metrics of each replica behind its Service, for a scraper with the right to read them', async () => {
    const scraper = await scraperPod(cluster, baseline.name);
    const { spec } = await cluster.kube.resource<Service>('v1', 'services', OPERATOR_NAMESPACE).get(SERVICE);
    const [port] = spec.ports;
    assert.ok(port);
    const scheme = port.name === 'https' ? 'https' : 'http';
    const pages = (await scraper.run(`
      import { readFileSync } from 'node:fs';
      import { promises as dns } from 'node:dns';
      import http from 'node:http';
      import https from 'node:https';
      const token = readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/token', 'utf8');
      const scrape = (host, headers) => new Promise((resolve, reject) => {
        const { get } = ${JSON.stringify(scheme)} === 'https' ? https : http;
        // The certificate may be one that the operator made itself.
        const options = { host, port: ${port.port}, path: '/metrics', rejectUnauthorized: false,
          headers };
        get(options, async (answer) => {
          let text = '';
          for await (const chunk of answer.setEncoding('utf8')) text += chunk;
          resolve({ status: answer.statusCode, text });
        }).on('error', reject);
      });
      const hosts = await dns.resolve4('${SERVICE}.${OPERATOR_NAMESPACE}.svc.cluster.local');
      export default {
        withToken: await Promise.all(hosts.map((host) => scrape(host, { authorization: 'Bearer ' + token }))),
        without: await Promise.all(hosts.map((host) => scrape(host, {}))),
      };`)) as { withToken: Page[]; without: Page[] };
    const statuses = (all: readonly Page[]) => all.map(({ status }) => status);
    assert.deepEqual(statuses(pages.withToken), [200, 200], JSON.stringify(pages).slice(0, 500));
    // Over plain HTTP nobody is asked who he is.
    const expected = scheme === 'https' ? 401 : 200;
    assert.deepEqual(statuses(pages.without), [expected, expected]);
    const leading = pages.withToken.map(({ text }) => /^leader_election_master_status\{.*\} ([01])$/m.exec(text)?.[1]);
    assert.deepEqual(leading.sort(), ['0', '1']);
  });

  if (ENFORCED) {
    it('lets nobody but monitoring connect to its metrics, and everybody to its probes', async () => {
      const namespace = await baseline.namespace('elsewhere');
      const stranger = await ClientPod.start(cluster, { namespace, name: 'stranger' });
      const [pod] = await cluster.operatorPods();
      const address = pod?.status.podIP ?? '';
      const connects = await stranger.run(`
        import { connect } from 'node:net';
        const connects = (port) => new Promise((resolve) => {
          const socket = connect({ host: '${address}', port, timeout: 2000 });
          const answer = (made) => { socket.destroy(); resolve(made); };
          socket.on('connect', () => answer(true)).on('timeout', () => answer(false)).on('error', () => answer(false));
        });
        export default { metrics: await connects(${METRICS_PORT}), probes: await connects(${PROBES_PORT}) };`);
      assert.deepEqual(connects, { metrics: false, probes: true });
    });
  }

  it('tells by kubectl baseline, found by kubectl as a plugin, that a namespace is compliant', async () => {
    const namespace = await baseline.optedIn('plugin');
    await eventually(async () => {
      const { code, stdout, stderr } = await cluster.kubectlBaseline('status', `--namespace=${namespace}`);
      assert.match(stdout, new RegExp(`^${namespace} +${baseline.name} +compliant`, 'm'), stderr);
      assert.equal(code, 0, stdout);
    });
  });
});

/** A pod where Prometheus would be, whose ServiceAccount may read /metrics; all of it has this name. */
async function scraperPod(cluster: RealCluster, name: string): Promise<ClientPod> {
  // The operator's own NetworkPolicy lets in what is in the namespace of this name. It may be there already.
  if (!(await cluster.kube.namespaces.find(MONITORING))) {
    await cluster.kube.namespaces.create({ metadata: { name: MONITORING, labels: { test: name } } });
  }
  await cluster.kube.resource('v1', 'serviceaccounts', MONITORING).create({ metadata: { name } });
  await cluster.kube.resource(RBAC, 'clusterroles').create({
    metadata: { name },
    rules: [{ nonResourceURLs: ['/metrics'], verbs: ['get'] }],
  });
  await cluster.kube.resource(RBAC, 'clusterrolebindings').create({
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: MONITORING }],
  });
  return ClientPod.start(cluster, { namespace: MONITORING, name, serviceAccountName: name });
}

async function removeScraper({ kube }: RealCluster, name: string): Promise<void> {
  for (const resources of [
    kube.resource(RBAC, 'clusterrolebindings'),
    kube.resource(RBAC, 'clusterroles'),
    kube.resource('v1', 'pods', MONITORING),
    kube.resource('v1', 'serviceaccounts', MONITORING),
  ]) {
    if (await resources.find(name)) await resources.delete(name);
  }
  const namespace = await kube.namespaces.find(MONITORING);
  if (namespace?.metadata.labels?.['test'] === name) await kube.namespaces.delete(MONITORING);
}
