import type { NetworkPolicy, NetworkPolicySpec } from '../../api/networkpolicy.ts';
import { classify } from '../classes.ts';
import { policyNamespace, type Workload } from '../cluster.ts';
import { matchesPeer, type Endpoint } from '../evaluate.ts';
import { exampleLabels, examplePod } from '../example-pod.ts';
import { knownAddresses, podEndpoint, type Model } from '../model.ts';
import type { Direction, Peer, Policy } from '../policy.ts';
import type { Profile } from '../profiles.ts';

/** Annotations of an object. */
export type Annotations = Readonly<Record<string, string>>;

/** What lint should know beside the model. */
export interface LintOptions {
  /**
   * Whether the model has everything that there is, as a live cluster has: then what is not there does not exist. By
   * default a namespace or pod that is not there may be elsewhere.
   */
  readonly isComplete?: boolean;
  /** Facts of the network plugin; see PROFILES. */
  readonly profile?: Profile;
  /** Annotations of Namespaces by name, which silence findings about them and their workloads. */
  readonly namespaceAnnotations?: ReadonlyMap<string, Annotations>;
  /** Annotations of workloads by workloadName, which silence findings about them. */
  readonly workloadAnnotations?: ReadonlyMap<string, Annotations>;
}

/** A workload and how policies see it. */
export interface Pod {
  readonly workload: Workload;
  readonly endpoint: Endpoint;
}

/** What checks ask of a model, prepared once. */
export class LintContext {
  readonly model: Model;
  readonly options: LintOptions;
  /** All workloads, those of the host network too, with their known addresses. */
  readonly pods: readonly Pod[];
  /** Names of the namespaces that are given, by an object or by a workload. */
  readonly namespaces: ReadonlySet<string>;
  readonly #policies: ReadonlyMap<string, readonly Policy[]>;
  readonly #pods: ReadonlyMap<string, readonly Pod[]>;
  readonly #written: ReadonlyMap<string, NetworkPolicy>;
  readonly #podsOfClass: (peer: Peer) => Pod[];

  constructor(model: Model, options: LintOptions) {
    const { cluster, policies, workloads } = model;
    this.model = model;
    this.options = options;
    this.pods = workloads.map((workload) => ({
      workload,
      endpoint: podEndpoint(cluster, workload, knownAddresses(workload)),
    }));
    this.#policies = Map.groupBy(policies, ({ namespace }) => namespace);
    this.#pods = Map.groupBy(this.pods, ({ workload }) => workload.namespace);
    this.namespaces = new Set([...cluster.namespaces.keys(), ...this.#pods.keys()]);
    this.#written = new Map(
      cluster.policies.map((policy) => [`${policyNamespace(policy)}/${policy.metadata.name}`, policy]),
    );
    this.#podsOfClass = firstOfEachClass(policies, this.pods);
  }

  /** Policies of a namespace. */
  policiesIn(namespace: string): readonly Policy[] {
    return this.#policies.get(namespace) ?? [];
  }

  /** Workloads of a namespace. */
  podsIn(namespace: string): readonly Pod[] {
    return this.#pods.get(namespace) ?? [];
  }

  /** A policy as it was given. */
  written({ namespace, name }: Policy): NetworkPolicy {
    return this.#written.get(`${namespace}/${name}`) ?? { metadata: { namespace, name } };
  }

  /** The spec of a policy as it was given, without defaults. */
  writtenSpec(policy: Policy): NetworkPolicySpec {
    return this.written(policy).spec ?? {};
  }

  /** Workloads that a policy selects. */
  selectedBy({ namespace, selector }: Policy): Pod[] {
    return this.podsIn(namespace).filter(({ endpoint }) => matchesPeer(selector, endpoint));
  }

  /**
   * The pods that a policy is for: the workloads that it selects, without those of the host network, where policies may
   * not be enforced. Where no workload of the namespace is given, a pod that the selector would match.
   */
  subjectsOf(policy: Policy): Endpoint[] {
    const { namespace, selector } = policy;
    if (this.podsIn(namespace).length > 0 || this.options.isComplete === true) {
      return this.selectedBy(policy)
        .filter(({ workload }) => !workload.hostNetwork)
        .map(({ endpoint }) => endpoint);
    }
    const labels = exampleLabels(selector.pods);
    return labels === undefined ? [] : [examplePod(this.model.cluster, namespace, labels)];
  }

  /** Of the workloads that a peer of a policy matches, one of each class: the others are no different to policies. */
  podsOf(peer: Peer): Pod[] {
    return this.#podsOfClass(peer);
  }
}

/** Each rule of a policy that has an effect, with its direction. */
export function* rulesOf({
  rules,
}: Policy): Generator<{ direction: Direction; rule: NonNullable<Policy['rules'][Direction]>[number] }> {
  for (const direction of ['Ingress', 'Egress'] as const) {
    for (const rule of rules[direction] ?? []) yield { direction, rule };
  }
}

/** Name of the list of peers in a rule of a direction. */
export function peersField(direction: Direction): 'from' | 'to' {
  return direction === 'Ingress' ? 'from' : 'to';
}

function firstOfEachClass(policies: readonly Policy[], pods: readonly Pod[]): (peer: Peer) => Pod[] {
  const { classOf, matching } = classify(
    policies,
    pods.map(({ endpoint }) => endpoint),
  );
  const first: Pod[] = [];
  pods.forEach((pod, index) => (first[classOf[index] ?? 0] ??= pod));
  return (peer) => {
    const found: Pod[] = [];
    matching(peer).forEach((one) => {
      const pod = first[one];
      if (pod !== undefined) found.push(pod);
    });
    return found;
  };
}
