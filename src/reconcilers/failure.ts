import { APIError, ConnectionError } from '../kube/errors.ts';

/** Why a child could not be written: a reason in CamelCase, as in conditions, and the API server's own words. */
export function describeFailure(error: unknown): { readonly reason: string; readonly message: string } {
  if (error instanceof ConnectionError) return { reason: 'Unreachable', message: error.message };
  if (!(error instanceof APIError)) return { reason: 'InternalError', message: String(error) };
  return { reason: reasonOf(error), message: error.message };
}

function reasonOf(error: APIError): string {
  // Quota and webhooks both answer 403; only their words tell them from RBAC (apiserver: quota, webhook/errors).
  if (error.message.includes('exceeded quota')) return 'QuotaExceeded';
  if (/admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied request/.test(error.message)) {
    return 'AdmissionDenied';
  }
  return error.reason === '' ? `HTTP${error.status}` : error.reason;
}
