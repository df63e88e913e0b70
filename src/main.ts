import { parseFlags, helpText, UsageError } from './config.ts';
import { readClusterAccess } from './kube/cluster-access.ts';
import { KubeconfigError, serviceAccountNamespace } from './kube/kubeconfig.ts';
import { ListenError } from './observability/http.ts';
import { createLogger } from './observability/log.ts';
import { Metrics } from './observability/metrics.ts';
import { Operator, UnreachableError } from './operator.ts';
import { VERSION } from './version.ts';

/** Exit codes: 0 stopped as asked, 1 failed, 2 the flags or the kubeconfig are wrong. */
process.exitCode = await main();

async function main(): Promise<number> {
  let commandLine: ReturnType<typeof parseFlags>;
  try {
    commandLine = parseFlags(process.argv.slice(2), process.env, process.stdout.isTTY);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
  if (commandLine.kind !== 'run') {
    process.stdout.write(commandLine.kind === 'help' ? helpText() : `baseline-policy-operator ${VERSION}\n`);
    return 0;
  }

  const { options } = commandLine;
  const ownNamespace = options.namespace ?? serviceAccountNamespace();
  if (options.leaderElect && (options.leaderElectionNamespace ?? ownNamespace) === undefined) {
    const problem = '--leader-election-namespace: expected a namespace for the Lease outside a cluster, got none';
    process.stderr.write(`${new UsageError([problem]).message}\n`);
    return 2;
  }
  const logger = createLogger({ level: options.logLevel, format: options.logFormat });
  const stopSignal = firstSignal();
  try {
    const operator = new Operator(options, {
      access: await readClusterAccess(options.kubeconfig, process.env),
      logger,
      metrics: new Metrics({ version: VERSION }),
      ownNamespace,
    });
    // A signal ends the wait for the caches too: the CustomResourceDefinition may never come.
    const signal = await Promise.race([operator.start().then(() => stopSignal), stopSignal]);
    logger.info('Stopping', { signal });
    const finished = await operator.stop();
    if (finished) logger.info('Stopped');
    else logger.error('Stopped before all writes were finished', { timeoutMs: options.shutdownTimeoutMs });
    return finished ? 0 : 1;
  } catch (error) {
    const isInput = error instanceof KubeconfigError;
    const isKnown = isInput || error instanceof UnreachableError || error instanceof ListenError;
    logger.error(isKnown ? error.message : 'Failed to run', isKnown ? {} : { error });
    return isInput ? 2 : 1;
  } finally {
    await logger.close();
    // Nothing is left to do; a forgotten handle must not keep the process.
    setImmediate(() => process.exit());
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
