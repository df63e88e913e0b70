import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { findAsset } from '../../hack/envtest/assets.ts';

/** The root of the project. */
export const PROJECT = join(import.meta.dirname, '../..');

/** An object of a manifest, with any fields. */
export interface ManifestObject extends KubernetesObject {
  readonly kind: string;
}

/**
 * Runs kubectl in the root of the project and returns what it printed. Without a kubeconfig it knows no cluster, as for
 * `kustomize`. Rejects with its standard error in the message when it fails.
 */
export async function kubectl(args: readonly string[], kubeconfig = '/dev/null'): Promise<string> {
  const env = { ...process.env, KUBECONFIG: kubeconfig };
  const { stdout } = await promisify(execFile)(findAsset('kubectl'), args, { cwd: PROJECT, env, maxBuffer: 2 ** 24 });
  return stdout;
}

/** The objects that `kubectl kustomize` makes of a folder, in its order. */
export async function kustomize(folder: string): Promise<ManifestObject[]> {
  const documents = parseAllDocuments(await kubectl(['kustomize', folder]));
  return documents.map((document) => {
    const [problem] = document.errors;
    if (problem !== undefined) throw new Error(`kubectl kustomize ${folder}: expected YAML, got: ${problem.message}`);
    return document.toJS() as ManifestObject;
  });
}
