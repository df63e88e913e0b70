/**
 * Behind `make run`. With KUBECONFIG set it runs the operator on that cluster, as it is. Otherwise it runs the operator
 * on a cluster of its own, with samples and a guide. Arguments are flags of the operator, after those given here.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { findAsset, MissingAssetError } from './envtest/assets.ts';
import { ComponentError } from './envtest/control-plane.ts';
import { loopbackAddress } from './run/bind.ts';
import { runDemo } from './run/demo.ts';

const root = dirname(import.meta.dirname);
const metrics = await loopbackAddress(8080);
const operatorFlags = [
  '--log-format=text',
  `--metrics-bind-address=${metrics}`,
  `--health-probe-bind-address=${await loopbackAddress(8081)}`,
  ...process.argv.slice(2),
];

if ((process.env['KUBECONFIG'] ?? '') !== '') {
  console.log(`Running the operator on the cluster of KUBECONFIG (${process.env['KUBECONFIG'] ?? ''}) until Ctrl-C`);
  // In this process: nothing else is to be started or ended.
  process.argv.splice(2, Infinity, ...operatorFlags);
  await import('../src/main.ts');
} else {
  process.exitCode = await demo();
}

async function demo(): Promise<number> {
  try {
    return await runDemo({
      root,
      operatorFlags,
      metricsURL: `http://${metrics}/metrics`,
      controllerManager: hasAsset('kube-controller-manager'),
      kubectlFolder: isOnPath('kubectl') ? undefined : dirname(findAsset('kubectl')),
    });
  } catch (error) {
    const known = error instanceof MissingAssetError || error instanceof ComponentError;
    console.error(known ? error.message : error);
    return 1;
  }
}

function hasAsset(asset: Parameters<typeof findAsset>[0]): boolean {
  try {
    findAsset(asset);
    return true;
  } catch (error) {
    if (error instanceof MissingAssetError) return false;
    throw error;
  }
}

function isOnPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return folder !== '';
    } catch {
      return false;
    }
  });
}
