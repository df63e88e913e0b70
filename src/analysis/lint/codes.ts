/** How much a finding matters: `error`, it does not do what it says; `warning`, it likely does not; `info`, look at it. */
export type Severity = 'error' | 'warning' | 'info';

/** What is the same for all findings of a code; docs/lint.md says it with an example. */
export interface CodeDescription {
  readonly severity: Severity;
  /** What is found, in a few words. */
  readonly title: string;
  /** Why it matters. */
  readonly why: string;
  /** How to mend it. */
  readonly fix: string;
}

/** Every code of a finding. A code never changes its meaning, and is not used again when its check goes. */
export const CODES = {
  BPL001: {
    severity: 'warning',
    title: 'policyTypes is missing',
    why: 'The API server derives the types from the rules: Ingress always, Egress only while there is an egress rule. Removing the last egress rule then opens egress.',
    fix: 'Write spec.policyTypes with each direction that the policy is to isolate.',
  },
  BPL002: {
    severity: 'error',
    title: 'rules of a direction whose type is missing',
    why: 'Rules count only for the directions that spec.policyTypes lists. These neither allow nor deny anything.',
    fix: 'Add the direction to spec.policyTypes, or remove the rules.',
  },
  BPL003: {
    severity: 'warning',
    title: 'only ingress is isolated, egress stays open',
    why: 'A policy for ingress says nothing of egress: pods that no policy isolates for egress may connect to everything.',
    fix: 'Isolate egress too, by a default-deny with the type Egress and rules for what the pods need.',
  },
  BPL004: {
    severity: 'warning',
    title: 'policy selects no pod',
    why: 'A policy acts only on the pods of its own namespace that its podSelector matches. This one protects nothing.',
    fix: 'Compare spec.podSelector with the labels of the pod template, and metadata.namespace with that of the pods.',
  },
  BPL005: {
    severity: 'warning',
    title: 'peer matches no pod',
    why: 'The namespaces of the peer are there, but none of their pods has the labels: the peer lets nobody through.',
    fix: 'Compare the podSelector with the labels of the pods that are meant. Without a namespaceSelector it is for pods of the own namespace only.',
  },
  BPL006: {
    severity: 'info',
    title: 'peer matches no known namespace',
    why: 'The peer lets nobody through unless such a namespace comes, or is missing from what was checked.',
    fix: 'Compare the namespaceSelector with the labels of the namespace that is meant, or add the namespace to what is checked.',
  },
  BPL007: {
    severity: 'warning',
    title: 'no pod has a port of this name',
    why: 'The name of a port is looked up in the containers of the destination pod. Where it is not found, the port allows nothing.',
    fix: 'Use the name of a container port of the destination, with the same protocol, or its number.',
  },
  BPL008: {
    severity: 'info',
    title: 'rule is shadowed by a wider one',
    why: 'Policies add up: while the wider rule is there, this one changes nothing, and narrowing it does not close anything.',
    fix: 'Remove the rule, or narrow the wider one if this was meant to restrict it. Keep spec.policyTypes written out.',
  },
  BPL009: {
    severity: 'info',
    title: 'rule is there twice',
    why: 'Who removes one of the two to close a connection finds it still open.',
    fix: 'Remove one of the two rules. Keep spec.policyTypes written out.',
  },
  BPL010: {
    severity: 'warning',
    title: 'rule allows everything',
    why: 'The rule opens every port to everyone, to the whole cluster or to every address. Policies have no order: no other policy can close what it opens.',
    fix: 'Name the peers and the ports that are needed.',
  },
  BPL011: {
    severity: 'info',
    title: 'rule opens ports to everyone',
    why: 'An absent or empty list of peers, all namespaces, or a block of every address lets everyone use these ports, also other tenants.',
    fix: 'Name the peers that need the ports. Where the ports are public, silence the finding with that reason.',
  },
  BPL012: {
    severity: 'error',
    title: 'DNS is blocked',
    why: 'The pods are isolated for egress, and no rule lets them ask the DNS of the cluster on port 53 by UDP and TCP: names do not resolve, and most programs fail slowly.',
    fix: 'Allow egress on 53/UDP and 53/TCP to pods with k8s-app: kube-dns in the namespace kube-system. A BaselinePolicy does so with rules.allowDNS.',
  },
  BPL013: {
    severity: 'warning',
    title: 'pods are not isolated',
    why: 'What no policy isolates is open to everyone, and so is what a rule without limits opens.',
    fix: 'Add a default-deny for the direction, or remove the rule that opens it. A BaselinePolicy does so with rules.defaultDeny.',
  },
  BPL014: {
    severity: 'warning',
    title: 'namespace selected by a label name that it does not have',
    why: 'The name of a namespace is in the label kubernetes.io/metadata.name, which the API server sets. A label name is there only when somebody sets it.',
    fix: 'Select the namespace by kubernetes.io/metadata.name.',
  },
  BPL015: {
    severity: 'warning',
    title: 'ipBlock covers addresses of pods',
    why: 'ipBlocks are for addresses outside the cluster. Addresses of pods change, and whether an ipBlock matches them depends on the network plugin: the rule opens pods by accident or not at all.',
    fix: 'Select pods by their labels, and list the ranges of pods under except.',
  },
  BPL016: {
    severity: 'warning',
    title: 'policy opens what a baseline closes',
    why: 'Policies add up, so the baseline of these pods cannot close what this rule opens to everyone.',
    fix: 'Name the peers that are needed. The ValidatingAdmissionPolicy of the operator can refuse such policies.',
  },
  BPL017: {
    severity: 'error',
    title: 'monitoring is let in but cannot get out',
    why: 'Traffic needs egress of the source and ingress of the destination. The policies of the monitoring namespace deny the egress, so nothing is scraped.',
    fix: 'Allow egress from the monitoring pods to these pods, in the monitoring namespace.',
  },
  BPL018: {
    severity: 'warning',
    title: 'annotation does not silence',
    why: 'A finding is silenced by its code and a reason, so that a reader knows why it is right as it is.',
    fix: 'Write baselinepolicy.dev/lint-ignore as CODE=reason, several separated by semicolons.',
  },
} as const satisfies Record<string, CodeDescription>;

/** A code of a finding. */
export type Code = keyof typeof CODES;

/** Whether a text is a code. */
export function isCode(text: string): text is Code {
  return Object.hasOwn(CODES, text);
}
