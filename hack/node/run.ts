/**
 * The inner half of main.ts, in the sandbox: runs the node, makes its API server reachable by a Unix socket, and writes a
 * kubeconfig for the port that leads there.
 *
 *     run.ts FOLDER PORT IMAGE     FOLDER: for api.sock and kubeconfig
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { forward } from './forward.ts';
import { NETWORK } from './network.ts';
import { KubernetesNode } from './node.ts';

const [folder = '', port = '', operatorImage = ''] = process.argv.slice(2);
const alive = setInterval(() => undefined, 2 ** 30); // the node does not keep this process alive
try {
  console.log('Starting the node; about half a minute');
  await using node = await KubernetesNode.start({ operatorImage });
  forward({ path: join(folder, 'api.sock') }, { host: NETWORK.gateway, port: NETWORK.apiServerPort });
  const kubeconfig = join(folder, 'kubeconfig');
  const inside = await readFile(node.kubeconfig, 'utf8');
  const server = `https://${NETWORK.gateway}:${NETWORK.apiServerPort}`;
  await writeFile(kubeconfig, inside.replace(server, `https://127.0.0.1:${port}`), { mode: 0o600 });
  console.log(`export KUBECONFIG=${kubeconfig}`);
  console.log(`The node runs until Ctrl-C, and knows the image ${operatorImage}.`);
  throw await node.failed;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  clearInterval(alive);
}
