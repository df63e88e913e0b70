import { parseFlags, helpText, UsageError } from './config.ts';
import { readClusterAccess } from './kube/cluster-access.ts';
import { serviceAccountNamespace } from './kube/kubeconfig.ts';
import { VERSION } from './version.ts';

/** Exit codes: 0 stopped as asked, 1 failed, 2 flags, kubeconfig or certificate are wrong. */
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
  try {
    // The credentials are read by a process of its own, while this one loads all the rest.
    const access = readClusterAccess(options.kubeconfig, process.env);
    // Whoever awaits it is told of its failure, and that may come before somebody does.
    access.catch(() => undefined);
    const { run } = await import('./run.ts');
    return await run(options, access, ownNamespace);
  } finally {
    // Nothing is left to do; a forgotten handle must not keep the process.
    setImmediate(() => process.exit());
  }
}
