import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Document } from 'yaml';

/** Steps from the root of a document to a field: keys of maps and indices of lists. */
export type FieldPath = readonly (string | number)[];

/** One document of a file, with the places of its fields. */
export interface SourceDocument {
  readonly file: string;
  /** Counted from 1. */
  readonly number: number;
  readonly value: unknown;
  /** Line of a field, counted from 1; of the nearest field above it, when it is not there. */
  readonly lineOf: (path: FieldPath) => number;
}

/** Documents of a file, and what could not be read of it, a line each. */
export interface ParsedFile {
  readonly documents: readonly SourceDocument[];
  readonly problems: readonly string[];
}

/**
 * Reads the documents of a YAML or JSON file. Words such as `yes` and `on` are booleans, as they are for kubectl, which
 * reads YAML 1.1; so they are no label values without quotes. A broken document is a problem; the others are read.
 */
export function parseDocuments(file: string, text: string): ParsedFile {
  const json = parseJSON(text);
  if (json !== undefined) {
    // Large dumps are JSON, and need their lines only for a complaint.
    let yaml: ReturnType<typeof parseYAML> | undefined;
    const lineOf = (path: FieldPath): number => {
      yaml ??= parseYAML(text);
      return lineIn(yaml.documents[0], yaml.lines, path);
    };
    return { documents: [{ file, number: 1, value: json.value, lineOf }], problems: [] };
  }
  const { documents, lines } = parseYAML(text);
  const read: SourceDocument[] = [];
  const problems: string[] = [];
  documents.forEach((document, index) => {
    const number = index + 1;
    const [error] = document.errors;
    if (error !== undefined) {
      const [message = ''] = error.message.split('\n');
      const line = error.linePos?.[0].line ?? 1;
      problems.push(`${file}, document ${number}, line ${line}: ${message.replace(/ at line \d+, column \d+:?$/, '')}`);
      return;
    }
    try {
      const value: unknown = document.toJS();
      read.push({ file, number, value, lineOf: (path) => lineIn(document, lines, path) });
    } catch (error) {
      problems.push(`${file}, document ${number}, line ${lineIn(document, lines, [])}: ${(error as Error).message}`);
    }
  });
  return { documents: read, problems };
}

function parseJSON(text: string): { readonly value: unknown } | undefined {
  if (!/^\s*[{[]/.test(text)) return undefined;
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}

/** Tags of YAML 1.1 that kubectl's parser does not have. */
const FOREIGN_TAGS = ['omap', 'pairs', 'set', 'timestamp', 'binary'].map((name) => `tag:yaml.org,2002:${name}`);

function parseYAML(text: string): { documents: readonly Document[]; lines: LineCounter } {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {
    version: '1.1',
    lineCounter: lines,
    prettyErrors: true,
    customTags: (tags) =>
      tags.filter((tag) => typeof tag === 'string' || !(FOREIGN_TAGS.includes(tag.tag) || tag.format === 'TIME')),
  });
  return { documents: Array.isArray(parsed) ? parsed : [], lines };
}

function lineIn(document: Document | undefined, lines: LineCounter, path: FieldPath): number {
  let node: unknown = document?.contents;
  let offset = startOf(node) ?? startOf(document) ?? 0;
  for (const step of path) {
    if (isAlias(node) && document !== undefined) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => (isScalar(key) ? key.value : key) === step);
      if (pair === undefined) break;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
      offset = startOf(node) ?? offset;
    } else {
      break;
    }
  }
  return lines.linePos(offset).line;
}

function startOf(node: unknown): number | undefined {
  return (node as { range?: readonly number[] | null } | null | undefined)?.range?.[0];
}

/** A path as messages write it, such as `spec.ingress[0].from`. */
export function formatPath(path: FieldPath): string {
  return path.reduce<string>(
    (text, step) => text + (typeof step === 'number' ? `[${step}]` : `${text === '' ? '' : '.'}${step}`),
    '',
  );
}

/** The steps of a path that messages write. */
export function parsePath(text: string): FieldPath {
  return [...text.matchAll(/[^.[\]]+/g)].map(([step]) => (/^\d+$/.test(step) ? Number(step) : step));
}

/** What is wrong with a field, with its place: file, document, line and field. */
export function problemAt({ file, number, lineOf }: SourceDocument, path: FieldPath, message: string): string {
  const field = formatPath(path);
  return `${file}, document ${number}, line ${lineOf(path)}: ${field === '' ? '' : `${field}: `}${message}`;
}
