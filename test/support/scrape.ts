import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import { TLSSocket } from 'node:tls';
import type { KubeClient } from './kube.ts';

/** The answer to a scrape, and the serial number of the certificate that the server has shown. */
export interface ScrapeAnswer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly serialNumber: string;
}

/**
 * Gets /metrics by HTTPS, on a new connection, as Prometheus does with `insecure_skip_verify`; with an authority it
 * verifies. Rejects when there is no connection, or the server is not who it should be.
 */
export async function scrape(
  port: number | string,
  { token, authorization, ca }: { token?: string; authorization?: string; ca?: string } = {},
): Promise<ScrapeAnswer> {
  const header = authorization ?? (token === undefined ? undefined : `Bearer ${token}`);
  const sent = request({
    host: '127.0.0.1',
    port,
    path: '/metrics',
    agent: false,
    headers: header === undefined ? {} : { authorization: header },
    ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
  }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  assert.ok(response.socket instanceof TLSSocket);
  const serialNumber = response.socket.getPeerX509Certificate()?.serialNumber ?? '';
  return { status: response.statusCode, headers: response.headers, body: await text(response), serialNumber };
}

/** A token of a ServiceAccount, for the API server unless other audiences are given. */
export async function tokenOf(
  kube: KubeClient,
  namespace: string,
  name: string,
  audiences?: readonly string[],
): Promise<string> {
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
  const spec = { expirationSeconds: 3600, ...(audiences !== undefined && { audiences }) };
  const { status } = (await kube.request('POST', path, { body: { spec } })) as { status: { token: string } };
  return status.token;
}
