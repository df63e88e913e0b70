import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ClusterAccessReply } from './cluster-access-process.ts';
import { KubeconfigError } from './kubeconfig-error.ts';
import { loadClusterAccess, type ClusterAccess, type RequestHeaders } from './kubeconfig.ts';

const PROCESS = fileURLToPath(new URL('./cluster-access-process.ts', import.meta.url));

/**
 * Does what {@link loadClusterAccess} does, in a process that ends afterwards: client-node takes 80 MB to load, and is
 * needed once. Only credentials that a plugin or an OIDC provider renews keep the library, in this process.
 * @throws KubeconfigError when there are no credentials or they can't be used
 */
export async function readClusterAccess(path: string | undefined, env: NodeJS.ProcessEnv): Promise<ClusterAccess> {
  const args = [PROCESS, ...(path === undefined ? [] : [path])];
  const reply = JSON.parse(await outputOf(args, env)) as ClusterAccessReply;
  if ('error' in reply) throw new KubeconfigError(reply.error);
  const { server, tls, proxy, headers, renewal } = reply;
  return {
    server: new URL(server),
    tls,
    proxy,
    renewal,
    headers: await renewHeaders(renewal, headers, path, env),
  };
}

async function outputOf(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  try {
    return (await promisify(execFile)(process.execPath, args, { env, maxBuffer: 2 ** 24 })).stdout;
  } catch (error) {
    const { signal, stderr = '' } = error as { signal?: string | null; stderr?: string };
    if (typeof signal !== 'string') throw error;
    const why = stderr.includes('heap out of memory')
      ? 'it has too little memory; give --max-old-space-size in NODE_OPTIONS more'
      : 'somebody or something ended it';
    throw new KubeconfigError(`Expected the process that reads the kubeconfig to end by itself, got ${signal}: ${why}`);
  }
}

async function renewHeaders(
  renewal: ClusterAccess['renewal'],
  headers: RequestHeaders,
  path: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<ClusterAccess['headers']> {
  switch (renewal.kind) {
    case 'none':
      return () => Promise.resolve(headers);
    case 'token-file':
      return async () => ({ ...headers, Authorization: `Bearer ${(await readFile(renewal.path, 'utf8')).trim()}` });
    case 'library':
      return (await loadClusterAccess(path, env)).headers;
  }
}
