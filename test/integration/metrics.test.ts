import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CertificateAuthority, type KeyedCertificate } from '../../hack/envtest/certificates.ts';
import { ControlPlane } from '../../hack/envtest/control-plane.ts';
import { KubeClient as OwnClient } from '../../src/kube/client.ts';
import { loadClusterAccess } from '../../src/kube/kubeconfig.ts';
import { Transport } from '../../src/kube/transport.ts';
import { createLogger } from '../../src/observability/log.ts';
import { MetricsAccess } from '../../src/observability/metrics-access.ts';
import { VERSION } from '../../src/version.ts';
import { eventually } from '../support/await.ts';
import { Folder } from '../support/cli.ts';
import { installCRD } from '../support/crd.ts';
import { KubeClient } from '../support/kube.ts';
import { OperatorProcess } from '../support/operator.ts';
import { scrape, tokenOf, type ScrapeAnswer } from '../support/scrape.ts';
import {
  installServiceAccount,
  OPERATOR as NAME,
  OPERATOR_NAMESPACE as NAMESPACE,
  OPERATOR_USER as USER,
} from '../support/service-account.ts';

/** Where those are who scrape. */
const MONITORING = 'monitoring';
const RBAC = 'rbac.authorization.k8s.io/v1';

describe('Metrics of an operator with --metrics-secure', function () {
  this.timeout(240_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;
  let kubeconfig: string;
  let operator: OperatorProcess;

  before(async () => {
    controlPlane = await ControlPlane.start({ auditLog: true, controllerManager: false });
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await installCRD(kube);
    await kube.namespaces.create({ metadata: { name: MONITORING } });
    kubeconfig = await installServiceAccount(controlPlane, kube);
    operator = await startOperator();
  });

  after(async () => {
    await operator.stop();
    await kube.close();
    await controlPlane.stop();
  });

  /** An operator with the rights of the manifests; it never leads, as followers are scraped too. */
  async function startOperator(flags: readonly string[] = []): Promise<OperatorProcess> {
    return OperatorProcess.start({
      kubeconfig,
      flags: ['--metrics-secure', ...flags],
      env: { POD_NAMESPACE: NAMESPACE },
    });
  }

  function portOf(of: OperatorProcess): string {
    return new URL(of.url('metrics')).port;
  }

  async function ask(token?: string): Promise<ScrapeAnswer> {
    return scrape(portOf(operator), token === undefined ? {} : { token });
  }

  async function serviceAccount(name: string): Promise<void> {
    await kube.resource('v1', 'serviceaccounts', MONITORING).create({ metadata: { name } });
  }

  /** A ServiceAccount that is bound to the ClusterRole for who scrapes; resolves when the authorizer knows. */
  async function reader(name: string): Promise<void> {
    await serviceAccount(name);
    await kube.resource(RBAC, 'clusterrolebindings').create({
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: `${NAME}-metrics-reader` },
      subjects: [{ kind: 'ServiceAccount', name, namespace: MONITORING }],
    });
    await mayRead(name, true);
  }

  async function mayRead(name: string, expected: boolean): Promise<void> {
    const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
    const spec = {
      user: `system:serviceaccount:${MONITORING}:${name}`,
      nonResourceAttributes: { path: '/metrics', verb: 'get' },
    };
    await eventually(async () => {
      const { status } = (await kube.request('POST', path, { body: { spec } })) as { status: { allowed: boolean } };
      assert.equal(status.allowed, expected);
    });
  }

  /** How many reviews of each kind the operator has asked for since a mark. */
  async function reviews(since: Awaited<ReturnType<ControlPlane['auditMark']>>): Promise<Record<string, number>> {
    const counts = { tokenreviews: 0, subjectaccessreviews: 0 };
    for (const { user, objectRef, stage, responseStatus } of await controlPlane.auditEvents(since)) {
      const resource = objectRef?.resource ?? '';
      if (user.username !== USER || stage !== 'ResponseComplete' || !(resource in counts)) continue;
      assert.equal(responseStatus?.code, 201);
      counts[resource as keyof typeof counts]++;
    }
    return counts;
  }

  it('are for whom the ClusterRole metrics-reader is bound to', async () => {
    await reader('prometheus');
    const { status, headers, body } = await ask(await tokenOf(kube, MONITORING, 'prometheus'));
    assert.equal(status, 200, body);
    assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4/);
    assert.match(body, /^baseline_policy_operator_build_info\{/m);
  });

  it('answer 401 to nobody, to rubbish, and to tokens for others or of nobody any more', async () => {
    await reader('gone');
    const elsewhere = await tokenOf(kube, MONITORING, 'gone', ['vault']);
    const late = await tokenOf(kube, MONITORING, 'gone');
    await kube.resource('v1', 'serviceaccounts', MONITORING).delete('gone');
    const [header, claims] = late.split('.');
    const answers = {
      none: await ask(),
      rubbish: await ask('rubbish'),
      'another signature': await ask(`${header ?? ''}.${claims ?? ''}.${'A'.repeat(342)}`),
      'another audience': await ask(elsewhere),
      'another scheme': await scrape(portOf(operator), { authorization: 'Basic cHJvbWV0aGV1czpzM2NyZXQ=' }),
    };
    for (const [what, { status, headers, body }] of Object.entries(answers)) {
      assert.equal(status, 401, what);
      assert.match(headers['www-authenticate'] ?? '', /^Bearer/, what);
      assert.doesNotMatch(body, /baseline_policy/, what);
    }
    // The API server may not have heard at once that the account is gone.
    await eventually(
      async () => {
        assert.equal((await ask(late)).status, 401);
      },
      { timeout: 90_000, interval: 1_000 },
    );
  });

  it('answer 403 to whom the API server knows and does not let', async () => {
    await serviceAccount('stranger');
    const { status, body } = await ask(await tokenOf(kube, MONITORING, 'stranger'));
    assert.equal(status, 403);
    assert.match(body, /nonResourceURL \/metrics/);
    assert.doesNotMatch(body, /baseline_policy/);
  });

  it('cost one review of each kind for fifty scrapes', async () => {
    await reader('busy');
    const token = await tokenOf(kube, MONITORING, 'busy');
    const mark = await controlPlane.auditMark();
    const started = performance.now();
    const answers = await Promise.all(Array.from({ length: 25 }, () => ask(token)));
    for (let count = 0; count < 25; count++) answers.push(await ask(token));
    assert.ok(performance.now() - started < 60_000, 'the verdict counts for a minute');
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    assert.deepEqual(await reviews(mark), { tokenreviews: 1, subjectaccessreviews: 1 });
  });

  it('are refused a minute after the right was taken', async () => {
    await reader('dismissed');
    const token = await tokenOf(kube, MONITORING, 'dismissed');
    const access = await loadClusterAccess(kubeconfig, {});
    const transport = new Transport({ access, userAgent: 'test', connections: 1, timeoutMs: 10_000 });
    try {
      const client = new OwnClient(transport, () => false);
      let now = 0;
      const metricsAccess = new MetricsAccess({
        review: (held) => client.reviewAccess(held, { path: '/metrics', verb: 'get' }, 10_000),
        logger: createLogger({ level: 'error', format: 'json' }),
        monotonic: () => now,
      });
      assert.equal(await metricsAccess.decide(`Bearer ${token}`), 'allowed');
      await kube.resource(RBAC, 'clusterrolebindings').delete('dismissed');
      await mayRead('dismissed', false);
      now = 59_999;
      assert.equal(await metricsAccess.decide(`Bearer ${token}`), 'allowed');
      now = 60_000;
      assert.equal(await metricsAccess.decide(`Bearer ${token}`), 'forbidden');
    } finally {
      await transport.close();
    }
  });

  it('are kept from everybody new while the API server is away', async () => {
    await reader('patient');
    const token = await tokenOf(kube, MONITORING, 'patient');
    await controlPlane.stopAPIServer();
    const { status, body } = await ask(token);
    assert.equal(status, 503);
    assert.doesNotMatch(body, /baseline_policy|127\.0\.0\.1|ECONN/);
    const line = await operator.logged('Failed to ask the API server who may read metrics');
    assert.doesNotMatch(JSON.stringify(operator.log), new RegExp(token));
    assert.equal(line.level, 'warn');
    await controlPlane.startAPIServer();
    await eventually(
      async () => {
        assert.equal((await ask(token)).status, 200);
      },
      { timeout: 60_000, interval: 200 },
    );
  });

  it('are served with a mounted certificate, which is read again while the process runs', async () => {
    const authority = new CertificateAuthority('test');
    const [first, second] = [authority.issueServer(['127.0.0.1']), authority.issueServer(['127.0.0.1'])];
    using folder = new Folder({ 'server.pem': first.certificate, 'server-key.pem': first.key });
    const files = ['--metrics-cert-name=server.pem', '--metrics-cert-key=server-key.pem'];
    await using mounted = await startOperator([`--metrics-cert-path=${folder.path}`, ...files]);
    const serial = async (): Promise<string> =>
      (await scrape(portOf(mounted), { ca: authority.certificate })).serialNumber;
    assert.equal(await serial(), serialOf(first));

    writeFileSync(join(folder.path, 'server.pem'), 'rubbish');
    const kept = await mounted.logged('Kept the certificate of metrics, as the new one cannot be used', 60_000);
    assert.match(String(kept['error']), /expected a certificate in PEM in \S+server\.pem/);
    assert.equal(await serial(), serialOf(first));

    writeFileSync(join(folder.path, 'server-key.pem'), second.key);
    writeFileSync(join(folder.path, 'server.pem'), second.certificate);
    await eventually(
      async () => {
        assert.equal(await serial(), serialOf(second));
      },
      { timeout: 60_000, interval: 500 },
    );
    assert.equal(mounted.stderr, '');
  });

  it('end the operator with 2 when there is no certificate where the flag says', async () => {
    const failed = OperatorProcess.spawn({ kubeconfig, flags: ['--metrics-secure', '--metrics-cert-path=/no/such'] });
    assert.equal(await failed.exited(), 2);
    const { msg } = failed.log.at(-1) ?? { msg: '' };
    assert.match(msg, /^--metrics-cert-path: expected a file that can be read, got ENOENT/);
  });

  it('are open to everybody by plain HTTP only where that is asked for', async () => {
    await using plain = await OperatorProcess.start({ kubeconfig, flags: ['--metrics-secure=false'] });
    assert.equal(await plain.metric(`baseline_policy_operator_build_info{version="${VERSION}"}`), 1);
    await assert.rejects(fetch(`${operator.url('metrics')}/metrics`));
  });
});

function serialOf({ certificate }: KeyedCertificate): string {
  return new X509Certificate(certificate).serialNumber;
}
