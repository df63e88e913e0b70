/** The part of `metav1.Status` that tells one failure from another. */
export interface StatusBody {
  readonly message?: string;
  readonly reason?: string;
  readonly code?: number;
  readonly details?: {
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly { readonly reason?: string; readonly message?: string; readonly field?: string }[];
  };
}

/**
 * Characters of a server's message that are kept. An invalid object is told field by field, by up to megabytes; logs and
 * statuses must not grow with it, and the API server refuses a condition whose message has more than 32,768 bytes.
 */
const MAX_MESSAGE = 1_000;

/** The API server answered, with a status of 400 or more. */
export class APIError extends Error {
  /** HTTP status, or the code of a `Status` that came inside a watch. */
  readonly status: number;
  /** `reason` of the `Status`, e.g. AlreadyExists, or empty. */
  readonly reason: string;
  readonly details: StatusBody['details'];
  /** How long the server asks to wait before the next try, if it does. */
  readonly retryAfterMs: number | undefined;

  constructor(request: string, status: number, body: StatusBody | undefined, retryAfterMs?: number) {
    super(`${request}: ${status} ${(body?.message ?? body?.reason ?? 'no message').slice(0, MAX_MESSAGE)}`);
    this.name = 'APIError';
    this.status = status;
    this.reason = body?.reason ?? '';
    this.details = body?.details;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the failure has a cause of that reason, as `apierrors.HasStatusCause` tells. */
  hasCause(reason: string): boolean {
    return this.details?.causes?.some((cause) => cause.reason === reason) ?? false;
  }
}

/** No answer came: refused, reset, timed out, or not HTTP. The server may have done what was asked all the same. */
export class ConnectionError extends Error {
  constructor(request: string, cause: unknown) {
    super(`${request}: ${describe(cause)}`, { cause });
    this.name = 'ConnectionError';
  }
}

/** A write was not sent: this process might not write any more when its turn came. */
export class FencedError extends Error {
  constructor(request: string) {
    super(`${request}: not sent, as this process may not write any more`);
    this.name = 'FencedError';
  }
}

/** The answer was longer than the request allows, and was not read to its end. */
export class OversizedAnswerError extends Error {
  constructor(request: string, maxBytes: number) {
    super(`${request}: expected an answer of at most ${maxBytes} bytes, got a longer one`);
    this.name = 'OversizedAnswerError';
  }
}

/** Whether a failed write may have been done all the same: no answer came, or one that says nothing about it. */
export function mayHaveBeenDone(error: unknown): boolean {
  return error instanceof ConnectionError || (error instanceof APIError && error.status >= 500);
}

function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  if (cause instanceof AggregateError && cause.errors.length > 0) return describe(cause.errors[0]);
  const code = 'code' in cause && typeof cause.code === 'string' ? ` (${cause.code})` : '';
  return `${cause.message}${cause.message.includes(code.slice(2, -1)) ? '' : code}`;
}

/** Whether the object of a request does not exist. */
export function isNotFound(error: unknown): boolean {
  return error instanceof APIError && error.status === 404;
}

/** Whether an update or a delete lost a race: what it was based on is not current. */
export function isConflict(error: unknown): boolean {
  return error instanceof APIError && error.status === 409 && error.reason !== 'AlreadyExists';
}

/** Whether a create met an object of that name. */
export function isAlreadyExists(error: unknown): boolean {
  return error instanceof APIError && error.status === 409 && error.reason === 'AlreadyExists';
}

/** Whether a resourceVersion or a continue token is too old to go on from: only a new list helps. */
export function isExpired(error: unknown): boolean {
  return error instanceof APIError && error.status === 410;
}

/** Whether a create was refused because its namespace is being deleted, or is gone. */
export function isNamespaceGone(error: unknown): boolean {
  if (!(error instanceof APIError)) return false;
  if (error.status === 403) return error.hasCause('NamespaceTerminating');
  return error.status === 404;
}
