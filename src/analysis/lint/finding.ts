import type { Workload } from '../cluster.ts';
import type { Policy } from '../policy.ts';
import type { Code, Severity } from './codes.ts';

/** The object that a finding is about. */
export interface ObjectReference {
  readonly kind: string;
  /** Absent for a Namespace. */
  readonly namespace?: string;
  readonly name: string;
}

/** What a check finds. */
export interface Hit {
  readonly code: Code;
  readonly object: ObjectReference;
  /** Path of the field, such as `spec.ingress[0].from[1].podSelector`; `metadata.name` for an object as a whole. */
  readonly path: string;
  /** What is found, with the names that matter. */
  readonly message: string;
  /** How to mend it, where that can be said better than for all findings of the code. */
  readonly fix?: string;
}

/** Something in the policies of a cluster that likely is not as it was meant. */
export interface Finding extends Hit {
  readonly severity: Severity;
  /** Why it matters. */
  readonly why: string;
  readonly fix: string;
  /** Who is responsible for the object says that it is right as it is, and why. */
  readonly silenced?: { readonly reason: string };
}

/** The policy as the object of a finding. */
export function policyObject({ namespace, name }: Policy): ObjectReference {
  return { kind: 'NetworkPolicy', namespace, name };
}

/** The workload as the object of a finding. */
export function workloadObject({ kind, namespace, name }: Workload): ObjectReference {
  return { kind, namespace, name };
}

/** The namespace as the object of a finding. */
export function namespaceObject(name: string): ObjectReference {
  return { kind: 'Namespace', name };
}
