import type { AuditEvent } from '../../hack/envtest/control-plane.ts';
import type { ManifestObject } from './kubectl.ts';

/** A rule of a Role or a ClusterRole: about resources, or about paths that are none. */
export interface PolicyRule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

/** A Role or a ClusterRole. */
export interface Role extends ManifestObject {
  readonly rules: readonly PolicyRule[];
}

/** One thing that a role allows: one verb on one resource, in one namespace or in all, for one name or for any. */
export interface Grant {
  readonly verb: string;
  readonly apiGroup: string;
  /** With its subresource, as in a role: `baselinepolicies/status`. */
  readonly resource: string;
  /** Undefined: everywhere. */
  readonly namespace: string | undefined;
  /** Undefined: any. */
  readonly name: string | undefined;
}

/** All that roles allow on resources, bound where they are: a Role in its namespace, a ClusterRole in the cluster. */
export function grantsOf(roles: readonly Role[]): Grant[] {
  return roles.flatMap(({ metadata, rules }) =>
    rules.flatMap(({ apiGroups = [], resources = [], verbs, resourceNames = [undefined] }) =>
      verbs.flatMap((verb) =>
        apiGroups.flatMap((apiGroup) =>
          resources.flatMap((resource) =>
            resourceNames.map((name) => ({ verb, apiGroup, resource, namespace: metadata.namespace, name })),
          ),
        ),
      ),
    ),
  );
}

/** Whether a grant is what allows a request, as the RBAC authorizer decides. */
export function allows(grant: Grant, { verb, objectRef }: AuditEvent): boolean {
  if (objectRef === undefined) return false;
  const { apiGroup = '', resource = '', subresource, namespace, name } = objectRef;
  return (
    grant.verb === verb &&
    grant.apiGroup === apiGroup &&
    grant.resource === (subresource === undefined ? resource : `${resource}/${subresource}`) &&
    (grant.namespace === undefined || grant.namespace === namespace) &&
    (grant.name === undefined || grant.name === name)
  );
}

/** A grant in words, for messages. */
export function describeGrant({ verb, apiGroup, resource, namespace, name }: Grant): string {
  const where = namespace === undefined ? 'everywhere' : `in ${namespace}`;
  return `${verb} ${resource}${apiGroup === '' ? '' : `.${apiGroup}`}${name === undefined ? '' : ` ${name}`} ${where}`;
}
