import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parse } from 'yaml';
import { loadClusterAccess, KubeconfigError, type ClusterAccess } from '../../kube/kubeconfig.ts';
import { InputError } from '../errors.ts';

/** Which cluster to talk to, as kubectl's flags of these names say it. */
export interface ContextOptions {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A cluster, and the namespace that its context names. */
export interface ClusterContext {
  readonly access: ClusterAccess;
  /** `default` when the context names none. */
  readonly namespace: string;
}

/** The part of a kubeconfig that says which context is meant. */
interface Kubeconfig {
  readonly 'current-context'?: string;
  readonly contexts?: readonly { readonly name?: string; readonly context?: { readonly namespace?: string } }[] | null;
}

/** Finds the cluster, the credentials and the namespace of a context. Throws InputError when there are none. */
export async function loadContext({ kubeconfig, context, env }: ContextOptions): Promise<ClusterContext> {
  const files = kubeconfigFiles(kubeconfig, env);
  try {
    if (context === undefined) {
      const access = await loadClusterAccess(kubeconfig, { ...env });
      return { access, namespace: namespaceOf(files, currentContext(files)) };
    }
    const names = contextNames(files);
    if (!names.includes(context)) {
      const found = names.length === 0 ? 'none' : names.join(', ');
      throw new InputError([`--context: expected a context of ${files.join(delimiter)} (${found}), found ${context}`]);
    }
    return { access: await loadClusterAccess(kubeconfig, { ...env }, context), namespace: namespaceOf(files, context) };
  } catch (error) {
    if (error instanceof KubeconfigError) throw new InputError([error.message]);
    throw error;
  }
}

/** The files that are read, of which some may not exist. */
function kubeconfigFiles(kubeconfig: string | undefined, env: ContextOptions['env']): string[] {
  if (kubeconfig !== undefined) {
    if (existsSync(kubeconfig)) return [kubeconfig];
    throw new InputError([`--kubeconfig: the file ${kubeconfig} does not exist`]);
  }
  const listed = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  if (listed.length === 0) return [join(env['HOME'] ?? homedir(), '.kube', 'config')];
  if (listed.some((file) => existsSync(file))) return listed;
  throw new InputError([`KUBECONFIG: expected a file at ${listed.join(' or ')}, found none`]);
}

function readKubeconfigs(files: readonly string[]): Kubeconfig[] {
  return files
    .filter((file) => existsSync(file))
    .flatMap((file) => {
      try {
        return (parse(readFileSync(file, 'utf8')) as Kubeconfig | null) ?? [];
      } catch (error) {
        const [message = ''] = (error as Error).message.split('\n');
        throw new InputError([`expected a kubeconfig in ${file}: ${message}`]);
      }
    });
}

function currentContext(files: readonly string[]): string | undefined {
  return readKubeconfigs(files)
    .map((config) => config['current-context'])
    .find((name) => name !== undefined && name !== '');
}

function contextNames(files: readonly string[]): string[] {
  const names = readKubeconfigs(files).flatMap(({ contexts }) => (contexts ?? []).flatMap(({ name }) => name ?? []));
  return [...new Set(names)].sort();
}

function namespaceOf(files: readonly string[], context: string | undefined): string {
  const contexts = readKubeconfigs(files).flatMap(({ contexts: list }) => list ?? []);
  const namespace = contexts.find(({ name }) => name === context)?.context?.namespace ?? '';
  return namespace === '' ? 'default' : namespace;
}
