import type { Options } from './config.ts';
import { KubeconfigError } from './kube/kubeconfig-error.ts';
import type { ClusterAccess } from './kube/kubeconfig.ts';
import { ListenError } from './observability/http.ts';
import { createLogger } from './observability/log.ts';
import { Metrics } from './observability/metrics.ts';
import { CertificateError } from './observability/serving-certificate.ts';
import { Operator, UnreachableError } from './operator.ts';
import { VERSION } from './version.ts';

/**
 * Runs the operator until a signal asks it to stop.
 * @param access the credentials, which may still be read
 * @param ownNamespace the namespace that the operator runs in; undefined outside a cluster
 * @returns the exit code: 0 stopped as asked, 1 failed, 2 the kubeconfig or the certificate of metrics is wrong
 */
export async function run(
  options: Options,
  access: Promise<ClusterAccess>,
  ownNamespace: string | undefined,
): Promise<0 | 1 | 2> {
  const logger = createLogger({ level: options.logLevel, format: options.logFormat });
  const stopSignal = firstSignal();
  try {
    const metrics = new Metrics({ version: VERSION });
    const operator = new Operator(options, { access: await access, logger, metrics, ownNamespace });
    // A signal ends the wait for the caches too: the CustomResourceDefinition may never come.
    const signal = await Promise.race([operator.start().then(() => stopSignal), stopSignal]);
    logger.info('Stopping', { signal });
    const finished = await operator.stop();
    if (finished) logger.info('Stopped');
    else logger.error('Stopped before all writes were finished', { timeoutMs: options.shutdownTimeoutMs });
    return finished ? 0 : 1;
  } catch (error) {
    const isInput = error instanceof KubeconfigError || error instanceof CertificateError;
    const isKnown = isInput || error instanceof UnreachableError || error instanceof ListenError;
    logger.error(isKnown ? error.message : 'Failed to run', isKnown ? {} : { error });
    return isInput ? 2 : 1;
  } finally {
    await logger.close();
  }
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once, as in controller-runtime. */
async function firstSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      for (const again of ['SIGINT', 'SIGTERM'] as const) {
        process.once(again, () => process.exit(1));
      }
      resolve(name);
    });
  }
  return promise;
}
