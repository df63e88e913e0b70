import type { LabelSelector } from '../../../api/networkpolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../../../api/names.ts';
import { matchesSelector } from '../../../policy/selector.ts';
import { namespaceLabels } from '../../cluster.ts';
import type { PodPeer } from '../../policy.ts';
import { formatSelector } from '../../selector-text.ts';
import { mayMatchUnread } from '../../unread.ts';
import { peersField, rulesOf, type LintContext } from '../context.ts';
import { policyObject, type Hit } from '../finding.ts';

/** Namespaces that every cluster has: that they are not given says nothing. */
const ALWAYS_THERE: readonly string[] = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];

/** BPL004: a policy of a team whose selector, which is not that of all pods, matches none of the workloads. */
export function* selectsNothing(context: LintContext): Generator<Hit> {
  if (context.pods.length === 0) return;
  for (const policy of context.model.policies) {
    const selector = formatSelector(policy.selector.pods);
    if (policy.isManaged || selector === '' || context.selectedBy(policy).length > 0) continue;
    const where = `the namespace ${policy.namespace}`;
    yield {
      code: 'BPL004',
      object: policyObject(policy),
      path: 'spec.podSelector',
      message: noneText(context.podsIn(policy.namespace).length, where, selector),
    };
  }
}

/**
 * BPL005 and BPL006: a peer that lets no pod through, as its namespaces have none, or are not there; and BPL014: the
 * reason may be a label `name` that namespaces do not have. A baseline is made for many clusters and namespaces: of its
 * rules only the last is told. Of peers that may be in namespaces that could not be read nothing is told.
 */
export function* emptyPeers(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    for (const { direction, rule } of rulesOf(policy)) {
      for (const [index, peer] of (rule.peers ?? []).entries()) {
        if (peer.kind === 'block' || mayMatchUnread(context.model.cluster, peer)) continue;
        const path = `${rule.path}.${peersField(direction)}[${index}]`;
        const object = policyObject(policy);
        const misnamed = missingName(context, peer);
        if (misnamed !== undefined) yield { ...misnamed, object, path: `${path}.namespaceSelector` };
        if (misnamed !== undefined || policy.isManaged || context.podsOf(peer).length > 0) continue;
        const hit = nothingIn(context, peer);
        if (hit !== undefined) {
          const field = hit.code === 'BPL006' || formatSelector(peer.pods) === '' ? 'namespaceSelector' : 'podSelector';
          yield { ...hit, object, path: `${path}.${field}` };
        }
      }
    }
  }
}

type Problem = Pick<Hit, 'code' | 'message' | 'fix'>;

function missingName({ model }: LintContext, { namespaces }: PodPeer): Problem | undefined {
  if (typeof namespaces === 'string') return undefined;
  const wanted = valuesOf(namespaces, 'name');
  const labels = [...model.cluster.namespaces.values()];
  if (wanted.length === 0 || labels.some(({ name }) => name !== undefined && wanted.includes(name))) return undefined;
  const written = wanted.length === 1 ? `name=${wanted.join()}` : `name in (${wanted.join(',')})`;
  return {
    code: 'BPL014',
    message: `no namespace is known to have the label ${written}`,
    fix: `Select the namespace by ${LABEL_NAMESPACE_NAME}: ${wanted.join(' or ')}.`,
  };
}

/** Values of which a selector wants one for a key. */
function valuesOf(selector: LabelSelector, key: string): readonly string[] {
  const value = selector.matchLabels?.[key];
  if (value !== undefined) return [value];
  return (
    selector.matchExpressions?.find((requirement) => requirement.key === key && requirement.operator === 'In')
      ?.values ?? []
  );
}

function nothingIn(context: LintContext, { namespaces, pods }: PodPeer): Problem | undefined {
  const { model, options } = context;
  const isComplete = options.isComplete === true;
  if (context.namespaces.size === 0) return undefined;
  const pod = formatSelector(pods);
  if (typeof namespaces !== 'string') {
    const matched = [...context.namespaces].filter((name) =>
      matchesSelector(namespaces, namespaceLabels(model.cluster, name)),
    );
    if (matched.length === 0) {
      if (!isComplete && !canTell(context, namespaces)) return undefined;
      return { code: 'BPL006', message: `no known namespace has ${formatSelector(namespaces)}` };
    }
    const count = matched.reduce((sum, name) => sum + context.podsIn(name).length, 0);
    if (count === 0 && !isComplete) return undefined;
    const [first = ''] = matched;
    const where = matched.length === 1 ? `the namespace ${first}` : `the ${matched.length} namespaces that match`;
    return { code: 'BPL005', message: noneText(count, where, pod) };
  }
  const { length } = context.podsIn(namespaces);
  if (length === 0 && !isComplete) return undefined;
  return { code: 'BPL005', message: noneText(length, `the own namespace ${namespaces}`, pod) };
}

/** That none of so many workloads meets a selector. */
function noneText(count: number, where: string, selector: string): string {
  if (count === 0) return `no workload of ${where} is known`;
  return count === 1
    ? `the only workload of ${where} does not have ${selector}`
    : `none of the ${count} workloads of ${where} has ${selector}`;
}

/** Whether that no namespace matches is worth a word when some may be missing. */
function canTell({ model }: LintContext, selector: LabelSelector): boolean {
  const named = valuesOf(selector, LABEL_NAMESPACE_NAME);
  return named.length > 0 ? !named.some((name) => ALWAYS_THERE.includes(name)) : model.cluster.namespaces.size > 0;
}
