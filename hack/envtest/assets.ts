import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** A program of the control plane, or of Kubernetes on a node. */
export type Asset =
  'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kubectl' | 'kube-scheduler' | 'kube-proxy' | 'kubelet';

const BUILT = join(import.meta.dirname, '../../bin/k8s');

/** A program of the control plane is in none of the folders where it may be. */
export class MissingAssetError extends Error {
  readonly asset: Asset;

  constructor(asset: Asset, folders: readonly string[]) {
    super(
      `Expected an executable ${asset} in ${folders.join(' or ')}, found none. Run hack/envtest/build.sh to build it, ` +
        'or set KUBEBUILDER_ASSETS=$(setup-envtest use -p path) to use binaries that exist ' +
        '(it brings no kube-controller-manager).',
    );
    this.name = 'MissingAssetError';
    this.asset = asset;
  }
}

/**
 * Path of a program of the control plane: in the folder that KUBEBUILDER_ASSETS names (the convention of envtest of
 * controller-runtime), else in bin/k8s. Throws MissingAssetError when neither holds it.
 */
export function findAsset(asset: Asset): string {
  const given = process.env['KUBEBUILDER_ASSETS'];
  const folders = given ? [given, BUILT] : [BUILT];
  const path = folders.map((folder) => join(folder, asset)).find(isExecutable);
  if (path === undefined) throw new MissingAssetError(asset, folders);
  return path;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
