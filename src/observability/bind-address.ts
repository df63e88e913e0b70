import { isIPv4, isIPv6 } from 'node:net';

/** Where a server listens. Without a host it listens on every address; port 0 means a free port. */
export interface BindAddress {
  readonly host: string | undefined;
  readonly port: number;
}

/** How a bind address is written, for messages about a wrong one. */
export const BIND_ADDRESS_SYNTAX = '"host:port", ":port" or "[IPv6]:port"';

const HOST_NAME = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i;

/** Reads `host:port`, `:port` or `[IPv6]:port`. Returns undefined when the text is none of them. */
export function parseBindAddress(text: string): BindAddress | undefined {
  const colon = text.lastIndexOf(':');
  const portText = text.slice(colon + 1);
  if (colon < 0 || !/^\d{1,5}$/.test(portText)) return undefined;
  const port = Number(portText);
  if (port > 65_535) return undefined;

  const hostText = text.slice(0, colon);
  if (hostText === '') return { host: undefined, port };
  if (hostText.startsWith('[') && hostText.endsWith(']')) {
    const host = hostText.slice(1, -1);
    return isIPv6(host) ? { host, port } : undefined;
  }
  // Digits and dots alone are meant as an IPv4 address: a wrong one must not become a host name to look up.
  const valid = /^[\d.]+$/.test(hostText) ? isIPv4(hostText) : HOST_NAME.test(hostText);
  return valid ? { host: hostText, port } : undefined;
}

/** Writes an address as `parseBindAddress` reads it. */
export function formatBindAddress({ host, port }: BindAddress): string {
  if (host === undefined) return `:${port}`;
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
