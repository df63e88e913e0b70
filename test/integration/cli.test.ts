import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Connection } from '../../src/analysis/connections.ts';
import { eventually } from '../support/await.ts';
import { Folder, runCLI, spawnCLI, type CLIResult } from '../support/cli.ts';
import { Demo } from '../support/demo.ts';

/** The part of a kubeconfig that a test changes. */
interface Kubeconfig {
  'current-context': string;
  contexts: { name: string; context: Record<string, string> }[];
  clusters: { name: string; cluster: Record<string, string> }[];
}

const GUIDE = join(import.meta.dirname, '../../docs/cli.md');

function kubeconfigOf({ controlPlane }: Demo): Kubeconfig {
  return parse(readFileSync(controlPlane.kubeconfig, 'utf8')) as Kubeconfig;
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
    assert.match(stdout, /^kube-system +- +unselected +it is protected: no BaselinePolicy selects it$/m);
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
    const config = kubeconfigOf(demo);
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

  describe('with flags for the cluster', () => {
    it('needs no kubeconfig', async () => {
      const { namespace } = await shop();
      const [first] = kubeconfigOf(demo).clusters;
      const ca = Buffer.from(first?.cluster['certificate-authority-data'] ?? '', 'base64').toString();
      using folder = new Folder({ 'ca.crt': ca });
      const { server, adminToken } = demo.controlPlane;
      const flags = ['-s', server, '--certificate-authority', join(folder.path, 'ca.crt'), '--token', adminToken];
      const can = ['can', 'web', 'db', '-n', namespace];
      const env = { HOME: folder.path };
      const { code, stdout, stderr } = await runCLI([...can, ...flags], { env });
      assert.deepEqual([code, stderr], [1, '']);
      assert.match(stdout, /^deny: /);
      const wrongToken = await runCLI([...can, ...flags.slice(0, -1), 'wrong'], { env });
      assert.match(wrongToken.stderr, /^error: expected to read the cluster at https:.*: 401 Unauthorized\n$/);
      const wrongAuthority = await runCLI([...can, '-s', server, '--token', adminToken], { env });
      assert.match(wrongAuthority.stderr, /^error: expected to read the cluster at https:.*certificate/);
      assert.deepEqual([wrongToken.code, wrongAuthority.code], [2, 2]);
      const insecure = await runCLI([...can, '-s', server, '--token', adminToken, '--insecure-skip-tls-verify'], {
        env,
      });
      assert.deepEqual([insecure.code, insecure.stdout], [1, stdout]);
    });

    it('takes a token in place of a client certificate', async () => {
      const kubeconfig = await demo.controlPlane.kubeconfigFor('nobody');
      const args = ['exposure', '-A', '--kubeconfig', kubeconfig];
      assert.equal((await runCLI(args)).code, 2);
      assert.equal((await runCLI([...args, '--token', demo.controlPlane.adminToken])).code, 0);
    });

    it('takes the place of another user, with groups', async () => {
      const { namespace } = await shop();
      const can = ['can', 'web', 'db', '-n', namespace];
      const { code, stderr } = await onCluster(...can, '--as', 'jane', '--as-group', 'some');
      assert.match(stderr, /^error: expected to read the cluster at https:.*: user jane may not list networkpolicies/);
      assert.equal(code, 2);
      const masters = ['--as', 'jane', '--as-group', 'some', '--as-group', 'system:masters'];
      assert.match((await onCluster(...can, ...masters)).stdout, /^deny: /);
    });

    it('says when a user may not take the place of another', async () => {
      const kubeconfig = await demo.controlPlane.kubeconfigFor('nobody');
      const { code, stderr } = await runCLI(['status', '--kubeconfig', kubeconfig, '--as', 'jane']);
      assert.match(stderr, /^error: expected to read the cluster at .*: User "nobody" cannot impersonate.*\n$/);
      assert.equal(code, 2);
    });
  });

  describe('as a user who may read one namespace', () => {
    /** Who may read what `view` shows, in one namespace; the aggregated `view` itself needs a controller. */
    const VIEW = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:aggregate-to-view' };

    /** A shop, a Deployment `other` in another namespace, and a kubeconfig of a ServiceAccount that may read the shop. */
    async function tenant(role?: object[]) {
      const { policy, namespace } = await shop();
      const elsewhere = await demo.namespace('elsewhere');
      await deploy(elsewhere, 'other');
      const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
      const own = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' };
      await create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name: 'reader' } });
      if (role !== undefined) await create(`${rbac}/roles`, { metadata: { name: 'reader' }, rules: role });
      await create(`${rbac}/rolebindings`, {
        metadata: { name: 'reader' },
        roleRef: role === undefined ? VIEW : own,
        subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace }],
      });
      const kubeconfig = await demo.controlPlane.kubeconfigForServiceAccount(namespace, 'reader');
      return { policy, namespace, elsewhere, kubeconfig };
    }

    const warning = (namespace: string): string =>
      `warning: user system:serviceaccount:${namespace}:reader may not list namespaces, ` +
      'networkpolicies.networking.k8s.io, services, pods, replicationcontrollers, deployments.apps, replicasets.apps, ' +
      'statefulsets.apps, daemonsets.apps, jobs.batch, cronjobs.batch in all namespaces: pods of other namespaces are ' +
      `not known; answers are for namespace ${namespace} and for addresses\n`;

    async function allow(namespace: string, name: string, peer: object, more: object = {}): Promise<void> {
      const spec = { podSelector: { matchLabels: { app: name } }, ingress: [{ from: [peer], ...more }] };
      await demo.kube.networkPolicies(namespace).create({ metadata: { name }, spec });
    }

    it('answers for that namespace, and says so', async () => {
      const { namespace, kubeconfig } = await tenant();
      const run = (...args: readonly string[]): Promise<CLIResult> =>
        runCLI([...args, '--kubeconfig', kubeconfig, '-n', namespace]);
      const stderr = warning(namespace);
      const [db, web] = [`${namespace}/db[Deployment]`, `${namespace}/web[Deployment]`];
      assert.deepEqual(await run('can', 'web', 'db', '-p', '1'), {
        code: 1,
        stdout: `deny: ${web} to ${db}, 1/TCP\n`,
        stderr,
      });
      const list = await run('connections', '-o', 'json');
      assert.equal(list.stderr, stderr);
      assert.deepEqual(
        (JSON.parse(list.stdout) as Connection[]).map(({ src, dst }) => [src, dst]),
        [db, web].map((name) => [name, '0.0.0.0-255.255.255.255']),
      );
      for (const command of ['exposure', 'matrix']) {
        const { code, stdout } = await run(command);
        assert.equal(code, 0);
        assert.ok(stdout.includes(web) && stdout.includes(db) && !stdout.includes('elsewhere'), stdout);
      }
    });

    it('refuses a question about pods of another namespace', async () => {
      const { namespace, elsewhere, kubeconfig } = await tenant();
      for (const [pair, argument] of [
        [['web', `${elsewhere}/other`], 'DESTINATION'],
        [[`${elsewhere}:app=other`, 'web'], 'SOURCE'],
      ] as const) {
        const { code, stderr, stdout } = await runCLI(['can', ...pair, '--kubeconfig', kubeconfig, '-n', namespace]);
        const error = `${argument}: expected a workload of namespace ${namespace}, or an address, got `;
        assert.ok(stderr.includes(`\nerror: ${error}`), stderr);
        assert.match(stderr, new RegExp(`: namespace ${elsewhere} could not be read\n$`));
        assert.deepEqual([code, stdout], [2, '']);
      }
    });

    it('leaves open what an address may be that a pod can have', async () => {
      const { policy, namespace, kubeconfig } = await tenant();
      await allow(namespace, 'db', { namespaceSelector: { matchLabels: { team: 'a' } } }, { ports: [{ port: 5432 }] });
      const can = async (...args: readonly string[]): Promise<string> => {
        const { stdout } = await runCLI(['can', ...args, '--kubeconfig', kubeconfig, '-n', namespace]);
        return stdout;
      };
      assert.match(await can('web', '203.0.113.7'), /^allow: .*\n$/);
      assert.match(await can('internet', 'db'), /^deny: .*\n$/);
      const unknown = '10.1.2.3 may be of a pod or Service in a namespace that could not be read';
      assert.match(await can('web', '10.1.2.3', '-p', '80'), new RegExp(`^depends: .*\n  ${unknown}\n`));
      assert.match(await can('10.1.2.3', 'db', '-p', '5432'), new RegExp(`^depends: .*\n  ${unknown}\n`));
      // The rule for monitoring may let in a pod that has the address.
      assert.match(await can('10.1.2.3', 'web', '-p', '80'), new RegExp(`^depends: .*\n  ${unknown}\n`));
      await demo.change(policy, { rules: { allowMonitoring: { enabled: false } } });
      await eventually(async () => {
        assert.ok(!(await demo.children(namespace)).has(`${policy}.allow-monitoring`));
      });
      assert.match(await can('10.1.2.3', 'web', '-p', '80'), /^deny: .*\n$/);
    });

    it('lint tells nothing of peers that it cannot see', async () => {
      const { namespace, elsewhere, kubeconfig } = await tenant();
      const named = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': elsewhere } } };
      await allow(namespace, 'web', { ...named, podSelector: { matchLabels: { app: 'none' } } });
      await allow(namespace, 'db', { podSelector: { matchLabels: { app: 'none' } } });
      const codes = async (...args: readonly string[]): Promise<string[]> => {
        const { stdout } = await runCLI(['lint', '-o', 'json', '-n', namespace, '--kubeconfig', ...args]);
        const findings = JSON.parse(stdout) as { code: string; object: { name: string } }[];
        return findings.map(({ code, object }) => `${code} ${object.name}`).filter((one) => /^BPL00[456]/.test(one));
      };
      assert.deepEqual(await codes(kubeconfig), ['BPL005 db']);
      assert.deepEqual(await codes(demo.controlPlane.kubeconfig), ['BPL005 db', 'BPL005 web']);
    });

    it('names the right that is lacking where one namespace is not enough', async () => {
      const { namespace, kubeconfig } = await tenant();
      const error = async (...args: readonly string[]): Promise<string> => {
        const { code, stdout, stderr } = await runCLI([...args, '--kubeconfig', kubeconfig]);
        assert.deepEqual([code, stdout], [2, '']);
        return stderr;
      };
      const start = `^error: expected to read the cluster at https:.*: user system:serviceaccount:${namespace}:reader may not list`;
      for (const command of ['status', 'diff', 'render', 'impact']) {
        const text = await error(command, ...(command === 'impact' ? [] : ['-n', namespace]));
        assert.match(text, new RegExp(`${start} .*, baselinepolicies.baselinepolicy.dev in all namespaces; .*\n$`));
      }
      const everywhere = await error('exposure', '-A');
      assert.match(everywhere, new RegExp(`${start} .*pods, .* in all namespaces; .* -n NAMESPACE reads one alone\n$`));
      const another = await error('exposure', '-n', 'default');
      assert.match(another, new RegExp(`${start} .*pods, .*, nor in namespace default; .*another one\n$`));
    });

    const LIST = ['', 'apps', 'batch', 'networking.k8s.io'].map((group) => ({
      apiGroups: [group],
      resources: ['*'],
      verbs: ['list'],
    }));

    it('goes on with the name of a namespace that it may not get, and never guesses its other labels', async () => {
      const { namespace, kubeconfig } = await tenant(LIST);
      const can = (): Promise<CLIResult> => runCLI(['can', 'web', 'db', '--kubeconfig', kubeconfig, '-n', namespace]);
      await allow(namespace, 'db', {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
      });
      const { code, stderr } = await can();
      assert.equal(
        stderr,
        `${warning(namespace)}warning: user system:serviceaccount:${namespace}:reader may not get namespace ${namespace}: ` +
          'only one label of it is known, its name\n',
      );
      assert.equal(code, 0);
      await allow(namespace, 'web', { namespaceSelector: { matchLabels: { team: 'a' } } });
      const refused = await can();
      assert.match(
        refused.stderr,
        new RegExp(
          `\nerror: expected the right to get namespace ${namespace}, .*: NetworkPolicy ${namespace}/web spec`,
        ),
      );
      assert.equal(refused.code, 2);
    });

    it('names what it may not read of that namespace', async () => {
      const { namespace, kubeconfig } = await tenant(LIST.filter(({ apiGroups }) => !apiGroups.includes('batch')));
      const { code, stderr } = await runCLI(['exposure', '--kubeconfig', kubeconfig, '-n', namespace]);
      assert.match(
        stderr,
        new RegExp(` may not list jobs.batch, cronjobs.batch in all namespaces, nor in namespace ${namespace};`),
      );
      assert.equal(code, 2);
    });
  });

  describe('as a user with the ClusterRole of the guide', () => {
    before(async () => {
      const [, text = ''] = /```yaml\n(# baseline-reader.yaml\n.*?)```/s.exec(readFileSync(GUIDE, 'utf8')) ?? [];
      const rbac = '/apis/rbac.authorization.k8s.io/v1';
      const role = parse(text) as { kind: string; metadata: { name: string } };
      await create(`${rbac}/clusterroles`, role);
      await create(`${rbac}/clusterrolebindings`, {
        metadata: { name: 'reader' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: role.kind, name: role.metadata.name },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'reader' }],
      });
    });

    it('reads all that each command needs', async () => {
      const { policy, namespace } = await shop();
      await demo.change(policy, { rules: { allowKubeAPIServer: { enabled: true } } });
      await demo.compliant(policy, 1);
      for (const args of [
        ['can', 'web', 'db', '-n', namespace],
        ['exposure', '-A'],
        ['lint', '-A', '--severity', 'error'],
        ['status', '-n', namespace],
        ['diff'],
        ['render'],
        ['impact'],
      ]) {
        const { code, stderr } = await onCluster(...args, '--as', 'reader');
        assert.equal(stderr, '', args.join(' '));
        assert.notEqual(code, 2);
      }
    });
  });

  it('exits with 2 when the cluster does not let it read, and says what', async () => {
    const kubeconfig = await demo.controlPlane.kubeconfigFor('nobody');
    const { code, stdout, stderr } = await spawnCLI(['status', '--kubeconfig', kubeconfig]);
    assert.match(
      stderr,
      /^error: expected to read the cluster at https:.*: user nobody may not list namespaces, networkpolicies\.networking\.k8s\.io, services, baselinepolicies\.baselinepolicy\.dev in all namespaces; .*\n$/,
    );
    assert.deepEqual([code, stdout], [2, '']);
  });

  // Last, as the definition stays.
  describe('with policies of other kinds', () => {
    it('says which policies of other kinds it may not read, when the cluster has them', async () => {
      const { namespace } = await shop();
      const names = { kind: 'CiliumNetworkPolicy', plural: 'ciliumnetworkpolicies' };
      const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
      const definitions = demo.kube.resource('apiextensions.k8s.io/v1', 'customresourcedefinitions');
      await definitions.create({
        metadata: { name: 'ciliumnetworkpolicies.cilium.io' },
        spec: {
          group: 'cilium.io',
          scope: 'Namespaced',
          names,
          versions: [{ name: 'v2', served: true, storage: true, schema }],
        },
      });
      const rbac = '/apis/rbac.authorization.k8s.io/v1';
      await create(`${rbac}/clusterrolebindings`, {
        metadata: { name: 'viewer' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:aggregate-to-view' },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'viewer' }],
      });
      await eventually(async () => {
        const { code, stderr } = await onCluster('can', 'web', 'db', '-n', namespace, '--as', 'viewer');
        assert.equal(
          stderr,
          'warning: user viewer may not list ciliumnetworkpolicies.cilium.io: they may allow or deny more than is said here\n',
        );
        assert.equal(code, 1);
      });
    });
  });
});
