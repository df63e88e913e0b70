import { once } from 'node:events';
import { createServer } from 'node:net';

/** An address of loopback to listen on: with the preferred port, or with a free one when that is taken. */
export async function loopbackAddress(preferredPort: number): Promise<string> {
  return `127.0.0.1:${(await tryPort(preferredPort)) ?? (await tryPort(0)) ?? 0}`;
}

/** The port, when it can be listened on now; for 0 a free one. */
async function tryPort(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return address !== null && typeof address === 'object' ? address.port : undefined;
  } catch {
    return undefined;
  } finally {
    server.close();
  }
}
