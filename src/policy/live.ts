import type { NetworkPolicy } from '../api/networkpolicy.ts';
import { identityOf, isBaselinePolicyReference } from './child.ts';
import type { DesiredChild } from './desired.ts';
import { canonicalSpec } from './normalize.ts';

/** What the cache keeps of a live NetworkPolicy: what a diff needs, no more. */
export interface LiveNetworkPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** UID of the BaselinePolicy that owns it, or empty. */
  readonly ownerUid: string;
  /** UID of the BaselinePolicy that this very object (by UID) was last seen owned by, or empty. */
  readonly lastOwnerUid: string;
  /** Canonical text of the metadata that is ours; see child.ts. */
  readonly identity: string;
  /** Canonical text of the spec; see normalize.ts. */
  readonly spec: string;
  /** Whether it is being deleted, and only a finalizer keeps it. */
  readonly deleting: boolean;
}

/**
 * What {@link trimNetworkPolicy} would make of the API server's answer to the create of a child, if that answer says
 * that the object was stored as it was sent. Undefined when it says anything else, as after a mutating webhook: then it
 * must be read as a whole. Reading 4,000 answers costs more than sending the requests.
 * @param answer JSON text, with fields in the order of Kubernetes' Go types
 */
export function recognizeCreated(
  answer: string,
  child: DesiredChild,
  namespace: string,
  ownerUid: string,
): LiveNetworkPolicy | undefined {
  const { stored } = child.template;
  const version = /,"uid":"([^"]+)","resourceVersion":"(\d+)"/.exec(answer.slice(0, MAX_HEAD));
  const asSent = answer.trimEnd().endsWith(stored.spec) && answer.includes(stored.metadata);
  const [, uidInAnswer, resourceVersion] = version ?? [];
  if (!asSent || uidInAnswer === undefined || resourceVersion === undefined) return undefined;
  const uid = copied(uidInAnswer);
  const { name, identity, spec } = child;
  return { namespace, name, uid, resourceVersion, ownerUid, lastOwnerUid: ownerUid, identity, spec, deleting: false };
}

/** The text, apart from the one that it was cut from: V8 keeps that for as long as a part of it is kept. */
function copied(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string;
}

/** Kind, name, namespace, UID and resourceVersion come within so many characters. */
const MAX_HEAD = 1_000;

/**
 * Trims a NetworkPolicy of the wire to what a diff needs. Undefined for objects that can be neither a child nor in the
 * way of one: no owner of our kind, now or before, and a name without the dot that every child's name has.
 * @param intern returns one instance for equal texts: a fleet shares a few specs
 */
export function trimNetworkPolicy(
  object: NetworkPolicy,
  previous: LiveNetworkPolicy | undefined,
  intern: (text: string) => string,
): LiveNetworkPolicy | undefined {
  const { metadata } = object;
  const uid = metadata.uid ?? '';
  const owners = (metadata.ownerReferences ?? []).filter(isBaselinePolicyReference);
  const ownerUid = (owners.find(({ controller }) => controller === true) ?? owners[0])?.uid ?? '';
  const before = previous?.uid === uid ? previous.lastOwnerUid : '';
  const lastOwnerUid = ownerUid !== '' ? ownerUid : before;
  if (lastOwnerUid === '' && !metadata.name.includes('.')) return undefined;
  return {
    namespace: intern(metadata.namespace ?? ''),
    name: intern(metadata.name),
    uid,
    resourceVersion: metadata.resourceVersion ?? '',
    ownerUid: intern(ownerUid),
    lastOwnerUid: intern(lastOwnerUid),
    // A foreign object is never compared: it is in the way, whatever it says.
    identity: lastOwnerUid === '' ? '' : intern(identityOf(metadata)),
    spec: lastOwnerUid === '' ? '' : intern(canonicalSpec(object.spec ?? {})),
    deleting: metadata.deletionTimestamp !== undefined,
  };
}
