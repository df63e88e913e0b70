import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** An answer that was read to its end. */
export interface CollectedResponse {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/**
 * Sends a request on undici's lowest level and collects the answer as text: no stream object, no async resource and no
 * signal listener of undici's own a request. An abort rejects at once, also while the request waits for a connection,
 * which undici itself heeds only later.
 * @throws whatever undici fails with, or the signal's reason
 */
export async function collect(
  dispatcher: Dispatcher,
  options: Dispatcher.DispatchOptions,
  signal: AbortSignal | undefined,
): Promise<CollectedResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<CollectedResponse>();
  let controller: Dispatcher.DispatchController | undefined;
  let statusCode = 0;
  let headers: IncomingHttpHeaders = {};
  const chunks: Buffer[] = [];
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
      },
      onResponseStart: (_controller, status, received) => {
        statusCode = status;
        headers = received;
      },
      onResponseData: (_controller, chunk) => {
        chunks.push(chunk);
      },
      onResponseEnd: () => {
        const [first] = chunks;
        const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
        resolve({ statusCode, headers, text: body.toString('utf8') });
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
