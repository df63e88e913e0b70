import { compareText } from '../cluster.ts';
import type { Model } from '../model.ts';
import { allowAll, opensBaseline } from './checks/allow-all.ts';
import { blockedDNS } from './checks/dns.ts';
import { blocksOfPods } from './checks/ip-blocks.ts';
import { notIsolated } from './checks/isolation.ts';
import { stuckMonitoring } from './checks/monitoring.ts';
import { unknownNamedPorts } from './checks/named-ports.ts';
import { ignoredRules, ingressOnly, missingPolicyTypes } from './checks/policy-types.ts';
import { emptyPeers, selectsNothing } from './checks/selectors.ts';
import { shadowedRules } from './checks/shadowed.ts';
import { CODES, type CodeDescription } from './codes.ts';
import { LintContext, type LintOptions } from './context.ts';
import type { Finding, Hit } from './finding.ts';
import { SilenceTable } from './silence.ts';

const CHECKS: readonly ((context: LintContext) => Iterable<Hit>)[] = [
  missingPolicyTypes,
  ignoredRules,
  ingressOnly,
  selectsNothing,
  emptyPeers,
  unknownNamedPorts,
  shadowedRules,
  allowAll,
  blockedDNS,
  notIsolated,
  blocksOfPods,
  opensBaseline,
  stuckMonitoring,
];

/**
 * What in the policies of a cluster likely is not as it was meant: silenced findings too, each with its reason. Sorted
 * by namespace, kind and name of the object, then by path and code; the same for the same model and options. Throws
 * RangeError when an address of a workload is no IP address.
 */
export function lint(model: Model, options: LintOptions = {}): Finding[] {
  const context = new LintContext(model, options);
  const silences = new SilenceTable(context);
  const hits = CHECKS.flatMap((check) => [...check(context)]);
  const findings = [...hits, ...silences.problems()].map((hit): Finding => {
    const { severity, why, fix }: CodeDescription = CODES[hit.code];
    const reason = silences.reasonFor(hit);
    return { fix, ...hit, severity, why, ...(reason !== undefined && { silenced: { reason } }) };
  });
  const keyed = findings.map((finding) => ({ finding, key: sortKey(finding) }));
  return keyed.sort((a, b) => compareText(a.key, b.key)).map(({ finding }) => finding);
}

/** A Namespace comes before what is in it; numbers in paths are in their order, not in that of their digits. */
function sortKey({ object, path, code, message }: Hit): string {
  const { kind, namespace, name } = object;
  const place = namespace === undefined ? [name, '', ''] : [namespace, kind, name];
  return [...place, path.replace(/\d+/g, (digits) => digits.padStart(6, '0')), code, message].join('\u0000');
}
