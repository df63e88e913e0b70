import type { Options } from 'yargs';
import type { KubeconfigOverrides } from '../../kube/kubeconfig-overrides.ts';
import type { Flags } from '../command.ts';
import { UsageError } from '../errors.ts';

function text(description: string, more: Options = {}): Options {
  return { type: 'string', requiresArg: true, description, group: 'Cluster, as for kubectl:', ...more };
}

/** Flags that say which cluster is meant, and who asks; they are kubectl's. */
export const CLUSTER_FLAGS: Readonly<Record<keyof KubeconfigOverrides | 'kubeconfig', Options>> = {
  kubeconfig: text('File that says how to reach the cluster'),
  context: text('Context of the kubeconfig'),
  cluster: text('Cluster of the kubeconfig, in place of that of the context'),
  user: text('User of the kubeconfig, in place of that of the context'),
  server: text('URL of the API server', { alias: 's' }),
  'tls-server-name': text('Name in the certificate of the API server, when it is not that of the URL'),
  'certificate-authority': text('PEM file of the authority that the certificate of the API server is of'),
  'client-certificate': text('PEM file of a client certificate'),
  'client-key': text('PEM file of the key of the client certificate'),
  'insecure-skip-tls-verify': {
    ...text('Take any certificate of the API server: the answers may be of somebody else'),
    type: 'boolean',
    requiresArg: false,
  },
  token: text('Bearer token, in place of the credentials of the user'),
  as: text('User whom to impersonate'),
  'as-group': text('Group of the user to impersonate; may be given more than once'),
  'as-uid': text('UID of the user to impersonate'),
};

/** The flags about the cluster that are given. Throws UsageError for one without a value. */
export function givenClusterFlags(flags: Flags): string[] {
  return Object.keys(CLUSTER_FLAGS).filter((name) => {
    if (flags.texts(name).includes('')) throw new UsageError(`--${name}: expected a value, got an empty one`);
    return flags.isOn(name) || (name !== 'insecure-skip-tls-verify' && flags.text(name) !== undefined);
  });
}
