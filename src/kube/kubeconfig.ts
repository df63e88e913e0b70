import { existsSync, readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { KubeconfigError } from './kubeconfig-error.ts';
import { impersonationHeaders, isHTTP, nameAmong, override, type KubeconfigOverrides } from './kubeconfig-overrides.ts';

/** Folder in which Kubernetes gives a pod its service account. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Who the server must be, and the client certificate to show it. */
export interface TLSOptions {
  /** Certificate authorities, client certificate and its key, as PEM. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly rejectUnauthorized?: boolean;
  readonly servername?: string;
}

/**
 * How credentials are kept fresh: not at all, by reading a file that somebody rotates, or by what client-node knows
 * (credential plugins, OIDC).
 */
export type Renewal =
  { readonly kind: 'none' } | { readonly kind: 'token-file'; readonly path: string } | { readonly kind: 'library' };

/** Headers of a request by their names; one with several values is sent once for each. */
export type RequestHeaders = Record<string, string | string[]>;

/** How to reach a cluster and as whom. */
export interface ClusterAccess {
  /** URL of the API server; may have a path. */
  readonly server: URL;
  readonly tls: TLSOptions;
  /** HTTP proxy in front of the API server. */
  readonly proxy: string | undefined;
  /** Headers that say who asks; may run a credential plugin or read a rotated token, so not free. */
  readonly headers: () => Promise<RequestHeaders>;
  readonly renewal: Renewal;
}

/** How to reach the cluster of a context, and the namespace that the context names. */
export interface ContextAccess {
  readonly access: ClusterAccess;
  /** `default` when the context names none. */
  readonly namespace: string;
}

/**
 * Finds credentials in the order that controller-runtime has: the given file, $KUBECONFIG, the pod's service account,
 * ~/.kube/config.
 * @throws KubeconfigError when there are none or they can't be used
 */
export async function loadClusterAccess(path: string | undefined, env: NodeJS.ProcessEnv): Promise<ClusterAccess> {
  return (await loadContextAccess(path, env, {})).access;
}

/**
 * Finds credentials as {@link loadClusterAccess} does, and puts other values on top. With a server no service account of
 * the pod is used: its token is for the pod's own cluster.
 * @throws KubeconfigError when there are none or they can't be used; what a flag says wrongly is told with its name
 */
export async function loadContextAccess(
  path: string | undefined,
  env: NodeJS.ProcessEnv,
  overrides: KubeconfigOverrides,
): Promise<ContextAccess> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  const source = load(config, path, env, overrides);
  if (overrides.context !== undefined) {
    config.setCurrentContext(nameAmong('context', overrides.context, config.contexts, source));
  }
  const namespace = config.getContextObject(config.currentContext)?.namespace ?? '';
  override(config, source, overrides);
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    const found = config.currentContext ? JSON.stringify(config.currentContext) : 'none';
    throw new KubeconfigError(`${source}: expected a current-context that names a cluster, found ${found}`);
  }
  if (config.getCurrentUser() === null) {
    const user = JSON.stringify(config.getContextObject(config.currentContext)?.user);
    throw new KubeconfigError(
      `${source}: context ${config.currentContext}: expected the name of a user, found ${user}, which is none`,
    );
  }
  if (!isHTTP(cluster.server)) {
    throw new KubeconfigError(
      `${source}: cluster ${cluster.name}: expected an http or https URL in server, found ${cluster.server}`,
    );
  }
  const proxy = cluster.proxyUrl === '' ? undefined : cluster.proxyUrl;
  if (proxy !== undefined && !/^https?:/.test(proxy)) {
    throw new KubeconfigError(
      `${source}: cluster ${cluster.name}: expected an HTTP proxy in proxy-url, found ${proxy}`,
    );
  }
  const impersonation = impersonationHeaders(config, overrides);
  const initial = await authenticate(config, source);
  const access: ClusterAccess = {
    server: new URL(cluster.server),
    tls: tlsOptions(initial),
    proxy,
    renewal: renewalOf(config),
    headers: async () => {
      const { headers } = await authenticate(config, source);
      const own = Object.entries(headers ?? {}).map(([name, value]): [string, string] => [name, String(value)]);
      return { ...Object.fromEntries(own), ...impersonation };
    },
  };
  return { access, namespace: namespace === '' ? 'default' : namespace };
}

function renewalOf(config: KubeConfig): Renewal {
  const user = config.getCurrentUser();
  const { tokenFile } = (user?.authProvider as { config?: { tokenFile?: string } } | undefined)?.config ?? {};
  if (tokenFile !== undefined) return { kind: 'token-file', path: tokenFile };
  return user?.exec === undefined && user?.authProvider === undefined ? { kind: 'none' } : { kind: 'library' };
}

/** What client-node has found of TLS; it reads PEM from files or from base64, as bytes. */
function tlsOptions({ ca, cert, key, rejectUnauthorized, servername }: RequestOptions): TLSOptions {
  return {
    ...(ca !== undefined && { ca: String(ca) }),
    ...(cert !== undefined && { cert: String(cert) }),
    ...(Buffer.isBuffer(key) && { key: key.toString() }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
    ...(servername !== undefined && { servername }),
  };
}

/** The namespace that the pod's service account is in; undefined outside a pod. */
export function serviceAccountNamespace(): string | undefined {
  const file = join(SERVICE_ACCOUNT, 'namespace');
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined;
}

/** Loads the configuration and returns what it was read from, for messages. */
function load(
  config: KubeConfig,
  path: string | undefined,
  env: NodeJS.ProcessEnv,
  { server }: KubeconfigOverrides,
): string {
  const fromEnv = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const fromHome = join(env['HOME'] ?? homedir(), '.kube', 'config');
  const files = path !== undefined ? [path] : fromEnv;
  if (files.length > 0) {
    readFiles(config, files, path !== undefined ? '--kubeconfig' : 'KUBECONFIG');
    return files.join(delimiter);
  }
  if (
    server === undefined &&
    env['KUBERNETES_SERVICE_HOST'] !== undefined &&
    existsSync(join(SERVICE_ACCOUNT, 'token'))
  ) {
    config.loadFromCluster();
    return 'the service account of the pod';
  }
  if (!existsSync(fromHome)) {
    if (server !== undefined) return 'no kubeconfig';
    throw new KubeconfigError(
      `No cluster to talk to: --kubeconfig and $KUBECONFIG are not set, this is no pod, and ${fromHome} does not exist. ` +
        'Give --kubeconfig FILE.',
    );
  }
  readFiles(config, [fromHome], 'the default kubeconfig');
  return fromHome;
}

function readFiles(config: KubeConfig, files: readonly string[], where: string): void {
  if (files.length > 1 && !files.some((file) => existsSync(file))) {
    throw new KubeconfigError(`${where}: none of the files ${files.join(', ')} exists`);
  }
  for (const [index, file] of files.entries()) {
    // Like kubectl, a file of a list in $KUBECONFIG may be missing; the only one may not.
    if (!existsSync(file)) {
      if (files.length > 1) continue;
      throw new KubeconfigError(`${where}: the file ${file} does not exist`);
    }
    try {
      if (index === 0) {
        config.loadFromFile(file);
      } else {
        const more = new (config.constructor as typeof KubeConfig)();
        more.loadFromFile(file);
        addMissing(config, more);
      }
    } catch (error) {
      // What comes after the first line is an excerpt of the file, and may be a secret; so may the cause say.
      const [problem = ''] = (error as Error).message.split('\n');
      throw new KubeconfigError(`${where}: ${file} is no kubeconfig: ${problem}`);
    }
  }
}

/** Merges another file in. As with kubectl, the first file that names something wins, also the current-context. */
function addMissing(config: KubeConfig, more: KubeConfig): void {
  more.clusters = more.clusters.filter(({ name }) => config.getCluster(name) === null);
  more.users = more.users.filter(({ name }) => config.getUser(name) === null);
  more.contexts = more.contexts.filter(({ name }) => config.getContextObject(name) === null);
  config.mergeConfig(more, Boolean(config.currentContext));
}

async function authenticate(config: KubeConfig, source: string): Promise<RequestOptions> {
  const options: RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    throw new KubeconfigError(`${source}: no credentials: ${(error as Error).message}`, error);
  }
  return options;
}
