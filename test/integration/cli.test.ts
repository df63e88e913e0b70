import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Connection } from '../../src/analysis/connections.ts';
import { Folder, runCLI, spawnCLI, type CLIResult } from '../support/cli.ts';
import { Demo } from '../support/demo.ts';

/** The part of a kubeconfig that a test changes. */
interface Kubeconfig {
  'current-context': string;
  contexts: { name: string; context: Record<string, string> }[];
}

describe('kubectl-baseline on a live cluster', function () {
  this.timeout(180_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  const onCluster = async (...args: readonly string[]): Promise<CLIResult> =>
    runCLI([...args, '--kubeconfig', demo.controlPlane.kubeconfig]);

  async function create(path: string, object: object): Promise<void> {
    await demo.kube.request('POST', path, { body: object });
  }

  /** A Deployment with the label `app: <name>`, of which nothing runs. */
  async function deploy(namespace: string, name: string): Promise<void> {
    const labels = { app: name };
    const template = { metadata: { labels }, spec: { containers: [{ name, image: name }] } };
    const spec = { selector: { matchLabels: labels }, template };
    await create(`/apis/apps/v1/namespaces/${namespace}/deployments`, { metadata: { name }, spec });
  }

  /** A namespace with the Deployments `web` and `db`, whose baseline denies ingress; no other policy selects it. */
  async function shop(mode: 'Enforce' | 'Audit' = 'Enforce'): Promise<{ policy: string; namespace: string }> {
    const policy = demo.name('cli');
    const rules = { defaultDeny: { policyTypes: ['Ingress' as const] }, allowDNS: { enabled: false } };
    const namespace = await demo.namespace(policy);
    await Promise.all(['web', 'db'].map((name) => deploy(namespace, name)));
    await demo.policy(policy, { mode, rules });
    if (mode === 'Enforce') await demo.compliant(policy, 1);
    else
      await demo.status(policy, ({ audit }) => {
        assert.equal(audit?.create, 2);
      });
    return { policy, namespace };
  }

  it('can, explain and connections tell what the policies of the cluster allow', async () => {
    const { namespace } = await shop();
    const denied = await onCluster('can', 'web', 'db', '--port', '5432', '-n', namespace);
    assert.deepEqual(denied, {
      code: 1,
      stdout: `deny: ${namespace}/web[Deployment] to ${namespace}/db[Deployment], 5432/TCP\n`,
      stderr: '',
    });
    await demo.kube.networkPolicies(namespace).create({
      metadata: { name: 'db' },
      spec: {
        podSelector: { matchLabels: { app: 'db' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 5432 }] }],
      },
    });
    assert.equal((await onCluster('can', `${namespace}/web`, `${namespace}/db`, '--port', '5432')).code, 0);
    const { stdout } = await onCluster('explain', `${namespace}/web`, `${namespace}/db`, '-p', '5432');
    assert.match(stdout, new RegExp(`yes ${namespace}/db spec.ingress\\[0\\] allows 5432/TCP`));

    const list = await onCluster('connections', '-n', namespace, '-o', 'json');
    const inside = (JSON.parse(list.stdout) as Connection[]).filter(({ dst }) => dst.startsWith(namespace));
    assert.deepEqual(inside, [
      {
        src: `${namespace}/web[Deployment]`,
        dst: `${namespace}/db[Deployment]`,
        connections: [{ protocol: 'TCP', port: 5432 }],
      },
    ]);
  });

  it('makes pods, ReplicaSet and Deployment one workload', async () => {
    const { namespace } = await shop();
    const labels = { app: 'web' };
    const owner = (kind: string, name: string) => ({
      ownerReferences: [{ apiVersion: 'apps/v1', kind, name, uid: `uid-of-${name}`, controller: true }],
    });
    const spec = { containers: [{ name: 'web', image: 'web' }], automountServiceAccountToken: false };
    await create(`/apis/apps/v1/namespaces/${namespace}/replicasets`, {
      metadata: { name: 'web-1', labels, ...owner('Deployment', 'web') },
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
    });
    await create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name: 'default' } });
    await create(`/api/v1/namespaces/${namespace}/pods`, {
      metadata: { name: 'web-1-a', labels: { ...labels, 'pod-template-hash': '1' }, ...owner('ReplicaSet', 'web-1') },
      spec,
    });
    const { stdout } = await onCluster('exposure', '-n', namespace, '-o', 'json');
    const names = (JSON.parse(stdout) as { workload: string }[]).map(({ workload }) => workload);
    assert.deepEqual(names, [`${namespace}/db[Deployment]`, `${namespace}/web[Deployment]`]);
    const can = await onCluster('can', `${namespace}/web-1-a`, `${namespace}/db`);
    assert.match(can.stdout, new RegExp(`^deny: ${namespace}/web\\[Deployment\\] to `));
  });

  it('render prints what the operator has made, with its owner', async () => {
    const { policy, namespace } = await shop();
    const { stdout, code } = await onCluster('render', '-n', namespace, '-o', 'json');
    assert.equal(code, 0);
    const { items } = JSON.parse(stdout) as { items: { metadata: { name: string; ownerReferences: object[] } }[] };
    assert.deepEqual(
      items.map(({ metadata }) => metadata.name),
      [`${policy}.allow-monitoring`, `${policy}.default-deny`],
    );
    const live = await demo.child(namespace, policy, 'default-deny');
    assert.deepEqual(items[1]?.metadata.ownerReferences, live.metadata.ownerReferences);
  });

  it('diff and status find nothing when all is as wanted', async () => {
    const { policy, namespace } = await shop();
    assert.deepEqual(await onCluster('diff'), { code: 0, stdout: '', stderr: '' });
    const { code, stdout, stderr } = await onCluster('status');
    assert.equal(stderr, '');
    assert.match(stdout, new RegExp(`^${policy} +Enforce +1 +1 +0 +0 +True$`, 'm'));
    assert.match(stdout, new RegExp(`^${namespace} +${policy} +compliant$`, 'm'));
    assert.match(stdout, /^kube-system +- +unselected +no BaselinePolicy selects it$/m);
    assert.equal(code, 0);
  });

  it('diff and status show drift that nobody heals, and nothing when it is healed', async () => {
    const { policy, namespace } = await shop();
    await demo.killOperator();
    const policies = demo.kube.networkPolicies(namespace);
    await policies.merge(`${policy}.default-deny`, { spec: { ingress: [{}] } });
    await policies.delete(`${policy}.allow-monitoring`);

    const diff = await onCluster('diff', '-n', namespace);
    assert.equal(diff.code, 1);
    assert.match(diff.stdout, new RegExp(`^--- /dev/null\n\\+\\+\\+ b/${namespace}/${policy}.allow-monitoring$`, 'm'));
    assert.match(diff.stdout, new RegExp(`^--- a/${namespace}/${policy}.default-deny$`, 'm'));
    assert.deepEqual(diff.stdout.match(/^-(?!--).*$/gm), ['-  ingress:', '-    - {}']);
    const status = await onCluster('status');
    assert.equal(status.code, 1);
    const why = `${policy}.allow-monitoring is missing, ${policy}.default-deny is modified`;
    assert.match(status.stdout, new RegExp(`^${namespace} +${policy} +drifted +${why}$`, 'm'));

    await demo.startOperator();
    await demo.compliant(policy, 1);
    assert.deepEqual(await onCluster('diff'), { code: 0, stdout: '', stderr: '' });
  });

  it('diff and status show what a policy in mode Audit would make', async () => {
    const { policy, namespace } = await shop('Audit');
    const { code, stdout } = await onCluster('diff', '-n', namespace);
    assert.equal(code, 1);
    assert.deepEqual(stdout.match(/^\+\+\+ .*$/gm), [
      `+++ b/${namespace}/${policy}.allow-monitoring`,
      `+++ b/${namespace}/${policy}.default-deny`,
    ]);
    const { stdout: text } = await onCluster('status', '-n', namespace);
    assert.match(
      text,
      new RegExp(`^${namespace} +${policy} +drifted +mode Audit: ${policy}.allow-monitoring is missing`, 'm'),
    );
    assert.equal((await onCluster('can', 'web', 'db', '-n', namespace)).code, 0);
  });

  it('impact tells what breaks when a policy in mode Audit is enforced, and lint what is open', async () => {
    const { policy, namespace } = await shop('Audit');
    const { code, stdout } = await onCluster('impact', '-o', 'json');
    assert.equal(code, 1);
    const { lost, isolation } = JSON.parse(stdout) as {
      lost: Connection[];
      isolation: { Ingress: { gained: string[] } };
    };
    const [db, web] = [`${namespace}/db[Deployment]`, `${namespace}/web[Deployment]`];
    assert.deepEqual(isolation.Ingress.gained, [db, web]);
    assert.ok(lost.some(({ src, dst }) => src === web && dst === db));
    const lint = await onCluster('lint', '-n', namespace);
    assert.equal(lint.code, 1);
    assert.match(lint.stdout, new RegExp(`^warning BPL013 .*${namespace}`, 'm'));

    await demo.change(policy, { mode: 'Enforce' });
    await demo.compliant(policy, 1);
    assert.deepEqual(await onCluster('impact'), { code: 0, stdout: 'Nothing changes.\n', stderr: '' });
  });

  it('status and diff name what is in the way', async () => {
    const policy = demo.name('cli');
    const namespace = await demo.namespace(policy);
    await demo.kube.networkPolicies(namespace).create({
      metadata: { name: `${policy}.default-deny` },
      spec: { podSelector: {}, ingress: [{}] },
    });
    await demo.policy(policy);
    await demo.status(policy, ({ namespaces }) => {
      assert.equal(namespaces?.failed, 1);
    });
    const { code, stdout } = await onCluster('status', '-o', 'json');
    assert.equal(code, 1);
    const { policies, namespaces } = JSON.parse(stdout) as {
      policies: { policy: string; ready: string; failed: number }[];
      namespaces: { namespace: string; state: string; why: string }[];
    };
    assert.deepEqual(
      policies.map(({ failed, ready }) => [failed, ready]),
      [[1, 'False']],
    );
    const found = namespaces.find((one) => one.namespace === namespace);
    assert.equal(found?.state, 'failed');
    assert.match(found.why, new RegExp(`${policy}.default-deny is not the operator's`));
    const diff = await onCluster('diff');
    assert.match(diff.stderr, new RegExp(`NetworkPolicy ${namespace}/${policy}.default-deny is not the operator's`));
  });

  it('status names what the API server refuses, and goes on', async () => {
    const policy = demo.name('cli');
    const namespace = await demo.namespace(policy, { range: 'none' });
    const cidr = "$(namespace.labels['range'])";
    const spec = { policyTypes: ['Egress' as const], egress: [{ to: [{ ipBlock: { cidr } }] }] };
    await demo.policy(policy, { additionalPolicies: [{ name: 'out', spec }] });
    await demo.status(policy, ({ namespaces }) => {
      assert.equal(namespaces?.failed, 1);
    });
    const { code, stdout, stderr } = await onCluster('status');
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`^${namespace} +${policy} +failed +.*out: Invalid: .* 422 .*is missing`, 'm'));
    assert.match(stderr, new RegExp(`^warning: .*${policy}.out, .*expected a CIDR, found "none"$`, 'm'));
  });

  it('follows --context, and reports on the namespace of the context', async () => {
    const { namespace } = await shop();
    const config = parse(readFileSync(demo.controlPlane.kubeconfig, 'utf8')) as Kubeconfig;
    const [own] = config.contexts;
    config.contexts.push({ name: 'shop', context: { ...own?.context, namespace } });
    using folder = new Folder({ config: stringify(config), broken: stringify({ ...config, 'current-context': '' }) });
    const file = join(folder.path, 'config');
    const names = async (...args: readonly string[]): Promise<string[]> => {
      const { code, stdout, stderr } = await runCLI(['exposure', '-o', 'json', ...args]);
      assert.deepEqual([code, stderr], [0, '']);
      return (JSON.parse(stdout) as { workload: string }[]).map(({ workload }) => workload);
    };
    const ofShop = [`${namespace}/db[Deployment]`, `${namespace}/web[Deployment]`];
    assert.deepEqual(await names('--kubeconfig', file, '--context', 'shop'), ofShop);
    assert.deepEqual(await names('--kubeconfig', file), []);
    assert.deepEqual(await names('--kubeconfig', join(folder.path, 'broken'), '--context', 'shop'), ofShop);
    const everywhere = await names('--kubeconfig', file, '-A');
    assert.ok(ofShop.every((name) => everywhere.includes(name)));
    const { code, stderr } = await runCLI(['exposure', '--kubeconfig', file, '--context', 'none']);
    assert.match(stderr, /^error: --context: expected a context of .*config \(.*, shop\), found none\n$/);
    assert.equal(code, 2);
  });

  it('exits with 2 when the cluster does not let it read, and says what', async () => {
    const kubeconfig = await demo.controlPlane.kubeconfigFor('nobody');
    const { code, stdout, stderr } = await spawnCLI(['status', '--kubeconfig', kubeconfig]);
    assert.match(stderr, /^error: expected to read the cluster at https:.*: 403 .*forbidden.*\n$/);
    assert.deepEqual([code, stdout], [2, '']);
  });
});
