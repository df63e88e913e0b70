import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** An answer that was read to its end. */
export interface CollectedResponse {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Whether it was longer than the limit; then it was broken off, and there is no text. */
  readonly oversized: boolean;
}

/** What may keep a request from being sent, or end it. */
export interface Interruption {
  readonly signal?: AbortSignal | undefined;
  /** Called when the request has a connection and is sent right after; if it throws, the request is not sent. */
  readonly onSend?: (() => void) | undefined;
  /** Longest answer that is read. */
  readonly maxBytes?: number | undefined;
}

/**
 * Sends a request on undici's lowest level and collects the answer as text: no stream object, no async resource and no
 * signal listener of undici's own a request. An abort rejects at once, also while the request waits for a connection,
 * which undici itself heeds only later.
 * @throws whatever undici fails with, the signal's reason, or what `onSend` throws
 */
export async function collect(
  dispatcher: Dispatcher,
  options: Dispatcher.DispatchOptions,
  { signal, onSend, maxBytes = Number.POSITIVE_INFINITY }: Interruption,
): Promise<CollectedResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<CollectedResponse>();
  let controller: Dispatcher.DispatchController | undefined;
  let statusCode = 0;
  let headers: IncomingHttpHeaders = {};
  const chunks: Buffer[] = [];
  let bytes = 0;
  const abort = (): void => {
    const reason = signal?.reason as Error;
    reject(reason);
    controller?.abort(reason);
  };
  if (signal?.aborted === true) throw signal.reason;
  signal?.addEventListener('abort', abort);
  try {
    dispatcher.dispatch(options, {
      onRequestStart: (started) => {
        controller = started;
        // Aborted while it waited for a connection: it must not be sent any more.
        if (signal?.aborted === true) started.abort(signal.reason as Error);
        else onSend?.();
      },
      onResponseStart: (_controller, status, received) => {
        statusCode = status;
        headers = received;
      },
      onResponseData: (receiving, chunk) => {
        bytes += chunk.length;
        if (bytes <= maxBytes) {
          chunks.push(chunk);
          return;
        }
        resolve({ statusCode, headers, text: '', oversized: true });
        receiving.abort(new Error('the answer is too long'));
      },
      onResponseEnd: () => {
        const [first] = chunks;
        const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
        resolve({ statusCode, headers, text: body.toString('utf8'), oversized: false });
      },
      onResponseError: (_controller, error) => {
        reject(error);
      },
    });
    return await promise;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
