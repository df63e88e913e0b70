import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { CertificateAuthority } from '../../hack/envtest/certificates.ts';
import { childName } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { conditionOf, DEFAULT_RULES, Demo, LABEL_SCENARIO } from '../support/demo.ts';
import type { KubeClient } from '../support/kube.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { assertSameOutcome, quiet } from '../support/workload.ts';

/** What a webhook does with the NetworkPolicies of a namespace. */
type Verdict = 'allow' | 'deny' | 'silence';

/** Namespaces that carry this label are the webhook's; it is asked about no others. */
const LABEL_WEBHOOK = 'webhook';

/** How long the API server waits for the webhook: its default, and what most are installed with. */
const WEBHOOK_TIMEOUT_MS = 10_000;

interface Quota {
  metadata: { name: string };
  status?: { hard?: Record<string, string> };
}

/** A validating admission webhook with failurePolicy Fail, on loopback, whose verdicts are for the test to give. */
class Webhook implements AsyncDisposable {
  /** What happens in a namespace; `allow` unless it says else. */
  readonly verdicts = new Map<string, Verdict>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on('request', (request, response) => {
      void (async () => {
        const { request: review } = (await json(request)) as { request: { uid: string; namespace: string } };
        const verdict = this.verdicts.get(review.namespace) ?? 'allow';
        if (verdict === 'silence') return;
        const allowed = verdict === 'allow';
        const answer = { uid: review.uid, allowed, ...(!allowed && { status: { message: 'not here' } }) };
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }));
      })();
    });
  }

  /** Starts a webhook and resolves when the API server asks it. */
  static async start(kube: KubeClient): Promise<Webhook> {
    const authority = new CertificateAuthority('webhook');
    const { certificate, key } = authority.issueServer(['127.0.0.1']);
    const server = createServer({ cert: certificate, key });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const webhook = new Webhook(server);
    const { port } = server.address() as AddressInfo;
    await kube.resource('admissionregistration.k8s.io/v1', 'validatingwebhookconfigurations').create({
      metadata: { name: 'test' },
      webhooks: [
        {
          name: 'networkpolicies.example.com',
          clientConfig: {
            url: `https://127.0.0.1:${port}/`,
            caBundle: Buffer.from(authority.certificate).toString('base64'),
          },
          rules: [
            {
              apiGroups: ['networking.k8s.io'],
              apiVersions: ['v1'],
              operations: ['CREATE', 'UPDATE', 'DELETE'],
              resources: ['networkpolicies'],
            },
          ],
          namespaceSelector: { matchExpressions: [{ key: LABEL_WEBHOOK, operator: 'Exists' }] },
          failurePolicy: 'Fail',
          timeoutSeconds: WEBHOOK_TIMEOUT_MS / 1000,
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
        },
      ],
    });
    const probe = 'webhook-probe';
    await kube.namespaces.create({ metadata: { name: probe, labels: { [LABEL_WEBHOOK]: '' } } });
    webhook.verdicts.set(probe, 'deny');
    const create = (): Promise<unknown> =>
      kube.networkPolicies(probe).create({ metadata: { name: probe }, spec: { podSelector: {} } }, { dryRun: 'All' });
    await eventually(() => assert.rejects(create(), { message: /not here/ }));
    return webhook;
  }

  /** From now on it allows all, at once: what was not answered is broken off, as when it is started anew. */
  relent(): void {
    this.verdicts.clear();
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** Namespaces of a run that nothing refuses anything in. */
const WILLING = 40;

describe('Namespaces where writes are refused, or hang', function () {
  this.timeout(180_000);
  let demo: Demo;
  let oracle: Oracle;
  let webhook: Webhook;
  /** The fill of as many namespaces where nothing is refused, and how long it took. */
  let clean: Outcome;
  let cleanMs: number;

  before(async () => {
    // The controller that makes quotas known runs in the kube-controller-manager.
    demo = await Demo.start({ faults: true, controlPlane: { controllerManager: true } });
    oracle = await Oracle.start(demo.kube);
    webhook = await Webhook.start(demo.kube);
    await createNamespaces('clean', 1, WILLING + 3);
    cleanMs = await fill('clean', 1, WILLING + 3);
    await demo.compliant('clean', WILLING + 3);
    clean = await oracle.outcome('clean');
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
    await webhook[Symbol.asyncDispose]();
  });

  async function createNamespaces(run: string, first: number, last: number, labels = {}): Promise<string[]> {
    const names = Array.from({ length: last - first + 1 }, (_, index) => `${run}-${first + index}`);
    for (const name of names) {
      await demo.kube.namespaces.create({ metadata: { name, labels: { [LABEL_SCENARIO]: run, ...labels } } });
    }
    return names;
  }

  /** Creates the policy of a run; resolves with the time until these namespaces had their default-deny; milliseconds. */
  async function fill(run: string, first: number, last: number): Promise<number> {
    const { metadata } = await demo.kube.networkPolicies().page({ limit: 1 });
    using watch = await demo.kube.networkPolicies().watch({ resourceVersion: metadata.resourceVersion });
    const start = performance.now();
    await demo.policy(run);
    const open = new Set(Array.from({ length: last - first + 1 }, (_, index) => `${run}-${first + index}`));
    return await eventually(
      () => {
        const denies = watch.events.filter(({ object }) => object.metadata.name === childName(run, 'default-deny'));
        for (const { object } of denies) open.delete(object.metadata.namespace ?? '');
        assert.equal(open.size, 0, `open: ${[...open].join(', ')}`);
        return Math.max(...denies.map(({ at }) => at)) - start;
      },
      { timeout: 60_000 },
    );
  }

  /** How often the operator tried to create a child in a namespace. */
  function creates(namespace: string, child: string): number {
    const path = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`;
    return demo.proxy.requests.filter(
      ({ method, url, body }) => method === 'POST' && url.pathname === path && body.includes(`"name":"${child}"`),
    ).length;
  }

  async function limitByQuota(namespace: string): Promise<() => Promise<void>> {
    const quotas = demo.kube.resource<Quota>('v1', 'resourcequotas', namespace);
    const hard = { 'count/networkpolicies.networking.k8s.io': '1' };
    await quotas.create({ metadata: { name: 'one' }, spec: { hard } });
    await eventually(async () => {
      assert.deepEqual((await quotas.get('one')).status?.hard, hard);
    });
    return () => quotas.delete('one');
  }

  /** Deletes a child of the clean run and resolves with the time until it is back; milliseconds. */
  async function healMs(n: number): Promise<number> {
    const [namespace, child] = [`clean-${n}`, childName('clean', 'allow-dns')];
    const start = performance.now();
    await oracle.tamper(namespace, child, () => demo.kube.networkPolicies(namespace).delete(child));
    await demo.holds(namespace, 'clean', DEFAULT_RULES, { timeout: 60_000 });
    return performance.now() - start;
  }

  it('by a quota, by a webhook, by its silence: others are done as fast as ever, and these when it ends', async () => {
    const run = 'mixed';
    const [limited = ''] = await createNamespaces(run, 1, 1);
    const [denied = '', silent = ''] = await createNamespaces(run, 2, 3, { [LABEL_WEBHOOK]: '' });
    await createNamespaces(run, 4, WILLING + 3);
    const lift = await limitByQuota(limited);
    webhook.verdicts.set(denied, 'deny').set(silent, 'silence');

    const started = performance.now();
    const filledMs = await fill(run, 4, WILLING + 3);
    const measured = `${Math.round(filledMs)} ms, clean ${Math.round(cleanMs)} ms`;
    assert.ok(filledMs < 4 * cleanMs + 1_000, measured);
    assert.ok(filledMs < WEBHOOK_TIMEOUT_MS, `${measured}: the silence of the webhook was waited for`);

    const { status } = await demo.status(
      run,
      ({ namespaces }) => {
        assert.deepEqual(namespaces, { selected: 43, compliant: 40, drifted: 0, failed: 3, pending: 0 });
      },
      { timeout: 30_000 },
    );
    const failures = (status?.failures ?? []).filter(({ rule }) => rule !== 'default-deny');
    const told = new Map(failures.map((failure) => [failure.namespace, failure]));
    assert.equal(told.get(limited)?.reason, 'QuotaExceeded');
    assert.equal(told.get(denied)?.reason, 'AdmissionDenied');
    assert.match(told.get(denied)?.message ?? '', /not here/);
    assert.match(told.get(silent)?.message ?? '', /failed calling webhook "networkpolicies\.example\.com"/);
    assert.equal(conditionOf(status, 'Ready')?.reason, 'NamespacesFailed');
    for (const namespace of [limited, denied, silent]) {
      assert.equal(await demo.kube.networkPolicies(namespace).find(childName(run, 'default-deny')), undefined);
    }
    assert.ok((await healMs(1)) < 5_000);

    // The n-th try comes 5 ms x (2^(n-1) - 1) after the first: twelve in ten seconds. Children that come add some.
    const failedMs = performance.now() - started;
    const most = Math.ceil(Math.log2(failedMs / 5 + 1)) + 1 + DEFAULT_RULES.length;
    for (const [namespace, least] of [
      [limited, 5],
      [denied, 5],
      [silent, 2],
    ] as const) {
      const tries = Math.max(
        ...['allow-dns', 'allow-monitoring'].map((rule) => creates(namespace, childName(run, rule))),
      );
      assert.ok(tries >= least && tries <= most, `${namespace}: ${tries} tries in ${failedMs} ms, at most ${most}`);
    }

    const ended = performance.now();
    await lift();
    webhook.relent();
    await demo.compliant(run, WILLING + 3, { timeout: 60_000 });
    const healedMs = performance.now() - ended;
    assert.ok(healedMs < failedMs + 10_000, `healed after ${healedMs} ms, refused for ${failedMs} ms`);
    assert.deepEqual(await oracle.outcome(run), clean);
    await oracle.assertNothingOpenedOrBroken();
  });

  it('more of them than there are workers: others wait for the first try of each, and never again', async () => {
    const concurrency = LONG_FORM ? 16 : 4;
    const silent = LONG_FORM ? 30 : 5;
    await demo.restartOperator([`--concurrency=${concurrency}`]);
    const run = 'hung';
    for (const namespace of await createNamespaces(run, 1, silent, { [LABEL_WEBHOOK]: '' })) {
      webhook.verdicts.set(namespace, 'silence');
    }
    await createNamespaces(run, silent + 1, WILLING + 3);
    const filledMs = await fill(run, silent + 1, WILLING + 3);
    // Two writes a namespace hang at a time, of the requests that may be in flight: eight more than there are workers.
    const together = Math.min(concurrency, Math.floor((concurrency + 8) / 2));
    const roundMs = WEBHOOK_TIMEOUT_MS * Math.ceil(silent / together);
    assert.ok(filledMs < roundMs + 4 * cleanMs + 1_000, `${Math.round(filledMs)} ms, one round ${roundMs} ms`);

    // Each silent namespace has failed; from now on those that are tried again could hold every worker.
    await eventually(
      () => {
        let tries = 0;
        for (let n = 1; n <= silent; n++) tries += creates(`${run}-${n}`, childName(run, 'allow-dns'));
        assert.ok(tries > silent, `no namespace was tried again: ${tries} tries of ${silent}`);
      },
      { timeout: 60_000 },
    );
    const heals: number[] = [];
    for (let n = 1; n <= 10; n++) heals.push(Math.round(await healMs(n)));
    assert.ok(Math.max(...heals) < WEBHOOK_TIMEOUT_MS / 2, `heals took ${heals.join(', ')} ms`);
    webhook.relent();
    await demo.compliant(run, WILLING + 3, { timeout: 60_000 });
    // The status of the policy whose children were healed above may be told up to two seconds later.
    await eventually(() => quiet(demo.proxy, 3_000), { timeout: 60_000 });
    await assertSameOutcome(demo, oracle, run, clean);
  });
});
