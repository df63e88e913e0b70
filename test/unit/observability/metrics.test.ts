import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Metrics } from '../../../src/observability/metrics.ts';

/** Name, type and labels of each metric that dashboards rely on. */
const CONTRACT: Readonly<Record<string, readonly [type: string, ...labels: string[]]>> = {
  baseline_policy_drift_total: ['counter', 'policy', 'rule', 'reason', 'action'],
  baseline_policy_drifted_networkpolicies: ['gauge', 'policy'],
  baseline_policy_namespaces: ['gauge', 'policy', 'state'],
  baseline_policy_networkpolicies: ['gauge', 'policy', 'rule'],
  baseline_policy_heal_seconds: ['histogram'],
  baseline_policy_time_to_protected_seconds: ['histogram'],
  baseline_policy_info: ['gauge', 'policy', 'mode'],
  baseline_policy_fights_total: ['counter', 'policy', 'rule'],
  baseline_policy_deletion_held: ['gauge', 'policy'],
  baseline_policy_operator_build_info: ['gauge', 'version'],
  controller_reconcile_total: ['counter', 'controller', 'result'],
  controller_reconcile_seconds: ['histogram', 'controller', 'result'],
  workqueue_depth: ['gauge', 'name'],
  workqueue_adds_total: ['counter', 'name'],
  workqueue_queue_duration_seconds: ['histogram', 'name'],
  workqueue_work_duration_seconds: ['histogram', 'name'],
  workqueue_retries_total: ['counter', 'name'],
  rest_client_concurrency_limit: ['gauge'],
  rest_client_latency_limit: ['gauge'],
  rest_client_requests_total: ['counter', 'code', 'method'],
  rest_client_request_duration_seconds: ['histogram', 'code', 'method', 'resource'],
  watch_restarts_total: ['counter', 'resource'],
  watch_last_event_timestamp_seconds: ['gauge', 'resource'],
  leader_election_master_status: ['gauge', 'name'],
};

/** The series of the exposition text whose name starts with `prefix`: name and labels to value. */
async function series(metrics: Metrics, prefix = ''): Promise<Record<string, number>> {
  const lines = (await metrics.registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const pairs = lines.map((line): [string, number] => {
    const space = line.lastIndexOf(' ');
    return [line.slice(0, space), Number(line.slice(space + 1))];
  });
  return Object.fromEntries(pairs.filter(([name]) => name.startsWith(prefix)));
}

describe('metrics', () => {
  let metrics: Metrics;

  beforeEach(() => {
    metrics = new Metrics({ version: '1.2.3', processMetrics: false });
  });

  it('have the names, types and labels of the contract, and no others', async () => {
    metrics.trackPolicy('p', 'Enforce', ['default-deny']);
    metrics.queue('q').queueDuration.observe(1);
    metrics.queue('q').workDuration.observe(1);
    metrics.watch('pods').lastEvent.set(1);
    metrics.reconcileObserver('c')('success', 1);
    metrics.requestObserver('GET', 'pods')(200, 1);
    metrics.leaderElectionMasterStatus.set({ name: 'l' }, 1);

    const text = await metrics.registry.metrics();
    const types = Object.fromEntries(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type] as const),
    );
    assert.deepEqual(types, Object.fromEntries(Object.entries(CONTRACT).map(([name, [type]]) => [name, type])));
    for (const [name, [type, ...labels]] of Object.entries(CONTRACT)) {
      const sample = new RegExp(`^${name}${type === 'histogram' ? '_count' : ''}(?:\\{(.*)\\})? `, 'm').exec(text);
      assert.ok(sample, `no sample of ${name}`);
      const found = [...(sample[1] ?? '').matchAll(/(\w+)=/g)].map(([, label]) => label);
      assert.deepEqual(found, labels, name);
      assert.match(text, new RegExp(`^# HELP ${name} [A-Z].*\\.$`, 'm'));
    }
  });

  it('tell the version', async () => {
    assert.deepEqual(await series(metrics, 'baseline_policy_operator'), {
      'baseline_policy_operator_build_info{version="1.2.3"}': 1,
    });
  });

  describe('of a policy', () => {
    it('start at 0 for every label set that is known', async () => {
      metrics.trackPolicy('p', 'Enforce', ['default-deny', 'allow-dns']);
      const drift = await series(metrics, 'baseline_policy_drift_total');
      // 2 rules and "other", 5 reasons, 3 actions.
      assert.equal(Object.keys(drift).length, 3 * 5 * 3);
      assert.ok(Object.values(drift).every((value) => value === 0));
      assert.equal(
        drift['baseline_policy_drift_total{policy="p",rule="allow-dns",reason="NameConflict",action="reported"}'],
        0,
      );
      assert.deepEqual(await series(metrics, 'baseline_policy_namespaces'), {
        'baseline_policy_namespaces{policy="p",state="compliant"}': 0,
        'baseline_policy_namespaces{policy="p",state="drifted"}': 0,
        'baseline_policy_namespaces{policy="p",state="failed"}': 0,
        'baseline_policy_namespaces{policy="p",state="pending"}': 0,
      });
      assert.deepEqual(await series(metrics, 'baseline_policy_fights_total'), {
        'baseline_policy_fights_total{policy="p",rule="default-deny"}': 0,
        'baseline_policy_fights_total{policy="p",rule="allow-dns"}': 0,
        'baseline_policy_fights_total{policy="p",rule="other"}': 0,
      });
      assert.deepEqual(await series(metrics, 'baseline_policy_info'), {
        'baseline_policy_info{policy="p",mode="Enforce"}': 1,
      });
      assert.deepEqual(await series(metrics, 'baseline_policy_deletion_held'), {
        'baseline_policy_deletion_held{policy="p"}': 0,
      });
      assert.deepEqual(await series(metrics, 'baseline_policy_drifted'), {
        'baseline_policy_drifted_networkpolicies{policy="p"}': 0,
      });
    });

    it('are recorded', async () => {
      metrics.trackPolicy('p', 'Enforce', ['default-deny']);
      metrics.recordDrift('p', 'default-deny', 'Modified', 'healed');
      metrics.recordDrift('p', 'default-deny', 'Modified', 'healed');
      metrics.recordFight('p', 'default-deny');
      metrics.setNetworkPolicies('p', new Map([['default-deny', 7]]));
      metrics.setNamespaces('p', { compliant: 4, drifted: 3, failed: 2, pending: 1 });
      metrics.setDriftedNetworkPolicies('p', 5);
      metrics.setDeletionHeld('p', true);
      const all = await series(metrics, 'baseline_policy_');
      const recorded = Object.entries(all).filter(([name, value]) => value !== 0 && !name.includes('info'));
      assert.deepEqual(Object.fromEntries(recorded), {
        'baseline_policy_drift_total{policy="p",rule="default-deny",reason="Modified",action="healed"}': 2,
        'baseline_policy_fights_total{policy="p",rule="default-deny"}': 1,
        'baseline_policy_networkpolicies{policy="p",rule="default-deny"}': 7,
        'baseline_policy_namespaces{policy="p",state="compliant"}': 4,
        'baseline_policy_namespaces{policy="p",state="drifted"}': 3,
        'baseline_policy_namespaces{policy="p",state="failed"}': 2,
        'baseline_policy_namespaces{policy="p",state="pending"}': 1,
        'baseline_policy_drifted_networkpolicies{policy="p"}': 5,
        'baseline_policy_deletion_held{policy="p"}': 1,
      });
    });

    it('set to no children where the counts have none', async () => {
      metrics.trackPolicy('p', 'Enforce', ['a', 'b']);
      metrics.setNetworkPolicies('p', new Map([['a', 1]]));
      metrics.setNetworkPolicies('p', new Map([['b', 2]]));
      assert.deepEqual(await series(metrics, 'baseline_policy_networkpolicies'), {
        'baseline_policy_networkpolicies{policy="p",rule="a"}': 0,
        'baseline_policy_networkpolicies{policy="p",rule="b"}': 2,
        'baseline_policy_networkpolicies{policy="p",rule="other"}': 0,
      });
    });

    it('put rules that the policy does not have under "other"', async () => {
      metrics.trackPolicy('p', 'Enforce', ['a']);
      const before = Object.keys(await series(metrics));
      for (let rule = 0; rule < 100; rule++) {
        metrics.recordDrift('p', `made-up-${rule}`, 'Unexpected', 'healed');
        metrics.recordFight('p', `made-up-${rule}`);
      }
      metrics.setNetworkPolicies(
        'p',
        new Map([
          ['x', 1],
          ['y', 2],
          ['other', 4],
        ]),
      );
      const after = await series(metrics);
      assert.deepEqual(Object.keys(after), before);
      assert.equal(
        after['baseline_policy_drift_total{policy="p",rule="other",reason="Unexpected",action="healed"}'],
        100,
      );
      assert.equal(after['baseline_policy_fights_total{policy="p",rule="other"}'], 100);
      assert.equal(after['baseline_policy_networkpolicies{policy="p",rule="other"}'], 7);
    });

    it('keep their values when the policy is tracked again, without those of stale rules and modes', async () => {
      metrics.trackPolicy('p', 'Enforce', ['stays', 'goes']);
      metrics.recordDrift('p', 'stays', 'Missing', 'healed');
      metrics.recordDrift('p', 'goes', 'Missing', 'healed');
      metrics.setNamespaces('p', { compliant: 1, drifted: 0, failed: 0, pending: 0 });
      metrics.setNetworkPolicies('p', new Map([['stays', 3]]));
      metrics.trackPolicy('p', 'Audit', ['stays', 'comes']);
      const all = await series(metrics, 'baseline_policy_');
      assert.equal(all['baseline_policy_drift_total{policy="p",rule="stays",reason="Missing",action="healed"}'], 1);
      assert.equal(all['baseline_policy_drift_total{policy="p",rule="comes",reason="Missing",action="healed"}'], 0);
      assert.equal(all['baseline_policy_namespaces{policy="p",state="compliant"}'], 1);
      assert.equal(all['baseline_policy_networkpolicies{policy="p",rule="stays"}'], 3);
      assert.deepEqual(
        Object.keys(all).filter((name) => name.includes('"goes"')),
        [],
      );
      assert.deepEqual(await series(metrics, 'baseline_policy_info'), {
        'baseline_policy_info{policy="p",mode="Audit"}': 1,
      });
    });

    it('are all gone when the policy is forgotten, and stay gone', async () => {
      const before = await series(metrics);
      metrics.trackPolicy('p', 'Enforce', ['a']);
      metrics.trackPolicy('p', 'Audit', ['b']);
      metrics.recordDrift('p', 'b', 'Missing', 'healed');
      metrics.recordDrift('p', 'unknown', 'Unexpected', 'failed');
      metrics.forgetPolicy('p');
      assert.deepEqual(await series(metrics), before);

      metrics.recordDrift('p', 'b', 'Missing', 'healed');
      metrics.recordFight('p', 'b');
      metrics.setNetworkPolicies('p', new Map([['b', 1]]));
      metrics.setNamespaces('p', { compliant: 1, drifted: 0, failed: 0, pending: 0 });
      metrics.setDriftedNetworkPolicies('p', 1);
      metrics.setDeletionHeld('p', true);
      metrics.forgetPolicy('p');
      assert.deepEqual(await series(metrics), before);
    });

    it('leave those of other policies alone', async () => {
      metrics.trackPolicy('p', 'Enforce', ['a']);
      metrics.recordDrift('p', 'a', 'Missing', 'healed');
      const before = await series(metrics);
      metrics.trackPolicy('q', 'Enforce', ['a']);
      metrics.forgetPolicy('q');
      assert.deepEqual(await series(metrics), before);
    });
  });

  it('record requests by code, method and resource', async () => {
    const record = metrics.requestObserver('POST', 'networkpolicies');
    record(201, 0.01);
    record(201, 0.2);
    record('<error>', 3);
    metrics.requestObserver('POST', 'events')(201, 0.01);
    assert.deepEqual(await series(metrics, 'rest_client_requests_total'), {
      'rest_client_requests_total{code="201",method="POST"}': 3,
      'rest_client_requests_total{code="<error>",method="POST"}': 1,
    });
    const durations = await series(metrics, 'rest_client_request_duration_seconds');
    const labels = 'code="201",method="POST",resource="networkpolicies"';
    assert.equal(durations[`rest_client_request_duration_seconds_count{${labels}}`], 2);
    assert.equal(durations[`rest_client_request_duration_seconds_bucket{le="0.025",${labels}}`], 1);
    assert.equal(durations[`rest_client_request_duration_seconds_sum{${labels}}`], 0.21000000000000002);
  });

  it('record reconciles by controller and result', async () => {
    const record = metrics.reconcileObserver('namespace');
    record('error', 0.1);
    assert.deepEqual(await series(metrics, 'controller_reconcile_total'), {
      'controller_reconcile_total{controller="namespace",result="success"}': 0,
      'controller_reconcile_total{controller="namespace",result="error"}': 1,
      'controller_reconcile_total{controller="namespace",result="requeue"}': 0,
      'controller_reconcile_total{controller="namespace",result="requeue_after"}': 0,
    });
    const durations = await series(metrics, 'controller_reconcile_seconds_count');
    assert.deepEqual(durations, { 'controller_reconcile_seconds_count{controller="namespace",result="error"}': 1 });
  });

  it('record work queues and watches, from 0', async () => {
    metrics.watch('namespaces');
    const queue = metrics.queue('namespace');
    queue.depth.set(3);
    queue.adds.inc();
    assert.deepEqual(await series(metrics, 'workqueue_'), {
      'workqueue_depth{name="namespace"}': 3,
      'workqueue_adds_total{name="namespace"}': 1,
      'workqueue_retries_total{name="namespace"}': 0,
    });
    assert.deepEqual(await series(metrics, 'watch_'), { 'watch_restarts_total{resource="namespaces"}': 0 });
  });

  it('include those of the process, and do not keep it alive', async function () {
    this.timeout(10_000);
    const script = `
      import { Metrics } from ${JSON.stringify(new URL('../../../src/observability/metrics.ts', import.meta.url).href)};
      const { registry } = new Metrics({ version: '1' });
      process.stdout.write(await registry.metrics());
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
      timeout: 8000,
    });
    assert.match(stdout, /^process_resident_memory_bytes \d+/m);
    assert.match(stdout, /^nodejs_eventloop_lag_seconds /m);
  });
});
