import { open } from 'node:fs/promises';

/**
 * One event of the API server's audit log, level Metadata (audit.k8s.io/v1, the fields that a test looks at). A request
 * has one event of stage `ResponseComplete`; a watch has one of stage `ResponseStarted` too, when it starts.
 */
export interface AuditEvent {
  auditID: string;
  stage: 'ResponseStarted' | 'ResponseComplete' | 'Panic';
  /** Lower case: get, list, watch, create, update, patch, delete, deletecollection, and HTTP's for other URLs. */
  verb: string;
  /** Path and query. */
  requestURI: string;
  user: { username: string; groups?: string[] };
  impersonatedUser?: { username: string; groups?: string[] };
  userAgent?: string;
  objectRef?: {
    apiGroup?: string;
    apiVersion?: string;
    resource?: string;
    subresource?: string;
    namespace?: string;
    name?: string;
    resourceVersion?: string;
  };
  responseStatus?: { code?: number; reason?: string; message?: string };
  requestReceivedTimestamp: string;
  stageTimestamp: string;
}

/** A point in the life of an API server: what it received later comes after the mark. */
export interface AuditMark {
  /** Bytes of the log that were written before. */
  readonly offset: number;
  /** When the mark was made, by the clock and in the format of `requestReceivedTimestamp`. */
  readonly at: string;
}

/** Before all requests. */
export const AUDIT_START: AuditMark = { offset: 0, at: '' };

/** Audits every request with its metadata, when its response starts (watches) and when it is complete. */
export const AUDIT_POLICY = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`;

/** Reads the whole lines of the audit log after `since`, an offset in bytes, and tells where the last one ends. */
export async function readAuditLog(path: string, since: number): Promise<{ events: AuditEvent[]; end: number }> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.max(0, size - since));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, since);
    const whole = bytes.subarray(0, bytes.subarray(0, bytesRead).lastIndexOf('\n') + 1);
    const lines = whole.toString('utf8').split('\n').slice(0, -1);
    return { events: lines.map((line) => JSON.parse(line) as AuditEvent), end: since + whole.length };
  } finally {
    await file.close();
  }
}
