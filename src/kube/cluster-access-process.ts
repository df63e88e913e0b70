import { KubeconfigError } from './kubeconfig-error.ts';
import { loadClusterAccess, type ClusterAccess, type RequestHeaders } from './kubeconfig.ts';

/** What the process prints: all that can be known of the credentials now, as JSON. */
export type ClusterAccessReply =
  | { readonly error: string }
  | {
      readonly server: string;
      /** PEM, not bytes. */
      readonly tls: { ca?: string; cert?: string; key?: string; rejectUnauthorized?: boolean; servername?: string };
      readonly proxy: string | undefined;
      readonly headers: RequestHeaders;
      readonly renewal: ClusterAccess['renewal'];
    };

process.stdout.write(JSON.stringify(await read(process.argv[2])));

async function read(path: string | undefined): Promise<ClusterAccessReply> {
  try {
    const { server, tls, proxy, headers, renewal } = await loadClusterAccess(path, process.env);
    return { server: server.href, tls, proxy, headers: await headers(), renewal };
  } catch (error) {
    if (error instanceof KubeconfigError) return { error: error.message };
    throw error;
  }
}
