import { policyNamespace, workloadName } from '../cluster.ts';
import { isCode, type Code } from './codes.ts';
import type { Annotations, LintContext } from './context.ts';
import { namespaceObject, workloadObject, type Hit, type ObjectReference } from './finding.ts';

/** Annotation that silences findings about an object: `CODE=reason`, several separated by semicolons. */
export const ANNOTATION_LINT_IGNORE = 'baselinepolicy.dev/lint-ignore';

/** What an annotation says: the reasons that it gives by code, and what of it is not understood. */
export interface Silences {
  readonly reasons: ReadonlyMap<Code, string>;
  readonly problems: readonly string[];
}

/** Reads an annotation. A code without a reason silences nothing. */
export function readSilences(text: string): Silences {
  const reasons = new Map<Code, string>();
  const problems: string[] = [];
  for (const part of text.split(';').map((one) => one.trim())) {
    if (part === '') continue;
    const [code = '', ...rest] = part.split('=');
    const name = code.trim();
    const reason = rest.join('=').trim();
    if (!isCode(name)) problems.push(`${JSON.stringify(name)} is no code of a finding`);
    else if (name === 'BPL018') problems.push('BPL018 cannot be silenced');
    else if (reason === '') problems.push(`${name} has no reason`);
    else if (reasons.has(name)) problems.push(`${name} is there twice`);
    else reasons.set(name, reason);
  }
  return { reasons, problems };
}

/** What the annotations of all objects silence. A workload has also what its namespace says. */
export class SilenceTable {
  readonly #annotated = new Map<string, { readonly object: ObjectReference; readonly silences: Silences }>();

  constructor({ model, options }: LintContext) {
    for (const policy of model.cluster.policies) {
      const object = { kind: 'NetworkPolicy', namespace: policyNamespace(policy), name: policy.metadata.name };
      this.#add(object, policy.metadata.annotations);
    }
    for (const [name, annotations] of options.namespaceAnnotations ?? []) this.#add(namespaceObject(name), annotations);
    for (const workload of model.workloads) {
      this.#add(workloadObject(workload), options.workloadAnnotations?.get(workloadName(workload)));
    }
  }

  #add(object: ObjectReference, annotations: Annotations | undefined): void {
    const text = annotations?.[ANNOTATION_LINT_IGNORE];
    if (text !== undefined) this.#annotated.set(keyOf(object), { object, silences: readSilences(text) });
  }

  /** The reason for which a finding is silenced; undefined when it is not. */
  reasonFor({ object, code }: Hit): string | undefined {
    const own = this.#annotated.get(keyOf(object))?.silences.reasons.get(code);
    if (own !== undefined || object.kind === 'NetworkPolicy' || object.namespace === undefined) return own;
    return this.#annotated.get(keyOf(namespaceObject(object.namespace)))?.silences.reasons.get(code);
  }

  /** BPL018: what silences nothing. */
  *problems(): Generator<Hit> {
    for (const { object, silences } of this.#annotated.values()) {
      for (const problem of silences.problems) {
        const path = `metadata.annotations['${ANNOTATION_LINT_IGNORE}']`;
        yield { code: 'BPL018', object, path, message: problem };
      }
    }
  }
}

function keyOf({ kind, namespace = '', name }: ObjectReference): string {
  return `${kind} ${namespace}/${name}`;
}
