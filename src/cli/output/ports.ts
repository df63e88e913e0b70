import { MAX_PORT, type PortsJSON } from '../../analysis/port-set.ts';

/** Ports for a person: `all ports`, or such as `8080/TCP, 9000-9100/TCP, all UDP ports`. */
export function formatPorts(ports: PortsJSON): string {
  if (ports === 'all') return 'all ports';
  return ports
    .map(({ protocol, port, endPort }) => {
      if (port === 1 && endPort === MAX_PORT) return `all ${protocol} ports`;
      return `${port}${endPort === undefined ? '' : `-${endPort}`}/${protocol}`;
    })
    .join(', ');
}
