import type { AuditEvent, AuditMark, ControlPlane } from '../../hack/envtest/control-plane.ts';

/** What operators asked of the API server since the mark, each request once; a watch counts when it starts. */
export async function operatorRequests(controlPlane: ControlPlane, mark: AuditMark): Promise<AuditEvent[]> {
  const events = await controlPlane.auditEvents(mark);
  return events
    .filter(({ userAgent }) => userAgent?.startsWith('baseline-policy-operator/'))
    .filter(({ verb, stage }) => stage === (verb === 'watch' ? 'ResponseStarted' : 'ResponseComplete'));
}
