import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { delimiter, dirname } from 'node:path';
import { promisify } from 'node:util';
import { findAsset } from '../../hack/envtest/assets.ts';
import { API_VERSION, CRD_NAME, KIND } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { childName, LABEL_POLICY } from '../../src/api/names.ts';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';
import { eventually } from '../support/await.ts';
import { installCRD } from '../support/crd.ts';
import { conditionOf, DEFAULT_RULES, Demo, LABEL_SCENARIO, versions } from '../support/demo.ts';
import type { Fault } from '../support/fault-proxy.ts';
import { isWrite } from '../support/faults.ts';
import { Oracle } from '../support/oracle.ts';
import { quiet } from '../support/workload.ts';

const NAMESPACES = 5;

/** What a person runs to make children that lost their owner those of the BaselinePolicy of that name again. */
const HAND_OVER = `
uid=$(kubectl get baselinepolicy "$1" -o jsonpath='{.metadata.uid}')
owner='{"apiVersion":"baselinepolicy.dev/v1alpha1","kind":"BaselinePolicy","name":"'$1'","uid":"'$uid'","controller":true,"blockOwnerDeletion":true}'
kubectl get networkpolicies -A -l "baselinepolicy.dev/policy=$1" --no-headers -o custom-columns=:metadata.namespace,:metadata.name |
  while read -r namespace name; do
    kubectl patch networkpolicy -n "$namespace" "$name" --type=merge -p '{"metadata":{"ownerReferences":['"$owner"']}}'
  done
`;

describe('The CustomResourceDefinition', function () {
  this.timeout(120_000);
  let demo: Demo;
  let oracle: Oracle;

  before(async () => {
    // The garbage collector takes what has an owner that is gone.
    demo = await Demo.start({ faults: true, controlPlane: { controllerManager: true } });
    oracle = await Oracle.start(demo.kube);
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  afterEach(() => {
    demo.proxy.intercept = () => 'pass';
  });

  const definitions = () =>
    demo.kube.resource<KubernetesObject>('apiextensions.k8s.io/v1', 'customresourcedefinitions');

  /** Resolves when the definition is gone. */
  async function definitionGone(): Promise<void> {
    await eventually(
      async () => {
        const left = await definitions().find(CRD_NAME);
        assert.equal(left, undefined, JSON.stringify(left?.metadata));
      },
      { timeout: 45_000 },
    );
  }

  /** Installs the definition and resolves when the operator has found it and BaselinePolicies can be created. */
  async function installAgain(): Promise<void> {
    await installCRD(demo.kube);
    await demo.operator.ready();
    await eventually(() =>
      demo.kube.baselinePolicies.create(
        { apiVersion: API_VERSION, kind: KIND, metadata: { name: 'probe' }, spec: {} },
        { dryRun: 'All' },
      ),
    );
  }

  /** Children of namespaces that a garbage collector would not touch: all have no owner. */
  async function assertOrphaned(namespaces: readonly string[], policy: string): Promise<void> {
    for (const namespace of namespaces) {
      const children = await demo.children(namespace);
      assert.deepEqual([...children.keys()].sort(), DEFAULT_RULES.map((rule) => childName(policy, rule)).sort());
      for (const { metadata } of children.values()) {
        assert.equal(metadata.ownerReferences, undefined, `${namespace}/${metadata.name}`);
      }
    }
  }

  /** UID and spec of each child of some namespaces. */
  async function objectsIn(namespaces: readonly string[]): Promise<string[]> {
    const children = await Promise.all(namespaces.map((namespace) => demo.children(namespace)));
    return children
      .flatMap((each) =>
        [...each.values()].map(({ metadata, spec }) => `${metadata.uid ?? ''} ${JSON.stringify(spec)}`),
      )
      .sort();
  }

  async function versionsOf(namespaces: readonly string[]): Promise<unknown[]> {
    return Promise.all(namespaces.map(async (namespace) => versions(await demo.children(namespace))));
  }

  /** Deletes of children of a policy that the operator asked for. */
  const deletes = (policy: string): string[] =>
    demo.proxy.requests
      .filter(({ method, url }) => method === 'DELETE' && url.pathname.includes(`/networkpolicies/${policy}.`))
      .map(({ url }) => url.pathname);

  /** Resolves when every child of a policy is told to be in conflict with what has its name. */
  async function allConflict(policy: string): Promise<void> {
    const { status } = await demo.status(policy, ({ namespaces, failures = [] }) => {
      assert.deepEqual(namespaces, { selected: NAMESPACES, compliant: 0, drifted: 0, failed: NAMESPACES, pending: 0 });
      assert.deepEqual(new Set(failures.map(({ reason }) => reason)), new Set(['NameConflict']));
      assert.equal(failures.length, NAMESPACES * DEFAULT_RULES.length);
    });
    assert.equal(conditionOf(status, 'Ready')?.reason, 'NamespacesFailed');
    assert.equal(conditionOf(status, 'Stalled')?.status, 'True');
    const drift = await demo.drift(policy);
    for (const rule of DEFAULT_RULES) assert.equal(drift[`${rule} NameConflict reported`], NAMESPACES, rule);
  }

  /** Deletes what a policy left behind, as `kubectl delete networkpolicies -l` does. */
  async function deleteOrphans(namespaces: readonly string[], policy: string): Promise<void> {
    for (const namespace of namespaces) {
      const networkPolicies = demo.kube.networkPolicies(namespace);
      const orphans: NetworkPolicy[] = await networkPolicies.list({ labelSelector: `${LABEL_POLICY}=${policy}` });
      for (const { metadata } of orphans) {
        await oracle.tamper(namespace, metadata.name, () => networkPolicies.delete(metadata.name));
      }
    }
  }

  describe('that was deleted and is installed anew', () => {
    const CASES = ['owned', 'renamed', 'anew'];
    const namespaces = new Map<string, string[]>();
    const objects = new Map<string, string[]>();

    const namespacesOf = (policy: string): string[] => namespaces.get(policy) ?? [];

    before(async () => {
      for (const policy of CASES) {
        namespaces.set(policy, await demo.settled(policy, NAMESPACES));
        await demo.compliant(policy, NAMESPACES);
        objects.set(policy, await objectsIn(namespacesOf(policy)));
      }
      await definitions().delete(CRD_NAME);
      await definitionGone();
      await eventually(async () => {
        assert.equal((await fetch(`${demo.operator.url('health')}/readyz`)).status, 500);
      });
    });

    after(() => demo.remove());

    it('has left every child as it was, without its owner', async () => {
      for (const policy of CASES) {
        await assertOrphaned(namespacesOf(policy), policy);
        assert.deepEqual(await objectsIn(namespacesOf(policy)), objects.get(policy));
        assert.deepEqual(deletes(policy), []);
      }
      await installAgain();
    });

    it('lets the same policies find these children foreign, and say so; new policies work as ever', async () => {
      const kept = await Promise.all(CASES.map((policy) => versionsOf(namespacesOf(policy))));
      for (const policy of CASES) await demo.policy(policy);
      for (const policy of CASES) await allConflict(policy);
      await demo.settled('other', 2);
      await demo.compliant('other', 2);
      await quiet(demo.proxy, 2_500);
      assert.deepEqual(await Promise.all(CASES.map((policy) => versionsOf(namespacesOf(policy)))), kept);
      for (const policy of CASES) assert.deepEqual(deletes(policy), []);
      assert.equal(demo.operator.stderr, '');
      await oracle.assertNothingOpenedOrBroken();
    });

    it('takes children back, without a gap, into which a person writes it as their owner', async () => {
      const policy = 'owned';
      await promisify(execFile)('sh', ['-euc', HAND_OVER, 'sh', policy], {
        env: {
          PATH: [dirname(findAsset('kubectl')), process.env['PATH'] ?? ''].join(delimiter),
          KUBECONFIG: demo.controlPlane.kubeconfig,
          // Where kubectl keeps its cache.
          HOME: dirname(demo.controlPlane.kubeconfig),
        },
      });
      await demo.compliant(policy, NAMESPACES);
      assert.deepEqual(await objectsIn(namespacesOf(policy)), objects.get(policy));
      await oracle.assertNothingOpenedOrBroken();
      // They are its children in every respect.
      const [namespace = ''] = namespacesOf(policy);
      const child = childName(policy, 'allow-dns');
      await oracle.tamper(namespace, child, () => demo.kube.networkPolicies(namespace).delete(child));
      await demo.holds(namespace, policy);
    });

    it('hands over without a gap to a policy of another name, and then lets the old children be deleted', async () => {
      const [policy, successor] = ['renamed', 'renamed-b'];
      await demo.remove(policy);
      await assertOrphaned(namespacesOf(policy), policy);
      await demo.kube.baselinePolicies.create({
        apiVersion: API_VERSION,
        kind: KIND,
        metadata: { name: successor },
        spec: { namespaceSelector: { matchLabels: { [LABEL_SCENARIO]: policy } } },
      });
      await demo.compliant(successor, NAMESPACES);
      await deleteOrphans(namespacesOf(policy), policy);
      for (const namespace of namespacesOf(policy)) await demo.holds(namespace, successor);
      await oracle.assertNothingOpenedOrBroken();
    });

    it('makes children anew that a person deletes, each at once, but with a gap', async () => {
      const policy = 'anew';
      await deleteOrphans(namespacesOf(policy), policy);
      await demo.compliant(policy, NAMESPACES);
      for (const namespace of namespacesOf(policy)) await demo.holds(namespace, policy);
      const now = await objectsIn(namespacesOf(policy));
      assert.deepEqual(
        now.filter((child) => objects.get(policy)?.includes(child)),
        [],
      );
      // What was made in the place of a foreign object was not healed.
      const healed = Object.keys(await demo.drift(policy)).filter((sample) => sample.endsWith('healed'));
      assert.deepEqual(healed, []);
    });
  });

  it('goes only when an operator has come that lets the children stay', async () => {
    const policy = demo.name('down');
    const namespaces = await demo.settled(policy, NAMESPACES);
    const before = await objectsIn(namespaces);
    await demo.killOperator();
    await definitions().delete(CRD_NAME);
    await eventually(async () => {
      assert.notEqual((await demo.kube.baselinePolicies.get(policy)).metadata.deletionTimestamp, undefined);
    });
    assert.notEqual(await definitions().find(CRD_NAME), undefined);
    await demo.startOperator();
    await definitionGone();
    await assertOrphaned(namespaces, policy);
    assert.deepEqual(await objectsIn(namespaces), before);
    await installAgain();
    await demo.remove();
    await oracle.assertNothingOpenedOrBroken();
  });

  it('goes in the midst of a fill: what was made stays, and no write comes after', async () => {
    const policy = demo.name('fill');
    const namespaces = await demo.createNamespaces(policy, 60);
    const [slow = ''] = namespaces;
    // All first writes of one namespace are on their way for long, and reach the API server after all else is done.
    const released = Promise.withResolvers<undefined>();
    let held = 0;
    let created = 0;
    const half = Promise.withResolvers<undefined>();
    const going = Promise.withResolvers<undefined>();
    demo.proxy.intercept = async (request): Promise<Fault> => {
      if (!isWrite(request, 'networkpolicies') || request.method !== 'POST') return 'pass';
      if (request.url.pathname.includes(`/namespaces/${slow}/`)) {
        held++;
        await released.promise;
        return 'pass';
      }
      if (++created > 60) {
        half.resolve(undefined);
        await going.promise;
      }
      return 'pass';
    };
    await demo.policy(policy);
    await half.promise;
    await definitions().delete(CRD_NAME);
    await eventually(async () => {
      assert.notEqual((await demo.kube.baselinePolicies.get(policy)).metadata.deletionTimestamp, undefined);
    });
    going.resolve(undefined);
    await eventually(
      async () => {
        for (const namespace of namespaces.slice(1)) {
          for (const { metadata } of (await demo.children(namespace)).values()) {
            assert.equal(metadata.ownerReferences, undefined, `${namespace}/${metadata.name}`);
          }
        }
        assert.ok(demo.operator.log.some(({ msg }) => msg === 'Removing BaselinePolicy'));
      },
      { timeout: 30_000, interval: 200 },
    );
    const madeBefore = await objectsIn(namespaces);
    assert.ok(madeBefore.length < 3 * 60 - 3, 'the definition went too late to be in the midst');
    assert.ok(held > 0, 'no write was on its way');
    released.resolve(undefined);
    await definitionGone();
    for (const namespace of namespaces) {
      for (const { metadata } of (await demo.children(namespace)).values()) {
        assert.equal(metadata.ownerReferences, undefined, `${namespace}/${metadata.name}`);
      }
    }
    await quiet(demo.proxy, 2_500);
    const madeAfter = new Set(await objectsIn(namespaces));
    assert.deepEqual(
      madeBefore.filter((child) => !madeAfter.has(child)),
      [],
    );
    assert.equal((await demo.children(slow)).size, 3, 'what was on its way stays too');
    assert.deepEqual(deletes(policy), []);
    await installAgain();
    await demo.remove();
    await oracle.assertNothingOpenedOrBroken();
  });
});
