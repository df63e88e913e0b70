import { isMap, isNode, parseDocument } from 'yaml';

/** A documented value of a Helm chart. */
export interface ChartValue {
  /** As for `helm --set`: `image.tag`. */
  readonly path: string;
  /** The default. */
  readonly value: unknown;
  readonly description: string;
}

/**
 * The values of a values.yaml, in its order. A value is a key below a comment that begins with `# --`, the convention of
 * helm-docs; a key with a map and without such a comment is a group of values.
 *
 * @throws {Error} for a key that is neither, and for text that is no YAML.
 */
export function chartValues(text: string): ChartValue[] {
  const document = parseDocument(text);
  const [problem] = document.errors;
  if (problem !== undefined) throw new Error(`Expected values in YAML, got: ${problem.message}`);
  const values: ChartValue[] = [];
  let groups: string[] = [];
  // All that is indented more than a documented key is part of its default.
  let documentedDepth = Infinity;
  let description: string | undefined;
  for (const line of text.split('\n')) {
    const [, comment] = /^ *# (.*)$/.exec(line) ?? [];
    if (comment !== undefined) {
      if (comment.startsWith('-- ')) description = comment.slice(3);
      else if (description !== undefined) description += ` ${comment}`;
      continue;
    }
    const [, indent = '', key] = /^( *)(\w+):/.exec(line) ?? [];
    const depth = indent.length / 2;
    if (key === undefined || depth > documentedDepth) continue;
    groups = [...groups.slice(0, depth), key];
    const node = document.getIn(groups, true);
    const path = groups.join('.');
    if (description !== undefined) {
      values.push({ path, value: isNode(node) ? node.toJS(document) : node, description });
    } else if (!isMap(node)) {
      throw new Error(`Expected a comment that begins with "# --" above the value ${path}, found none`);
    }
    documentedDepth = description === undefined ? Infinity : depth;
    description = undefined;
  }
  return values;
}
