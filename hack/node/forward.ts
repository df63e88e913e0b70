import {
  createServer,
  connect,
  type ListenOptions,
  type Server,
  type TcpNetConnectOpts,
  type IpcNetConnectOpts,
} from 'node:net';

/**
 * Listens, and passes each connection on, byte by byte. A process is in one network namespace; Unix sockets are in the
 * file system: two of these, one on each side, join two networks for this one use.
 */
export function forward(from: ListenOptions, to: TcpNetConnectOpts | IpcNetConnectOpts): Server {
  const server = createServer((incoming) => {
    const outgoing = connect(to);
    for (const [one, other] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  return server.listen(from);
}
