import { parseAddress, type AddressRange } from './address.ts';
import { compareText, namespaceLabels, workloadName, type Cluster, type Workload } from './cluster.ts';
import type { Endpoint } from './evaluate.ts';
import { blockRanges, readPolicies, type Policy } from './policy.ts';

/** A cluster whose policies are read and checked: what every question is asked of. */
export interface Model {
  readonly cluster: Cluster;
  /** Sorted by namespace and name. */
  readonly policies: readonly Policy[];
  /** Sorted by name; see workloadName. */
  readonly workloads: readonly Workload[];
  /** Whether a rule speaks of IPv6; outside addresses are else those of IPv4. */
  readonly usesIPv6: boolean;
}

/**
 * Reads a cluster. Throws PolicyError for a policy that the API server would not take, and RangeError for two
 * workloads of one name, or two policies of one name.
 */
export function readModel(cluster: Cluster): Model {
  const policies = readPolicies(cluster.policies);
  const workloads = [...cluster.workloads].sort((a, b) => compareText(workloadName(a), workloadName(b)));
  refuseTwins('workload', workloads.map(workloadName));
  refuseTwins(
    'NetworkPolicy',
    policies.map(({ namespace, name }) => `${namespace}/${name}`),
  );
  const usesIPv6 = blockRanges(policies).some(({ family }) => family === 6);
  return { cluster, policies, workloads, usesIPv6 };
}

/** The names are sorted. */
function refuseTwins(what: string, names: readonly string[]): void {
  const twin = names.find((name, index) => name === names[index + 1]);
  if (twin !== undefined) throw new RangeError(`expected one ${what} ${twin}, found two`);
}

/** Known addresses of a workload's pods. Throws RangeError when one is no IP address. */
export function knownAddresses(workload: Workload): AddressRange[] {
  return (workload.ips ?? []).map((ip) => {
    try {
      return parseAddress(ip);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RangeError(`${workloadName(workload)}: ${error.message}`, { cause: error });
    }
  });
}

/** A workload as selectors see it, with the addresses that ipBlocks see. */
export function podEndpoint(cluster: Cluster, workload: Workload, addresses: Endpoint['addresses']): Endpoint {
  const { namespace, labels, ports } = workload;
  return { pod: { namespace, namespaceLabels: namespaceLabels(cluster, namespace), labels }, addresses, ports };
}

/** Something that no selector matches, with the addresses that ipBlocks see. */
export function addressEndpoint(addresses: Endpoint['addresses']): Endpoint {
  return { addresses, ports: [] };
}
