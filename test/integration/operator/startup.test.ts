import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { CertificateAuthority } from '../../../hack/envtest/certificates.ts';
import { ControlPlane } from '../../../hack/envtest/control-plane.ts';
import { API_VERSION, KIND } from '../../../src/api/baselinepolicy.ts';
import { eventually } from '../../support/await.ts';
import { installCRD } from '../../support/crd.ts';
import { KubeClient } from '../../support/kube.ts';
import { OperatorProcess, type LogLine } from '../../support/operator.ts';
import { ELECTION_FLAGS, installServiceAccount } from '../../support/service-account.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const WAITING_FOR_CRD = 'The CustomResourceDefinition of BaselinePolicy is not installed, waiting for it';

/** Endpoints that cannot meet those of another operator. */
const ANY_PORTS = ['--metrics-bind-address=127.0.0.1:0', '--health-probe-bind-address=127.0.0.1:0'];

/** Names, types and labels of the metrics that dashboards and alerts rely on. */
const METRICS: Readonly<Record<string, readonly [type: string, ...labels: string[]]>> = {
  baseline_policy_drift_total: ['counter', 'policy', 'rule', 'reason', 'action'],
  baseline_policy_drifted_networkpolicies: ['gauge', 'policy'],
  baseline_policy_namespaces: ['gauge', 'policy', 'state'],
  baseline_policy_networkpolicies: ['gauge', 'policy', 'rule'],
  baseline_policy_heal_seconds: ['histogram'],
  baseline_policy_time_to_protected_seconds: ['histogram'],
  baseline_policy_info: ['gauge', 'policy', 'mode'],
  baseline_policy_fights_total: ['counter', 'policy', 'rule'],
  controller_reconcile_total: ['counter', 'controller', 'result'],
  controller_reconcile_seconds: ['histogram', 'controller', 'result'],
  workqueue_depth: ['gauge', 'name'],
  workqueue_adds_total: ['counter', 'name'],
  workqueue_queue_duration_seconds: ['histogram', 'name'],
  workqueue_work_duration_seconds: ['histogram', 'name'],
  workqueue_retries_total: ['counter', 'name'],
  rest_client_requests_total: ['counter', 'code', 'method'],
  rest_client_request_duration_seconds: ['histogram', 'code', 'method', 'resource'],
  watch_restarts_total: ['counter', 'resource'],
  watch_last_event_timestamp_seconds: ['gauge', 'resource'],
  leader_election_master_status: ['gauge', 'name'],
};

/** How an operator ended that could not start. */
interface Ending {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

/** Runs the operator to its end, with an environment that knows of no cluster. */
async function run(flags: readonly string[], env: NodeJS.ProcessEnv): Promise<Ending> {
  const started = performance.now();
  const child = spawn(process.execPath, [MAIN, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...env },
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
  const [exit, stdout, stderr] = await Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]);
  return { code: exit[0] as number | null, stdout, stderr, seconds: (performance.now() - started) / 1000 };
}

/** The one line that says why the operator ended; nothing else was said. */
function lastWords({ stdout, stderr }: Ending): string {
  assert.equal(stderr, '');
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines.length, 1, stdout);
  const line = JSON.parse(lines[0] ?? '') as LogLine;
  assert.equal(line.level, 'error');
  assert.equal(line['error'], undefined, 'a reason that is known needs no stack');
  return line.msg;
}

/** Text of a kubeconfig for this server. */
function kubeconfigText(server: string, certificateAuthority?: string): string {
  const ca = certificateAuthority && Buffer.from(certificateAuthority).toString('base64');
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server, ...(ca && { 'certificate-authority-data': ca }) } }],
    users: [{ name: 'u', user: { token: 'none' } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'c',
  });
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

describe('start of the operator', function () {
  this.timeout(60_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;
  let serviceAccount: string;
  let folder: string;
  let patient: Record<'refusing' | 'silent' | 'untrusted', { url: string; ending: Promise<Ending> }>;
  const sockets: Socket[] = [];
  const silentServer = createServer((socket) => sockets.push(socket));

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'operator-start-'));
    controlPlane = await ControlPlane.start();
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    serviceAccount = await installServiceAccount(controlPlane, kube);

    const start = (name: string, url: string, ca?: string) => {
      const kubeconfig = write(name, kubeconfigText(url, ca));
      return { url, ending: run([`--kubeconfig=${kubeconfig}`, ...ANY_PORTS], {}) };
    };
    const closed = createServer();
    const closedPort = await listening(closed);
    closed.close();
    patient = {
      refusing: start('refusing', `https://127.0.0.1:${closedPort}`),
      silent: start('silent', `https://127.0.0.1:${await listening(silentServer)}`),
      untrusted: start('untrusted', controlPlane.server, new CertificateAuthority('stranger').certificate),
    };
  });

  after(async () => {
    for (const socket of sockets) socket.destroy();
    silentServer.close();
    await kube.close();
    await controlPlane.stop();
    rmSync(folder, { recursive: true });
  });

  function write(name: string, content: string): string {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  }

  describe('without a kubeconfig', () => {
    it('says where it looked for a kubeconfig and what to give', async () => {
      const ending = await run([], { HOME: folder });
      const message = lastWords(ending);
      assert.equal(ending.code, 2);
      for (const place of ['--kubeconfig', '$KUBECONFIG', 'pod', join(folder, '.kube', 'config')]) {
        assert.ok(message.includes(place), `${place} in: ${message}`);
      }
      assert.match(message, /Give --kubeconfig FILE/);
    });

    it('names the file that does not exist, and the flag or variable that named it', async () => {
      const missing = join(folder, 'missing');
      const byFlag = run([`--kubeconfig=${missing}`], { HOME: folder });
      const byVariable = run([], { HOME: folder, KUBECONFIG: missing });
      assert.equal(lastWords(await byFlag), `--kubeconfig: the file ${missing} does not exist`);
      assert.equal(lastWords(await byVariable), `KUBECONFIG: the file ${missing} does not exist`);
      assert.deepEqual([(await byFlag).code, (await byVariable).code], [2, 2]);
    });

    it('names the file that is no kubeconfig', async () => {
      const broken = run([`--kubeconfig=${write('broken.yaml', 'clusters: [')}`], {});
      const other = run([`--kubeconfig=${write('other.yaml', 'hello: world')}`], {});
      assert.match(lastWords(await broken), /broken\.yaml is no kubeconfig/);
      assert.match(lastWords(await other), /other\.yaml: expected a current-context that names a cluster, found none/);
      assert.deepEqual([(await broken).code, (await other).code], [2, 2]);
    });
  });

  describe('with flags', () => {
    it('tells all that is wrong with them at once, on standard error', async () => {
      const ending = await run(['--concurrency=none', '--leader-elekt', '--metrics-bind-address=here', 'stray'], {});
      assert.equal(ending.code, 2);
      assert.equal(ending.stdout, '');
      for (const problem of [
        '--concurrency: expected a whole number',
        'did you mean --leader-elect?',
        '--metrics-bind-address: expected',
        'unexpected argument "stray"',
      ]) {
        assert.ok(ending.stderr.includes(problem), `${problem} in: ${ending.stderr}`);
      }
    });

    it('asks for the namespace of the Lease outside a cluster', async () => {
      const ending = await run(['--leader-elect'], {});
      assert.equal(ending.code, 2);
      assert.equal(ending.stdout, '');
      assert.match(ending.stderr, /--leader-election-namespace: expected a namespace for the Lease outside a cluster/);
    });

    it('prints help and version without a cluster', async () => {
      const help = await run(['--help'], {});
      assert.equal(help.code, 0);
      assert.equal(help.stderr, '');
      assert.match(help.stdout, /^ {2}--leader-elect$/m);
      const version = await run(['--version'], {});
      assert.equal(version.code, 0);
      assert.match(version.stdout, /^baseline-policy-operator \d+\.\d+\.\d+\n$/);
    });

    it('names the flag and the address that is taken', async () => {
      const server = createServer();
      const taken = `127.0.0.1:${await listening(server)}`;
      try {
        for (const flag of ['--metrics-bind-address', '--health-probe-bind-address']) {
          const ending = await run([`--kubeconfig=${controlPlane.kubeconfig}`, ...ANY_PORTS, `${flag}=${taken}`], {});
          assert.match(lastWords(ending), new RegExp(`^${flag}: cannot listen on ${taken}: .*EADDRINUSE`));
          assert.equal(ending.code, 1);
        }
      } finally {
        server.close();
      }
    });
  });

  describe('before the CustomResourceDefinition', () => {
    it('stops promptly when it is told to', async () => {
      const operator = OperatorProcess.spawn({ kubeconfig: serviceAccount });
      await operator.logged(WAITING_FOR_CRD);
      const asked = performance.now();
      assert.equal(await operator.stop(), 0);
      assert.ok(performance.now() - asked < 3_000, `took ${performance.now() - asked} ms`);
      assert.equal(operator.stderr, '');
    });

    it('waits, says what to do, and works as soon as it is there', async () => {
      await using operator = OperatorProcess.spawn({ kubeconfig: serviceAccount });
      const line = await operator.logged(WAITING_FOR_CRD);
      assert.match(JSON.stringify(line), /kubectl apply -f crds\//);
      const tries = 'rest_client_request_duration_seconds_count{code="404",method="GET",resource="baselinepolicies"}';
      await eventually(async () => {
        assert.ok((await operator.metric(tries)) >= 2);
      });
      assert.equal(operator.log.filter(({ msg }) => msg === WAITING_FOR_CRD).length, 1);
      const readyz = await fetch(`${operator.url('health')}/readyz`);
      const checks = await readyz.text();
      assert.equal(readyz.status, 500);
      assert.match(checks, /^\[-\]cache-baselinepolicies failed: .*kubectl apply -f crds\/$/m);
      assert.match(checks, /^\[\+\]cache-namespaces ok$/m);
      assert.equal((await fetch(`${operator.url('health')}/livez`)).status, 200, 'a restart would not help');

      await installCRD(kube);
      await operator.ready();
      await kube.baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name: 'late' }, spec: {} });
      await kube.namespaces.create({ metadata: { name: 'late', labels: { 'baselinepolicy.dev/enforce': 'true' } } });
      await eventually(async () => {
        const names = (await kube.networkPolicies('late').list()).map(({ metadata }) => metadata.name);
        assert.deepEqual(names, ['late.allow-dns', 'late.allow-monitoring', 'late.default-deny']);
      });
      assert.equal(await operator.stop(), 0);
      assert.equal(operator.stderr, '');
    });
  });

  describe('endpoints', () => {
    let operator: OperatorProcess;

    before(async () => {
      operator = await OperatorProcess.start({
        kubeconfig: serviceAccount,
        flags: ELECTION_FLAGS,
      });
      await eventually(async () => {
        assert.equal(await operator.metric('baseline_policy_namespaces{policy="late",state="compliant"}'), 1);
      });
    });

    after(async () => {
      await operator.stop();
    });

    for (const path of ['healthz', 'livez', 'readyz']) {
      it(`answers ok at /${path}`, async () => {
        const answer = await fetch(`${operator.url('health')}/${path}`);
        assert.deepEqual([answer.status, await answer.text()], [200, 'ok']);
      });
    }

    it('serves every metric under its name, with its type and its labels', async () => {
      const page = await (await fetch(`${operator.url('metrics')}/metrics`)).text();
      const types = new Map([...page.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type]) => [name, type]));
      const samples = [...(await operator.metrics()).keys()];
      for (const [name, [type, ...labels]] of Object.entries(METRICS)) {
        assert.equal(types.get(name), type, name);
        const sample = samples.find((candidate) => candidate.replace(/_count(?=\{|$)/, '').split('{', 1)[0] === name);
        assert.ok(sample, `a sample of ${name}`);
        const found = [...sample.matchAll(/(\w+)="/g)].map(([, label]) => label).filter((label) => label !== 'le');
        assert.deepEqual(found.sort(), labels.sort(), sample);
      }
    });

    it('starts the counters of a policy at 0, for every rule, reason and action', async () => {
      const samples = await operator.metrics();
      for (const rule of ['default-deny', 'allow-dns', 'allow-monitoring']) {
        for (const reason of ['Missing', 'Modified', 'Metadata', 'Unexpected', 'NameConflict']) {
          for (const action of ['healed', 'reported', 'failed']) {
            const labels = `policy="late",rule="${rule}",reason="${reason}",action="${action}"`;
            assert.equal(samples.get(`baseline_policy_drift_total{${labels}}`), 0, labels);
          }
        }
        assert.equal(samples.get(`baseline_policy_fights_total{policy="late",rule="${rule}"}`), 0, rule);
        assert.equal(samples.get(`baseline_policy_networkpolicies{policy="late",rule="${rule}"}`), 1, rule);
      }
    });
  });

  // These have run all the while: each takes as long as the operator is patient.
  describe('gives up within 15 seconds on a server', () => {
    async function assertGaveUp(what: keyof typeof patient, cause: RegExp): Promise<void> {
      const { url, ending } = patient[what];
      const message = lastWords(await ending);
      assert.ok(message.startsWith(`Cannot reach the API server at ${url}: `), message);
      assert.match(message, cause);
      const { code, seconds } = await ending;
      assert.equal(code, 1);
      assert.ok(seconds < 15, `took ${seconds} s`);
    }

    it('that refuses connections', () => assertGaveUp('refusing', /ECONNREFUSED/));

    it('that accepts connections and says nothing', () => assertGaveUp('silent', /timeout/));

    it('whose certificate it does not trust', () => assertGaveUp('untrusted', /certificate.*certificate authority/));
  });
});
