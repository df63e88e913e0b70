/** Name of the project; also its field manager and the value of the managed-by label. */
export const MANAGER = 'baseline-policy-operator';

/** The opt-in label of a Namespace that the default selector matches, with the value `"true"`. */
export const LABEL_ENFORCE = 'baselinepolicy.dev/enforce';
/** Standard label that names the tool which manages an object. */
export const LABEL_MANAGED_BY = 'app.kubernetes.io/managed-by';
/** Label of a child: the name of its BaselinePolicy. */
export const LABEL_POLICY = 'baselinepolicy.dev/policy';
/** Label of a child: the rule that made it, or the name of the additional policy. */
export const LABEL_RULE = 'baselinepolicy.dev/rule';
/** Annotation of a child: the description of its BaselinePolicy. */
export const ANNOTATION_DESCRIPTION = 'baselinepolicy.dev/description';
/** Annotation of a BaselinePolicy: the generation whose held deletions a person approves. */
export const ANNOTATION_APPROVED_GENERATION = 'baselinepolicy.dev/approve-deletion-of-generation';
/** Finalizer of a BaselinePolicy; held until its children are removed in order, or released. */
export const FINALIZER = 'baselinepolicy.dev/children';
/** Label that the API server puts on every Namespace, with its name as the value. */
export const LABEL_NAMESPACE_NAME = 'kubernetes.io/metadata.name';

/** Name of a child of `policy` made by `rule`. A policy's name has no dot, so no two children can collide. */
export function childName(policy: string, rule: string): string {
  return `${policy}.${rule}`;
}
