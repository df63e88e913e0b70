import assert from 'node:assert/strict';
import {
  type AuditEvent,
  type AuditMark,
  ControlPlane,
  type ControlPlaneOptions,
} from '../../hack/envtest/control-plane.ts';
import {
  API_VERSION,
  KIND,
  type BaselinePolicy,
  type BaselinePolicySpec,
  type BaselinePolicyStatus,
  type Condition,
} from '../../src/api/baselinepolicy.ts';
import { childName } from '../../src/api/names.ts';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';
import { eventually, type EventuallyOptions } from './await.ts';
import { installCRD } from './crd.ts';
import { FaultProxy } from './fault-proxy.ts';
import { KubeClient } from './kube.ts';
import { OperatorProcess, type OperatorProcessOptions } from './operator.ts';
import { installServiceAccount, OPERATOR_USER } from './service-account.ts';

/** What a {@link Demo} is started with. */
export interface DemoOptions {
  readonly controlPlane?: ControlPlaneOptions;
  /** Flags of the operator. */
  readonly flags?: readonly string[];
  /** Environment of the operator, beside that of the tests. */
  readonly env?: NodeJS.ProcessEnv;
  /** Put a fault proxy between the operator and the API server. Default: false. */
  readonly faults?: boolean;
}

/** Label of the namespaces of one scenario; its policies select by it. */
export const LABEL_SCENARIO = 'scenario';

/** The rules of a BaselinePolicy with `spec: {}`, sorted. */
export const DEFAULT_RULES: readonly string[] = ['allow-dns', 'allow-monitoring', 'default-deny'];

/**
 * A control plane with the CustomResourceDefinition and an operator on it, with the token and the rights of its
 * ServiceAccount, shared by the scenarios of a file. A scenario has namespaces and policies of its own, that it finds
 * again by unique names.
 */
export class Demo {
  readonly controlPlane: ControlPlane;
  readonly kube: KubeClient;
  /** Path of a kubeconfig of the operator's ServiceAccount, which has the rights of `config/rbac`. */
  readonly serviceAccount: string;
  readonly #proxy: FaultProxy | undefined;
  readonly #options: DemoOptions;
  #operator: OperatorProcess;
  #names = 0;

  private constructor(
    options: DemoOptions,
    controlPlane: ControlPlane,
    kube: KubeClient,
    serviceAccount: string,
    proxy: FaultProxy | undefined,
    operator: OperatorProcess,
  ) {
    this.#options = options;
    this.controlPlane = controlPlane;
    this.kube = kube;
    this.serviceAccount = serviceAccount;
    this.#proxy = proxy;
    this.#operator = operator;
  }

  /** Starts all of it; resolves when the caches of the operator are synced. */
  static async start(options: DemoOptions = {}): Promise<Demo> {
    const controlPlane = await ControlPlane.start({ controllerManager: false, ...options.controlPlane });
    const kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    let proxy: FaultProxy | undefined;
    try {
      await installCRD(kube);
      const serviceAccount = await installServiceAccount(controlPlane, kube);
      if (options.faults === true) proxy = await FaultProxy.start(serviceAccount);
      const { flags = [], env = {} } = options;
      const kubeconfig = proxy?.kubeconfig ?? serviceAccount;
      const [operator] = await Promise.all([
        OperatorProcess.start({ kubeconfig, flags, env }),
        // The API server holds back creates of a kind that is new for two seconds: not in the time of a scenario.
        kube.baselinePolicies.create(
          { apiVersion: API_VERSION, kind: KIND, metadata: { name: 'first' }, spec: {} },
          { dryRun: 'All' },
        ),
      ]);
      return new Demo(options, controlPlane, kube, serviceAccount, proxy, operator);
    } catch (error) {
      await proxy?.close();
      await kube.close();
      await controlPlane.stop();
      throw error;
    }
  }

  /** The operator that runs now. */
  get operator(): OperatorProcess {
    return this.#operator;
  }

  /** The proxy between the operator and the API server; throws without the option `faults`. */
  get proxy(): FaultProxy {
    if (this.#proxy === undefined) throw new Error('Expected a demo that was started with faults: true');
    return this.#proxy;
  }

  /** Ends the operator, which must succeed, and starts another one, with the same flags unless others are given. */
  async restartOperator(flags?: readonly string[]): Promise<void> {
    assert.equal(await this.#operator.stop(), 0);
    await this.startOperator(flags);
  }

  /** Ends the operator as a crash does; resolves when it is gone. */
  async killOperator(): Promise<void> {
    this.#operator.signal('SIGKILL');
    await this.#operator.exited();
  }

  /** Starts an operator after the last one has ended; resolves when its caches are synced. */
  async startOperator(flags?: readonly string[]): Promise<void> {
    this.#operator = await OperatorProcess.start(this.#operatorOptions(flags));
  }

  /** Starts one more operator beside the present one, through the same proxy, and hands it over; the caller ends it. */
  async startAnotherOperator(flags?: readonly string[]): Promise<OperatorProcess> {
    return OperatorProcess.start(this.#operatorOptions(flags));
  }

  /** Ends all of it. */
  async stop(): Promise<void> {
    await this.#operator.stop();
    await this.#proxy?.close();
    await this.kube.close();
    await this.controlPlane.stop();
  }

  #operatorOptions(flags = this.#options.flags ?? []): OperatorProcessOptions {
    const kubeconfig = this.#proxy?.kubeconfig ?? this.serviceAccount;
    return { kubeconfig, flags, env: this.#options.env ?? {} };
  }

  /** A name that no other object of this control plane has. */
  name(what: string): string {
    return `${what}-${++this.#names}`;
  }

  /** Creates a namespace of a scenario; further labels win. Returns its name. */
  async namespace(scenario: string, labels: Record<string, string> = {}): Promise<string> {
    const name = this.name(`${scenario}-ns`);
    await this.kube.namespaces.create({ metadata: { name, labels: { [LABEL_SCENARIO]: scenario, ...labels } } });
    return name;
  }

  /** Creates namespaces of a scenario. Returns their names. */
  async createNamespaces(scenario: string, count: number): Promise<string[]> {
    return Promise.all(Array.from({ length: count }, () => this.namespace(scenario)));
  }

  /** Creates a BaselinePolicy with the name of the scenario, that selects its namespaces unless the spec says else. */
  async policy(scenario: string, spec: BaselinePolicySpec = {}, name = scenario): Promise<BaselinePolicy> {
    const namespaceSelector = { matchLabels: { [LABEL_SCENARIO]: scenario } };
    return this.kube.baselinePolicies.create({
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name },
      spec: { namespaceSelector, ...spec },
    });
  }

  /** Namespaces and a BaselinePolicy of a scenario, once the operator counts all of them as compliant. */
  async settled(scenario: string, count: number, spec: BaselinePolicySpec = {}): Promise<string[]> {
    const namespaces = await this.createNamespaces(scenario, count);
    await this.policy(scenario, spec);
    await this.reconciled(scenario, count);
    return namespaces;
  }

  /**
   * Resolves when the metrics of a policy count so many namespaces, all compliant. They know it up to two seconds
   * before the status, but do not say for which generation.
   */
  async reconciled(policy: string, count: number): Promise<void> {
    await eventually(async () => {
      const metrics = await this.operator.metrics();
      const states = ['compliant', 'drifted', 'failed', 'pending'].map((state) =>
        metrics.get(`baseline_policy_namespaces{policy="${policy}",state="${state}"}`),
      );
      assert.deepEqual(states, [count, 0, 0, 0], `namespaces of ${policy}`);
    });
  }

  /** Changes fields of the spec by a merge patch. */
  async change(policy: string, spec: object): Promise<void> {
    await this.kube.baselinePolicies.merge(policy, { spec });
  }

  /** Sets or, with null, removes labels of a namespace. */
  async label(namespace: string, labels: Record<string, string | null>): Promise<void> {
    await this.kube.namespaces.merge(namespace, { metadata: { labels } });
  }

  /** Takes a namespace out of its scenario. */
  async optOut(namespace: string): Promise<void> {
    await this.label(namespace, { [LABEL_SCENARIO]: null });
  }

  /** Resolves with the policy when `check` passes for its status of the current generation. */
  async status(
    policy: string,
    check: (status: BaselinePolicyStatus) => void,
    options: EventuallyOptions = {},
  ): Promise<BaselinePolicy> {
    return eventually(async () => {
      const found = await this.kube.baselinePolicies.get(policy);
      const { status = {}, metadata } = found;
      assert.equal(status.observedGeneration, metadata.generation, 'the status is of an old generation');
      check(status);
      return found;
    }, options);
  }

  /** Resolves with the policy when its status counts so many namespaces, all compliant. */
  async compliant(policy: string, count: number, options: EventuallyOptions = {}): Promise<BaselinePolicy> {
    return this.status(
      policy,
      (status) => {
        const namespaces = { selected: count, compliant: count, drifted: 0, failed: 0, pending: 0 };
        assert.deepEqual(status.namespaces, namespaces, JSON.stringify(status));
        assert.equal(conditionOf(status, 'Ready')?.status, 'True');
      },
      options,
    );
  }

  /** The NetworkPolicies of a namespace, by name. */
  async children(namespace: string): Promise<Map<string, NetworkPolicy>> {
    const list = await this.kube.networkPolicies(namespace).list();
    return new Map(list.map((child) => [child.metadata.name, child]));
  }

  /** One child, which must be there. */
  async child(namespace: string, policy: string, rule: string): Promise<NetworkPolicy> {
    return this.kube.networkPolicies(namespace).get(childName(policy, rule));
  }

  /** Resolves when the NetworkPolicies of a namespace are those of these rules of a policy, and no others. */
  async holds(
    namespace: string,
    policy: string,
    rules: readonly string[] = DEFAULT_RULES,
    options: EventuallyOptions = {},
  ): Promise<void> {
    const expected = rules.map((rule) => childName(policy, rule)).sort();
    await eventually(async () => {
      assert.deepEqual([...(await this.children(namespace)).keys()].sort(), expected, `in namespace ${namespace}`);
    }, options);
  }

  /** Deletes BaselinePolicies and resolves when they are gone; all of them by default. */
  async remove(...policies: readonly string[]): Promise<void> {
    const { baselinePolicies } = this.kube;
    const names = policies.length > 0 ? policies : (await baselinePolicies.list()).map(({ metadata }) => metadata.name);
    await Promise.all(names.map((name) => baselinePolicies.delete(name)));
    await this.gone(names);
  }

  /** Resolves when none of these BaselinePolicies is left. */
  async gone(policies: readonly string[], options: EventuallyOptions = {}): Promise<void> {
    await eventually(async () => {
      const left = (await this.kube.baselinePolicies.list()).map(({ metadata }) => metadata.name);
      assert.deepEqual(
        left.filter((name) => policies.includes(name)),
        [],
      );
    }, options);
  }

  /** The drift counters of a policy that are not 0: by `<rule> <reason> <action>`. */
  async drift(policy: string): Promise<Record<string, number>> {
    const counted: Record<string, number> = {};
    for (const [sample, value] of await this.operator.metrics()) {
      if (value === 0 || !sample.startsWith('baseline_policy_drift_total{')) continue;
      const labels = new Map([...sample.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', text = '']) => [key, text]));
      if (labels.get('policy') !== policy) continue;
      counted[['rule', 'reason', 'action'].map((label) => labels.get(label) ?? '').join(' ')] = value;
    }
    return counted;
  }

  /** Resolves when the drift counters of a policy that are not 0 are these. */
  async counted(policy: string, expected: Record<string, number>): Promise<void> {
    await eventually(async () => {
      assert.deepEqual(await this.drift(policy), expected);
    });
  }

  /** The operator's requests that changed NetworkPolicies, or tried to, since a mark; needs the audit log. */
  async childWrites(since: AuditMark): Promise<AuditEvent[]> {
    return (await this.controlPlane.auditEvents(since)).filter(
      ({ stage, verb, user, objectRef }) =>
        stage === 'ResponseComplete' &&
        user.username === OPERATOR_USER &&
        objectRef?.resource === 'networkpolicies' &&
        !['get', 'list', 'watch'].includes(verb),
    );
  }
}

/** The condition of this type in a status. */
export function conditionOf(status: BaselinePolicyStatus | undefined, type: string): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** What changes when an object is written: by name, its UID and resourceVersion. */
export function versions(children: ReadonlyMap<string, NetworkPolicy>): Record<string, string> {
  return Object.fromEntries(
    [...children].map(([name, { metadata }]) => [name, `${metadata.uid ?? ''}@${metadata.resourceVersion ?? ''}`]),
  );
}
