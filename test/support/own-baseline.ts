import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { API_VERSION, type BaselinePolicySpec, KIND } from '../../src/api/baselinepolicy.ts';
import { childName, LABEL_ENFORCE, LABEL_POLICY } from '../../src/api/names.ts';
import type { NetworkPolicy, NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { eventually } from './await.ts';
import type { RealCluster } from './real-cluster.ts';

/** Without it the tamper protection, which may be installed, refuses everybody but the operator. */
const BREAK_GLASS = { 'baselinepolicy.dev/break-glass': 'a test' };
/** Rules of `spec: {}`. */
const RULES = ['default-deny', 'allow-dns', 'allow-monitoring'];
const TIMEOUT = { timeout: 30_000, interval: 100 };

/**
 * A BaselinePolicy for namespaces of one test alone, on a cluster that has others: these opt in with a value of the label
 * that no other BaselinePolicy asks for.
 */
export class OwnBaseline implements AsyncDisposable {
  /** Name of the BaselinePolicy, and beginning of those of its namespaces. */
  readonly name: string;
  /** The labels with which a namespace opts in. */
  readonly optIn: Readonly<Record<string, string>>;
  readonly #cluster: RealCluster;
  readonly #namespaces: string[] = [];

  private constructor(cluster: RealCluster, name: string) {
    this.#cluster = cluster;
    this.name = name;
    this.optIn = { [LABEL_ENFORCE]: name };
  }

  /** Creates the BaselinePolicy; default of `spec`, by its name: all rules as by default. */
  static async create(
    cluster: RealCluster,
    spec: (name: string) => BaselinePolicySpec = () => ({}),
  ): Promise<OwnBaseline> {
    const baseline = new OwnBaseline(cluster, `e2e-${randomBytes(3).toString('hex')}`);
    const { name, optIn } = baseline;
    await cluster.kube.baselinePolicies.create({
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name },
      spec: { ...spec(name), namespaceSelector: { matchLabels: { ...optIn } } },
    });
    return baseline;
  }

  /** Creates a namespace that has opted in, and waits until it has its children, of RULES and these; returns its name. */
  async optedIn(suffix: string, additional: readonly string[] = []): Promise<string> {
    const namespace = await this.namespace(suffix, this.optIn);
    await this.awaitChildren(namespace, [...RULES, ...additional]);
    return namespace;
  }

  /** Creates a namespace with these labels, of which none opts in by itself; returns its name. */
  async namespace(suffix: string, labels: Readonly<Record<string, string>> = {}): Promise<string> {
    const name = `${this.name}-${suffix}`;
    await this.#cluster.kube.namespaces.create({ metadata: { name, labels: { test: this.name, ...labels } } });
    this.#namespaces.push(name);
    return name;
  }

  /** The child that a rule makes in a namespace; rejects when it is not there. */
  async child(namespace: string, rule: string): Promise<NetworkPolicy & { spec: NetworkPolicySpec }> {
    const child = await this.#cluster.kube.networkPolicies(namespace).get(childName(this.name, rule));
    assert.ok(child.spec, `${namespace}/${child.metadata.name} has no spec`);
    return { ...child, spec: child.spec };
  }

  /** UID and resourceVersion of each of its children in a namespace, by name: they change when it is written. */
  async versions(namespace: string): Promise<Record<string, string>> {
    const labelSelector = `${LABEL_POLICY}=${this.name}`;
    const children = await this.#cluster.kube.networkPolicies(namespace).list({ labelSelector });
    return Object.fromEntries(
      children.map(({ metadata: { name, uid = '', resourceVersion = '' } }) => [name, `${uid} ${resourceVersion}`]),
    );
  }

  /** Waits until a namespace has exactly its children. */
  async awaitChildren(namespace: string, rules: readonly string[] = RULES): Promise<void> {
    const expected = rules.map((rule) => childName(this.name, rule)).sort();
    await eventually(async () => {
      assert.deepEqual(Object.keys(await this.versions(namespace)).sort(), expected);
    }, TIMEOUT);
  }

  /** Changes the spec of a child, as a person may in an emergency; resolves before that is healed. */
  async edit(namespace: string, rule: string, spec: NetworkPolicySpec): Promise<void> {
    const patch = { metadata: { annotations: BREAK_GLASS }, spec };
    await this.#cluster.kube.networkPolicies(namespace).merge(childName(this.name, rule), patch);
  }

  /** Deletes a child, as a person may in an emergency, and waits until another has its name. */
  async deleteAndAwaitHealing(namespace: string, rule: string): Promise<void> {
    const { metadata } = await this.child(namespace, rule);
    const policies = this.#cluster.kube.networkPolicies(namespace);
    await policies.merge(metadata.name, { metadata: { annotations: BREAK_GLASS } });
    await policies.delete(metadata.name);
    await eventually(async () => {
      assert.notEqual((await this.child(namespace, rule)).metadata.uid, metadata.uid);
    }, TIMEOUT);
  }

  /** Deletes the namespaces, and the BaselinePolicy, which the operator lets go. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { namespaces, baselinePolicies } = this.#cluster.kube;
    for (const name of this.#namespaces) await namespaces.delete(name);
    await baselinePolicies.delete(this.name);
  }
}
