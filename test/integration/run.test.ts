import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { findAsset } from '../../hack/envtest/assets.ts';
import { ControlPlane } from '../../hack/envtest/control-plane.ts';
import { guideText } from '../../hack/run/guide.ts';
import { eventually } from '../support/await.ts';
import { KubeClient } from '../support/kube.ts';

const PROGRAM = join(import.meta.dirname, '../../hack/run.ts');

/** The program of `make run`, as the leader of a process group of its own, as a shell starts it. */
class RunProgram {
  output = '';
  readonly #process: ChildProcess;
  readonly #exit: Promise<number | null>;

  constructor(env: NodeJS.ProcessEnv) {
    this.#process = spawn(process.execPath, [PROGRAM], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, KUBECONFIG: '', ...env },
    });
    this.#exit = once(this.#process, 'exit').then(([code]) => code as number | null);
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    // A test that dies must not leave it behind.
    process.once('exit', () => this.#process.kill('SIGKILL'));
  }

  /** Resolves with the match when the output matches. */
  async prints(pattern: RegExp, timeout = 60_000): Promise<RegExpExecArray> {
    return eventually(
      () => {
        const match = pattern.exec(this.output);
        assert.ok(match, `expected ${String(pattern)} in the output:\n${this.output}`);
        return match;
      },
      { timeout },
    );
  }

  /** The numbers of the processes that it has announced, by their names. */
  get announced(): Map<string, number> {
    const pairs = this.output.matchAll(/(etcd|kube-apiserver|kube-controller-manager|operator) (\d+)[,)]/g);
    return new Map([...pairs].map(([, name, pid]) => [name ?? '', Number(pid)]));
  }

  /** Sends a signal to the whole process group, as the terminal does for Ctrl-C. */
  interrupt(): void {
    assert.ok(this.#process.pid);
    process.kill(-this.#process.pid, 'SIGINT');
  }

  /** Sends a signal to the process alone. */
  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async exited(): Promise<number | null> {
    return this.#exit;
  }
}

describe('make run', function () {
  this.timeout(120_000);
  let temporary: string;
  let program: RunProgram | undefined;

  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), 'make-run-'));
    program = undefined;
  });

  afterEach(async () => {
    program?.kill('SIGKILL');
    await program?.exited();
    rmSync(temporary, { recursive: true });
  });

  const start = (env: NodeJS.ProcessEnv = {}): RunProgram => (program = new RunProgram({ TMPDIR: temporary, ...env }));

  const leavesNothing = async (pids: ReadonlyMap<string, number>): Promise<void> => {
    await eventually(() => {
      assert.deepEqual(
        [...pids].filter(([, pid]) => isAlive(pid)),
        [],
      );
      assert.deepEqual(readdirSync(temporary), []);
    });
  };

  it('shows a working baseline, whose guide can be followed to the letter, and leaves nothing after Ctrl-C', async () => {
    const run = start();
    await run.prints(/Ctrl-C ends the operator and its cluster/);
    assert.match(run.output, /^ {2}NETWORKPOLICY +payments +shop +sandbox +legacy$/m);
    assert.match(run.output, /^ {2}baseline\.default-deny +yes +yes +- +-$/m);
    assert.match(run.output, /^ {2}selected +yes +yes +no: not labelled +no: excluded$/m);

    const kubeconfig = /export KUBECONFIG=(\S+)/.exec(run.output)?.[1] ?? '';
    await using kube = KubeClient.fromKubeconfig(kubeconfig);
    const names = (await kube.networkPolicies().list()).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    const rows = [...run.output.matchAll(/^ {2}(baseline\.\S+) +yes +yes +- +-$/gm)].map(([, name]) => name);
    assert.deepEqual(names.sort(), ['payments', 'shop'].flatMap((ns) => rows.map((row) => `${ns}/${row}`)).sort());

    const exports = [...run.output.matchAll(/^ +(export .*)$/gm)].map(([, line]) => line);
    const commands = [...run.output.matchAll(/^ {5}(kubectl .*)$/gm)].map(([, line]) => line);
    assert.equal(commands.length, 3);
    for (const command of commands) {
      const script = [...exports, command].join('\n');
      await promisify(execFile)('sh', ['-ec', script], { env: { ...process.env, PATH: pathWithKubectl() } });
    }
    await run.prints(/Healed NetworkPolicy +namespace=payments policy=baseline rule=default-deny reason=Modified/);
    await run.prints(/Healed NetworkPolicy +namespace=shop policy=baseline rule=allow-dns reason=Missing/);
    await run.prints(/Reconciled NetworkPolicies +namespace=sandbox policy=baseline created=6/);
    const mended = await kube.networkPolicies('payments').get('baseline.default-deny');
    assert.equal(mended.spec?.ingress, undefined);
    const metricsURL = /http:\S+\/metrics/.exec(run.output)?.[0] ?? '';
    const metrics = await (await fetch(metricsURL)).text();
    assert.match(metrics, /drift_total\{policy="baseline",rule="default-deny",reason="Modified",action="healed"\} 1$/m);

    const pids = run.announced;
    assert.deepEqual([...pids.keys()].sort(), ['etcd', 'kube-apiserver', 'kube-controller-manager', 'operator']);
    for (const pid of pids.values()) assert.ok(isAlive(pid));
    assert.notDeepEqual(readdirSync(temporary), []);
    run.interrupt();
    assert.equal(await run.exited(), 0, run.output);
    assert.match(run.output, /Stopping +signal=SIGINT\n.*Stopped\n$/);
    await leavesNothing(pids);
  });

  it('fails when the operator dies, and leaves nothing', async () => {
    const run = start();
    await run.prints(/Ctrl-C ends the operator and its cluster/);
    const pids = run.announced;
    process.kill(pids.get('operator') ?? Number.NaN, 'SIGKILL');
    assert.equal(await run.exited(), 1);
    assert.match(run.output, /Expected the operator to run until Ctrl-C, but it was ended by SIGKILL\n$/);
    await leavesNothing(pids);
  });

  it('leaves nothing when it is killed itself', async () => {
    const run = start();
    await run.prints(/Started the operator/);
    const pids = run.announced;
    assert.equal(pids.size, 4);
    run.kill('SIGKILL');
    await run.exited();
    await leavesNothing(pids);
  });

  it('changes nothing on the cluster of KUBECONFIG, and says how to install the definition', async () => {
    await using controlPlane = await ControlPlane.start({ auditLog: true });
    const run = start({ KUBECONFIG: controlPlane.kubeconfig });
    await run.prints(/CustomResourceDefinition of BaselinePolicy is not installed.*kubectl apply -f crds\//);
    run.interrupt();
    assert.equal(await run.exited(), 0, run.output);

    const events = await controlPlane.auditEvents();
    const requests = events.filter(({ userAgent }) => userAgent?.startsWith('baseline-policy-operator/') === true);
    assert.ok(requests.some(({ objectRef }) => objectRef?.resource === 'baselinepolicies'));
    assert.deepEqual(
      requests.filter(({ verb }) => !['get', 'list', 'watch'].includes(verb)),
      [],
    );
    const administrator = events.filter(({ user }) => user.username === 'kubernetes-admin');
    const writes = administrator.filter(({ verb }) => ['create', 'update', 'patch', 'delete'].includes(verb));
    assert.deepEqual(writes, []);
    assert.deepEqual(readdirSync(temporary), []);
  });

  it('runs the operator on the cluster of KUBECONFIG', async () => {
    await using controlPlane = await ControlPlane.start();
    await using kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    const run = start({ KUBECONFIG: controlPlane.kubeconfig });
    await run.prints(/not installed/);
    const kubectl = promisify(execFile);
    const root = join(import.meta.dirname, '../..');
    const env = { ...process.env, KUBECONFIG: controlPlane.kubeconfig, PATH: pathWithKubectl() };
    await kubectl('sh', ['-ec', 'kubectl apply -f crds/'], { env, cwd: root });
    await eventually(() => kubectl('sh', ['-ec', 'kubectl apply -f config/samples/'], { env, cwd: root }));
    await run.prints(/Reconciled NetworkPolicies +namespace=shop policy=baseline created=6/);
    assert.ok(await kube.networkPolicies('shop').get('baseline.default-deny'));
    run.kill('SIGTERM');
    assert.equal(await run.exited(), 0, run.output);
  });
});

describe('make run: guide', () => {
  it('names a kubectl when there is none on the PATH, as one word of a shell', () => {
    const policy = { metadata: { name: 'p' }, spec: {} };
    const access = { kubeconfig: "/it's/kubeconfig", metricsURL: 'http://m', controllerManager: true };
    const text = guideText({ policy, namespaces: [], children: [] }, { ...access, kubectlFolder: '/a b' });
    assert.match(text, /^ {2}export KUBECONFIG='\/it'\\''s\/kubeconfig'\n {2}export PATH='\/a b':\$PATH$/m);
    assert.doesNotMatch(
      guideText({ policy, namespaces: [], children: [] }, { ...access, kubectlFolder: undefined }),
      /PATH=/,
    );
    assert.doesNotMatch(text, /Terminating/);
  });

  it('says what is missing without a controller manager', () => {
    const access = { kubeconfig: '/k', metricsURL: 'http://m', controllerManager: false, kubectlFolder: undefined };
    const text = guideText({ policy: { metadata: { name: 'p' }, spec: {} }, namespaces: [], children: [] }, access);
    assert.match(text, /namespaces that you delete stay Terminating/);
  });
});

/** The PATH, with the kubectl of the control plane before any other. */
function pathWithKubectl(): string {
  return [dirname(findAsset('kubectl')), process.env['PATH']].join(delimiter);
}

/** False for a process that has ended, also when nobody has collected it yet. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !existsSync('/proc/self/stat') || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}
