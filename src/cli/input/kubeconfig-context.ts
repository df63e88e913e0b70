import { KubeconfigError } from '../../kube/kubeconfig-error.ts';
import type { KubeconfigOverrides } from '../../kube/kubeconfig-overrides.ts';
import { loadContextAccess, type ContextAccess } from '../../kube/kubeconfig.ts';
import type { Flags } from '../command.ts';
import { InputError } from '../errors.ts';
import { givenClusterFlags } from './cluster-flags.ts';

/** Finds the cluster, the credentials and the namespace that flags mean. Throws InputError when there are none. */
export async function loadContext(
  flags: Flags,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ContextAccess> {
  const given = givenClusterFlags(flags).filter((name) => name !== 'kubeconfig');
  const overrides = Object.fromEntries(
    given.map((name) => {
      if (name === 'insecure-skip-tls-verify') return [name, true];
      return [name, name === 'as-group' ? flags.texts(name) : flags.text(name)];
    }),
  ) as KubeconfigOverrides;
  try {
    return await loadContextAccess(flags.text('kubeconfig'), { ...env }, overrides);
  } catch (error) {
    if (error instanceof KubeconfigError) throw new InputError([error.message]);
    throw error;
  }
}
