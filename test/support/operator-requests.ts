import type { AuditEvent, AuditMark, ControlPlane } from '../../hack/envtest/control-plane.ts';
import { OPERATOR_USER } from './service-account.ts';

/**
 * What operators asked of the API server since the mark as their ServiceAccount, each request once; a watch counts when
 * it starts.
 */
export async function operatorRequests(controlPlane: ControlPlane, mark: AuditMark): Promise<AuditEvent[]> {
  const events = await controlPlane.auditEvents(mark);
  return events
    .filter(({ user }) => user.username === OPERATOR_USER)
    .filter(({ verb, stage }) => stage === (verb === 'watch' ? 'ResponseStarted' : 'ResponseComplete'));
}
