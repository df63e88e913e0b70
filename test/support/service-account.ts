import assert from 'node:assert/strict';
import type { ControlPlane } from '../../hack/envtest/control-plane.ts';
import { eventually } from './await.ts';
import { grantsOf, type Grant, type Role } from './grants.ts';
import type { KubeClient } from './kube.ts';
import { kustomize } from './kubectl.ts';

/** The names of `config`: of the ServiceAccount and what belongs to it, and of their namespace. */
export const OPERATOR = 'baseline-policy-operator';
export const OPERATOR_NAMESPACE = 'baseline-policy-system';
/** The only Lease that its Role lets the operator hold. */
export const OPERATOR_LEASE = `${OPERATOR}.baselinepolicy.dev`;
/** Who the operator is for the API server. */
export const OPERATOR_USER = `system:serviceaccount:${OPERATOR_NAMESPACE}:${OPERATOR}`;
/** Flags of an operator that elects a leader outside a pod, where nothing tells it its namespace. */
export const ELECTION_FLAGS: readonly string[] = [
  '--leader-elect',
  `--leader-election-namespace=${OPERATOR_NAMESPACE}`,
];

/** The roles of `config/rbac` that are bound to the operator's ServiceAccount. */
export async function operatorRoles(): Promise<Role[]> {
  const bound = [OPERATOR, `${OPERATOR}-metrics-auth`];
  const objects = await kustomize('config/rbac');
  const roles = objects.filter((object): object is Role => ['Role', 'ClusterRole'].includes(object.kind));
  return roles.filter(({ metadata }) => bound.includes(metadata.name));
}

/**
 * Creates the ServiceAccount of `config/rbac` with its namespace, roles and bindings.
 * @returns the path of a kubeconfig with its token, once the API server allows all that the roles grant
 */
export async function installServiceAccount(controlPlane: ControlPlane, kube: KubeClient): Promise<string> {
  await kube.namespaces.create({ metadata: { name: OPERATOR_NAMESPACE } });
  for (const object of await kustomize('config/rbac')) {
    const { apiVersion = '', kind, metadata } = object;
    await kube.resource(apiVersion, `${kind.toLowerCase()}s`, metadata.namespace).create(object);
  }
  const grants = grantsOf(await operatorRoles());
  await Promise.all(grants.map((grant) => allowed(kube, OPERATOR_USER, grant)));
  return controlPlane.kubeconfigForServiceAccount(OPERATOR_NAMESPACE, OPERATOR);
}

/** Resolves when the API server would allow or forbid this to a user: it hears of changed rights by a watch of its own. */
export async function allowed(kube: KubeClient, user: string, grant: Grant, wanted = true): Promise<void> {
  const { verb, apiGroup, namespace, name } = grant;
  const [resource, subresource] = grant.resource.split('/');
  const resourceAttributes = { verb, group: apiGroup, resource, subresource, namespace, name };
  const body = { spec: { user, groups: ['system:authenticated', 'system:serviceaccounts'], resourceAttributes } };
  await eventually(async () => {
    const review = await kube.request('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { body });
    assert.equal((review as { status: { allowed: boolean } }).status.allowed, wanted);
  });
}
