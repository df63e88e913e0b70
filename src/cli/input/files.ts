import { readFile, readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { BaselinePolicy } from '../../api/baselinepolicy.ts';
import type { KubernetesObject } from '../../api/metadata.ts';
import { readPolicy, PolicyError } from '../../analysis/policy.ts';
import { InputError } from '../errors.ts';
import { parseDocuments, parsePath, problemAt, type FieldPath, type SourceDocument } from './documents.ts';
import { checkKind, handlingOf } from './kinds.ts';
import { addObject, emptyObjectSet, objectId, type ObjectSet } from './objects.ts';

/** What to read. */
export interface FileOptions {
  /** Files, folders, or `-` for standard input. */
  readonly filenames: readonly string[];
  /** Whether folders in folders are read too. */
  readonly recursive: boolean;
  /** Namespace of objects that name none. */
  readonly namespace: string;
  readonly stdin: AsyncIterable<string | Uint8Array>;
}

/** Files of a folder that are read, as for kubectl. */
const EXTENSIONS = ['.yaml', '.yml', '.json'];
/** Kinds without a namespace. */
const CLUSTER_SCOPED = ['Namespace', 'BaselinePolicy'];

/** The objects of files. Throws InputError with all that is wrong, each with its file, document, line and field. */
export async function readFiles(options: FileOptions): Promise<ObjectSet> {
  const problems: string[] = [];
  const set = emptyObjectSet();
  const seen = new Map<string, string>();
  for (const { name, text } of await readTexts(options, problems)) {
    const parsed = parseDocuments(name, text);
    problems.push(...parsed.problems);
    for (const document of parsed.documents) readDocument(document, document.value, []);
  }
  if (problems.length > 0) throw new InputError(problems);
  return set;

  function readDocument(
    document: SourceDocument,
    value: unknown,
    path: FieldPath,
    kindOfList?: KubernetesObject,
  ): void {
    if (value === null || value === undefined) return;
    const complain = (at: FieldPath, message: string): void => {
      problems.push(problemAt(document, [...path, ...at], message));
    };
    if (typeof value !== 'object' || Array.isArray(value)) {
      complain([], 'expected an object with apiVersion and kind');
      return;
    }
    const object = { ...kindOfList, ...value } as KubernetesObject;
    const { apiVersion, kind } = object;
    for (const [field, text] of [
      ['apiVersion', apiVersion],
      ['kind', kind],
    ] as const) {
      if (typeof text !== 'string' || text === '') {
        complain([field], `expected a name, found ${text === undefined ? 'none' : JSON.stringify(text)}`);
        return;
      }
    }
    if (apiVersion === undefined || kind === undefined) return;
    if (kind.endsWith('List') && 'items' in object) {
      const { items } = object as { items?: unknown };
      if (!Array.isArray(items)) {
        if (items !== null) complain(['items'], 'expected a list');
        return;
      }
      const of =
        kind === 'List' ? undefined : ({ apiVersion, kind: kind.slice(0, -'List'.length) } as KubernetesObject);
      for (const [index, item] of items.entries()) readDocument(document, item, [...path, 'items', index], of);
      return;
    }
    const handling = handlingOf(apiVersion, kind);
    if (handling === 'other') return;
    if (handling === 'not-modelled') {
      const { name, namespace } = (object as { metadata?: { name?: string; namespace?: string } }).metadata ?? {};
      set.notModelled.push(`${kind} ${namespace === undefined ? '' : `${namespace}/`}${name ?? ''} (${document.file})`);
      return;
    }
    if (handling !== 'read') {
      complain(['apiVersion'], `expected ${handling.expected} for a ${kind}, found ${apiVersion}`);
      return;
    }
    const wrong = checkKind(kind, object);
    for (const { path: at, message } of wrong) complain(at, message);
    if (wrong.length > 0) return;
    addChecked(document, path, withDefaults(withoutNulls(object) as KubernetesObject, options.namespace));
  }

  function addChecked(document: SourceDocument, path: FieldPath, object: KubernetesObject): void {
    const { kind = '', metadata } = object;
    const id = objectId(kind, metadata.namespace, metadata.name);
    const line = document.lineOf([...path, 'metadata', 'name']);
    const before = seen.get(id);
    if (before !== undefined) {
      problems.push(
        problemAt(document, [...path, 'metadata', 'name'], `expected one ${id}, found another at ${before}`),
      );
      return;
    }
    seen.set(id, `${document.file}, document ${document.number}, line ${line}`);
    set.places.set(id, { file: document.file, lineOf: (field) => document.lineOf([...path, ...field]) });
    if (kind === 'NetworkPolicy') {
      try {
        readPolicy(object);
      } catch (error) {
        if (!(error instanceof PolicyError)) throw error;
        const message = error.message.slice(error.message.indexOf(': ') + 2);
        problems.push(problemAt(document, [...path, ...parsePath(error.path)], message));
        return;
      }
    }
    addObject(set, object);
  }
}

/** Null on the wire is an absent field. Lists have none that was not refused. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== null)
      .map(([key, item]) => [key, withoutNulls(item)]),
  );
}

function withDefaults(object: KubernetesObject, namespace: string): KubernetesObject {
  const { generateName = '' } = object.metadata as { generateName?: string };
  const metadata = { ...object.metadata, name: (object.metadata.name as string | undefined) ?? generateName };
  if (!CLUSTER_SCOPED.includes(object.kind ?? '')) metadata.namespace = metadata.namespace ?? namespace;
  const spec = (object as Partial<BaselinePolicy>).spec ?? {};
  return object.kind === 'BaselinePolicy' ? ({ ...object, metadata, spec } as BaselinePolicy) : { ...object, metadata };
}

interface NamedText {
  readonly name: string;
  readonly text: string;
}

async function readTexts(options: FileOptions, problems: string[]): Promise<NamedText[]> {
  const texts: NamedText[] = [];
  for (const filename of options.filenames) {
    if (filename === '-') {
      texts.push({ name: 'standard input', text: await textOf(options.stdin) });
      continue;
    }
    try {
      const isFolder = (await stat(filename)).isDirectory();
      const names = isFolder ? await filesIn(filename, options.recursive) : [filename];
      if (names.length === 0) {
        problems.push(`--filename: expected files that end in ${EXTENSIONS.join(', ')} in ${filename}, found none`);
      }
      for (const name of names) texts.push({ name, text: await readFile(name, 'utf8') });
    } catch (error) {
      const { code = '', message } = error as NodeJS.ErrnoException;
      const why = code === 'ENOENT' ? 'there is none' : message;
      problems.push(`--filename: expected a file or folder at ${filename}: ${why}`);
    }
  }
  return texts;
}

/** The files of a folder, in the order of their names. */
async function filesIn(folder: string, recursive: boolean): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  const files: string[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    const isFolder = entry.isDirectory() || (entry.isSymbolicLink() && (await stat(path)).isDirectory());
    if (isFolder) {
      if (recursive) files.push(...(await filesIn(path, recursive)));
    } else if (EXTENSIONS.includes(extname(entry.name))) {
      files.push(path);
    }
  }
  return files;
}

async function textOf(stream: AsyncIterable<string | Uint8Array>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
