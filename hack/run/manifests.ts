import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { API_VERSION, PLURAL } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import type { Transport } from '../../src/kube/transport.ts';

/** An object as a file describes it. */
export interface Manifest extends KubernetesObject {
  kind: string;
}

const FIELD_MANAGER = 'make-run';

/** Where objects of a kind are, in the order in which they are applied. */
const COLLECTIONS: Readonly<Record<string, string>> = {
  CustomResourceDefinition: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
  Namespace: '/api/v1/namespaces',
  BaselinePolicy: `/apis/${API_VERSION}/${PLURAL}`,
};

/**
 * Reads all objects of the YAML files of a folder: definitions first, then namespaces, then BaselinePolicies.
 *
 * @throws {Error} for a file that is no YAML, or a kind that is none of these.
 */
export async function readManifests(folder: string): Promise<Manifest[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  const manifests: Manifest[] = [];
  for (const file of files) {
    for (const document of parseAllDocuments(await readFile(join(folder, file), 'utf8'))) {
      const [problem] = document.errors;
      if (problem !== undefined) throw new Error(`${join(folder, file)}: expected YAML, got: ${problem.message}`);
      const manifest = document.toJS() as Manifest;
      if (!Object.hasOwn(COLLECTIONS, manifest.kind)) {
        const kinds = Object.keys(COLLECTIONS).join(', ');
        throw new Error(`${join(folder, file)}: expected an object of kind ${kinds}, got ${manifest.kind}`);
      }
      manifests.push(manifest);
    }
  }
  const order = Object.keys(COLLECTIONS);
  return manifests.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
}

/** Creates or updates an object by server-side apply. Throws APIError or ConnectionError. */
export async function applyManifest(transport: Transport, manifest: Manifest): Promise<void> {
  await transport.request({
    method: 'PATCH',
    path: `${COLLECTIONS[manifest.kind] ?? ''}/${manifest.metadata.name}?fieldManager=${FIELD_MANAGER}&force=true`,
    resource: manifest.kind,
    contentType: 'application/apply-patch+yaml',
    body: JSON.stringify(manifest),
  });
}
