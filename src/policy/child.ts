import { API_VERSION, GROUP, KIND, type BaselinePolicy } from '../api/baselinepolicy.ts';
import type { ObjectMeta, OwnerReference } from '../api/metadata.ts';
import {
  ANNOTATION_DESCRIPTION,
  childName,
  LABEL_MANAGED_BY,
  LABEL_POLICY,
  LABEL_RULE,
  MANAGER,
} from '../api/names.ts';
import type { NetworkPolicy, NetworkPolicySpec } from '../api/networkpolicy.ts';

/** The JSON of a child, but for its namespace: serialised once a policy, not once a namespace. */
export interface ChildTemplate {
  readonly metadata: ObjectMeta;
  readonly spec: NetworkPolicySpec;
  /** Text before and after the value of `metadata.namespace`. */
  readonly json: readonly [string, string];
  /** Texts that the API server's JSON of a child has when nothing else was made of it; see live.ts. */
  readonly stored: { readonly metadata: string; readonly spec: string };
}

/** What is ours in the metadata of a child, in the order of its canonical text. */
const OUR_LABELS = [LABEL_MANAGED_BY, LABEL_POLICY, LABEL_RULE] as const;

/** The ownerReference from a child to its BaselinePolicy. */
export function ownerReference(policy: BaselinePolicy): OwnerReference {
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    name: policy.metadata.name,
    uid: policy.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/**
 * The metadata of a child that is ours. Labels and annotations of the BaselinePolicy are never copied: GitOps tools
 * prune by the labels with which they track.
 */
function childMetadata(policy: BaselinePolicy, rule: string): ObjectMeta & { labels: Record<string, string> } {
  const { description } = policy.spec;
  return {
    name: childName(policy.metadata.name, rule),
    labels: { [LABEL_MANAGED_BY]: MANAGER, [LABEL_POLICY]: policy.metadata.name, [LABEL_RULE]: rule },
    ...(description !== undefined && description !== '' && { annotations: { [ANNOTATION_DESCRIPTION]: description } }),
    ownerReferences: [ownerReference(policy)],
  };
}

/** Canonical text of the metadata that is ours, as a child of this policy and rule has it when it is right. */
export function childIdentity(policy: BaselinePolicy, rule: string): string {
  return identityOf(childMetadata(policy, rule));
}

/** Canonical text of the metadata that would be ours on a live object: our labels, our annotation, owners of our kind. */
export function identityOf(metadata: Pick<ObjectMeta, 'labels' | 'annotations' | 'ownerReferences'>): string {
  return JSON.stringify([
    OUR_LABELS.map((label) => metadata.labels?.[label] ?? null),
    metadata.annotations?.[ANNOTATION_DESCRIPTION] ?? null,
    (metadata.ownerReferences ?? [])
      .filter(isBaselinePolicyReference)
      .map((owner) => [
        owner.apiVersion,
        owner.name,
        owner.uid,
        owner.controller === true,
        owner.blockOwnerDeletion === true,
      ]),
  ]);
}

/** Whether an ownerReference points to a BaselinePolicy, of whatever version. */
export function isBaselinePolicyReference(owner: OwnerReference): boolean {
  return owner.kind === KIND && owner.apiVersion.startsWith(`${GROUP}/`);
}

/** Prepares the children of a policy and rule. `spec` must be normalised. */
export function childTemplate(policy: BaselinePolicy, rule: string, spec: NetworkPolicySpec): ChildTemplate {
  const { name, ...metadata } = childMetadata(policy, rule);
  const text = JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: '', ...metadata },
    spec,
  });
  const gap = text.indexOf('"namespace":""') + '"namespace":'.length;
  return {
    metadata: { name, ...metadata },
    spec,
    json: [text.slice(0, gap), text.slice(gap + '""'.length)],
    stored: {
      metadata: `,${JSON.stringify(metadata).slice(1, -1)},"managedFields":[`,
      spec: `,"spec":${JSON.stringify(spec)}}`,
    },
  };
}

/** The child for one namespace, as wire JSON. */
export function serializeChild(template: ChildTemplate, namespace: string): string {
  return `${template.json[0]}${JSON.stringify(namespace)}${template.json[1]}`;
}

/**
 * A live object with what is ours put right: the whole spec is replaced, labels, annotations and owners of others
 * stay. The live object's resourceVersion stays too, so that the API server refuses the write if it has changed.
 */
export function mendChild(template: ChildTemplate, live: NetworkPolicy): NetworkPolicy {
  const { [ANNOTATION_DESCRIPTION]: _replaced, ...annotations } = live.metadata.annotations ?? {};
  const others = (live.metadata.ownerReferences ?? [])
    .filter((owner) => !isBaselinePolicyReference(owner))
    // An object can have one controller, and ours is the BaselinePolicy.
    .map((owner) => (owner.controller === true ? { ...owner, controller: false } : owner));
  return {
    ...live,
    metadata: {
      ...live.metadata,
      labels: { ...live.metadata.labels, ...template.metadata.labels },
      annotations: { ...annotations, ...template.metadata.annotations },
      ownerReferences: [...others, ...(template.metadata.ownerReferences ?? [])],
    },
    spec: template.spec,
  };
}

/** A live object without the ownerReferences to BaselinePolicies: it stays when they go. */
export function orphanChild(live: NetworkPolicy): NetworkPolicy {
  const others = (live.metadata.ownerReferences ?? []).filter((owner) => !isBaselinePolicyReference(owner));
  return { ...live, metadata: { ...live.metadata, ownerReferences: others } };
}
