import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { eventually } from './await.ts';
import type { KubeClient, Manifest } from './kube.ts';

const CRD = new URL('../../crds/baselinepolicy.dev_baselinepolicies.yaml', import.meta.url);

/** The CustomResourceDefinition as users install it. */
export function readCRD(): Manifest {
  return parse(readFileSync(CRD, 'utf8')) as Manifest;
}

/** Installs the CustomResourceDefinition and resolves when BaselinePolicies are served. */
export async function installCRD(kube: KubeClient): Promise<void> {
  await kube.resource('apiextensions.k8s.io/v1', 'customresourcedefinitions').create(readCRD());
  await eventually(() => kube.baselinePolicies.list());
}
