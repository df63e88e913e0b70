import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

/** A package of npm, as far as its licence goes. */
export interface LicensedPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression of its package.json. */
  readonly license: string;
  /** Texts of its files LICENSE, LICENCE, COPYING and NOTICE, by name of file; there may be none. */
  readonly texts: ReadonlyMap<string, string>;
}

const LICENSE_FILE = /^(licen[cs]e|copying|notice)/i;
const RULE = '='.repeat(100);

/** The folders of all packages of which some part is in the outputs, sorted, relative to the working folder of esbuild. */
export function bundledPackages({ outputs }: Metafile): string[] {
  const paths = Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
  );
  const roots = paths.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  return [...new Set(roots)].sort();
}

/**
 * Reads what a package says of its licence.
 * @throws {Error} when its package.json names none
 */
export async function readPackage(root: string): Promise<LicensedPackage> {
  const path = join(root, 'package.json');
  const { name, version, license } = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  if (typeof name !== 'string' || typeof version !== 'string' || typeof license !== 'string') {
    throw new Error(`${path}: expected name, version and license, got ${JSON.stringify({ name, version, license })}`);
  }
  const files = (await readdir(root)).filter((file) => LICENSE_FILE.test(file)).sort();
  const texts = await Promise.all(files.map(async (file) => [file, await readFile(join(root, file), 'utf8')] as const));
  return { name, version, license, texts: new Map(texts) };
}

/** One text with the licences of all packages, then the legal comments of their sources, each once. */
export function licenseText(packages: readonly LicensedPackage[], comments: readonly string[]): string {
  const sections = packages.map(({ name, version, license, texts }) =>
    [
      RULE,
      `${name} ${version}: ${license}`,
      RULE,
      ...(texts.size === 0 ? ['The package has no text of its licence.'] : [...texts.values()].map(trimmed)),
    ].join('\n\n'),
  );
  const distinct = [...new Set(comments.map(trimmed))].filter((comment) => comment !== '');
  return [
    'This program contains the following packages, under their own licences.',
    ...sections,
    ...(distinct.length === 0 ? [] : [RULE, 'Legal comments in their sources', RULE, ...distinct]),
    '',
  ].join('\n\n');
}

function trimmed(text: string): string {
  return text.trim().replaceAll('\r\n', '\n');
}
