import { ControlPlane } from './control-plane.ts';

// Runs a control plane in the foreground until SIGINT or SIGTERM; flags are passed on to kube-apiserver.
const signal = new Promise<'signal'>((resolve) => {
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      resolve('signal');
    });
  }
});
const alive = setInterval(() => undefined, 2 ** 30); // the control plane does not keep this process alive
try {
  await using controlPlane = await ControlPlane.start({ apiServerFlags: process.argv.slice(2) });
  console.log(`export KUBECONFIG=${controlPlane.kubeconfig}`);
  const processes = [...controlPlane.processes].map(([name, pid]) => `${name} ${pid}`).join(', ');
  console.error(`The control plane runs at ${controlPlane.server} until Ctrl-C (${processes}).`);
  await Promise.race([signal, controlPlane.failed]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  clearInterval(alive);
}
