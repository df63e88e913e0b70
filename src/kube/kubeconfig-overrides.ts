import { readFileSync } from 'node:fs';
import type { Cluster, KubeConfig, User } from '@kubernetes/client-node';
import { KubeconfigError } from './kubeconfig-error.ts';
import type { RequestHeaders } from './kubeconfig.ts';

/**
 * What takes the place of parts of a kubeconfig, each called as the flag of kubectl is that says it.
 *
 * Source: ConfigOverrides of k8s.io/client-go/tools/clientcmd
 */
export interface KubeconfigOverrides {
  readonly context?: string;
  /** Names of entries of the kubeconfig, in place of those that the context names. */
  readonly cluster?: string;
  readonly user?: string;
  /** URL; without a kubeconfig it is enough to reach a cluster. The `tls-server-name` of the kubeconfig is not for it. */
  readonly server?: string;
  readonly 'tls-server-name'?: string;
  /** Paths of PEM files. */
  readonly 'certificate-authority'?: string;
  readonly 'client-certificate'?: string;
  readonly 'client-key'?: string;
  readonly 'insecure-skip-tls-verify'?: true;
  /** In place of all credentials of the user. */
  readonly token?: string;
  /** Whom the API server is asked to take the requests for; groups and UID only together with a user. */
  readonly as?: string;
  readonly 'as-group'?: readonly string[];
  readonly 'as-uid'?: string;
}

/** Whether a text is a URL of HTTP, with TLS or without. */
export function isHTTP(url: string): boolean {
  return /^https?:$/.test(URL.parse(url)?.protocol ?? '');
}

/** The name that a flag gives, which must be that of an entry of the kubeconfig. */
export function nameAmong(
  flag: string,
  name: string,
  entries: readonly { readonly name: string }[],
  source: string,
): string {
  const names = entries.map((entry) => entry.name).sort();
  if (names.includes(name)) return name;
  const found = names.length === 0 ? 'none' : names.join(', ');
  throw new KubeconfigError(`--${flag}: expected a ${flag} of ${source} (${found}), found ${name}`);
}

/**
 * Puts cluster and user together of what the kubeconfig and the overrides say. Where the kubeconfig names what it does
 * not have, all is left as it is.
 */
export function override(config: KubeConfig, source: string, overrides: KubeconfigOverrides): void {
  const { context: _context, 'as-group': _groups, 'as-uid': _uid, ...more } = overrides;
  if (Object.keys(more).length === 0) return;
  const context = config.getContextObject(config.currentContext);
  if (context === null && config.currentContext) return;
  const named = {
    cluster:
      more.cluster === undefined ? context?.cluster : nameAmong('cluster', more.cluster, config.clusters, source),
    user: more.user === undefined ? context?.user : nameAmong('user', more.user, config.users, source),
  };
  const cluster = named.cluster ? config.getCluster(named.cluster) : NO_CLUSTER;
  const user = named.user ? config.getUser(named.user) : { name: 'anonymous' };
  if (cluster === null || user === null || (cluster === NO_CLUSTER && more.server === undefined)) return;
  config.loadFromClusterAndUser(overrideCluster(cluster, more), overrideUser(user, more));
}

/** Where there is no kubeconfig, or its context names no cluster. */
const NO_CLUSTER: Cluster = { name: '--server', server: '', skipTLSVerify: false };

function overrideCluster(cluster: Cluster, overrides: KubeconfigOverrides): Cluster {
  const { server, 'tls-server-name': serverName, 'certificate-authority': authority } = overrides;
  const isInsecure = overrides['insecure-skip-tls-verify'] === true;
  if (server !== undefined && !isHTTP(server)) {
    throw new KubeconfigError(`--server: expected an http or https URL, found ${server}`);
  }
  if (authority !== undefined && isInsecure) {
    throw new KubeconfigError('--insecure-skip-tls-verify: expected without --certificate-authority, got both');
  }
  const { caFile, caData, tlsServerName, skipTLSVerify, ...rest } = cluster;
  const trust =
    authority !== undefined
      ? { caData: fileData('certificate-authority', authority), skipTLSVerify: false }
      : isInsecure
        ? { skipTLSVerify: true }
        : { ...(caFile && { caFile }), ...(caData && { caData }), skipTLSVerify };
  const name = serverName ?? (server === undefined ? tlsServerName : undefined);
  return {
    ...rest,
    ...trust,
    ...(name && { tlsServerName: name }),
    // There is nothing to verify without TLS, but client-node wants to be told.
    ...(server !== undefined && { server, ...(isPlain(server) && { skipTLSVerify: true }) }),
  };
}

/** Whether a URL is without TLS: credentials are never sent to it, as with kubectl. */
function isPlain(server: string): boolean {
  return URL.parse(server)?.protocol === 'http:';
}

function overrideUser(user: User, overrides: KubeconfigOverrides): User {
  const { token, 'client-certificate': certificate, 'client-key': key, as } = overrides;
  const { name, impersonateUser } = user;
  const unknown: User = { name, ...(impersonateUser && { impersonateUser }) };
  let overridden: User = user;
  if (overrides.server !== undefined && isPlain(overrides.server)) {
    if (token !== undefined) {
      throw new KubeconfigError(`--token: expected an https URL in --server, found ${overrides.server}`);
    }
    overridden = unknown;
  } else if (token !== undefined) {
    // Of the other credentials the API server would take the client certificate before the token.
    overridden = { ...unknown, token };
  }
  if (certificate !== undefined) {
    const { certFile: _file, ...rest } = overridden;
    overridden = { ...rest, certData: fileData('client-certificate', certificate) };
  }
  if (key !== undefined) {
    const { keyFile: _file, ...rest } = overridden;
    overridden = { ...rest, keyData: fileData('client-key', key) };
  }
  const [hasCertificate, hasKey] = [
    overridden.certData ?? overridden.certFile,
    overridden.keyData ?? overridden.keyFile,
  ];
  if (certificate !== undefined && !hasKey) {
    throw new KubeconfigError('--client-certificate: expected with --client-key, or with a key in the kubeconfig');
  }
  if (key !== undefined && !hasCertificate) {
    throw new KubeconfigError('--client-key: expected with --client-certificate, or with one in the kubeconfig');
  }
  return as === undefined ? overridden : { ...overridden, impersonateUser: as };
}

/** The content of a file that a flag names, as a kubeconfig holds it. */
function fileData(flag: string, path: string): string {
  try {
    return readFileSync(path).toString('base64');
  } catch (error) {
    throw new KubeconfigError(`--${flag}: expected a PEM file: ${(error as Error).message}`, error);
  }
}

/**
 * The headers of impersonation that client-node does not send itself.
 *
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
 */
export function impersonationHeaders(config: KubeConfig, overrides: KubeconfigOverrides): RequestHeaders {
  const { 'as-group': groups = [], 'as-uid': uid } = overrides;
  const flag = groups.length > 0 ? 'as-group' : uid === undefined ? undefined : 'as-uid';
  if (flag !== undefined && !config.getCurrentUser()?.impersonateUser) {
    throw new KubeconfigError(`--${flag}: expected with --as, got it alone`);
  }
  return {
    ...(groups.length > 0 && { 'Impersonate-Group': [...groups] }),
    ...(uid !== undefined && { 'Impersonate-Uid': uid }),
  };
}
