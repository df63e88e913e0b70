import ipaddr from 'ipaddr.js';
import type { IPBlock } from '../api/networkpolicy.ts';

// ipaddr.js, because it parses and writes both families, is strict where it is asked to be, and depends on nothing.

/** Version of the Internet Protocol. */
export type Family = 4 | 6;

/** Addresses of one family from `first` to `last`, both included, as numbers. */
export interface AddressRange {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

/** The addresses of an ipBlock: those of `cidr` without those of any of `except`. */
export interface AddressBlock {
  readonly cidr: AddressRange;
  readonly except: readonly AddressRange[];
}

const BITS = { 4: 32, 6: 128 } as const;

/** Every address of a family. */
export function everyAddress(family: Family): AddressRange {
  return { family, first: 0n, last: (1n << BigInt(BITS[family])) - 1n };
}

/**
 * An address as a range of one. IPv4 is taken in its four decimal parts only. Throws RangeError for what is no address.
 */
export function parseAddress(text: string): AddressRange {
  return parse(text, `${text}/${text.includes(':') ? BITS[6] : BITS[4]}`, 'an IP address');
}

/** The range that a CIDR names; bits of the host are ignored, as plugins do. Throws RangeError for what is no CIDR. */
export function parseCIDR(text: string): AddressRange {
  return parse(text, text, 'a CIDR');
}

function parse(text: string, cidr: string, expected: string): AddressRange {
  const { IPv4, IPv6 } = ipaddr;
  if (!IPv4.isValidCIDRFourPartDecimal(cidr) && !(IPv6.isValidCIDR(cidr) && !cidr.includes('%'))) {
    throw new RangeError(`expected ${expected}, found ${JSON.stringify(text)}`);
  }
  const [address, prefix] = ipaddr.parseCIDR(cidr);
  const family = address.kind() === 'ipv4' ? 4 : 6;
  const hostBits = BigInt(BITS[family] - prefix);
  const number = BigInt(`0x${address.toByteArray().map(toHex).join('')}`);
  const first = (number >> hostBits) << hostBits;
  return { family, first, last: first + (1n << hostBits) - 1n };
}

function toHex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** An ipBlock of a policy. Throws RangeError when one of its texts is no CIDR. */
export function parseBlock(block: IPBlock): AddressBlock {
  return { cidr: parseCIDR(block.cidr), except: (block.except ?? []).map(parseCIDR) };
}

/** Whether every address of `range` is in `other`. */
export function isWithin(range: AddressRange, other: AddressRange): boolean {
  return range.family === other.family && range.first >= other.first && range.last <= other.last;
}

/** Whether a block has an address. */
export function blockContains(block: AddressBlock, address: AddressRange): boolean {
  return isWithin(address, block.cidr) && !block.except.some((except) => isWithin(address, except));
}

/** Whether a block has every address of its family. */
export function isWholeFamily(block: AddressBlock): boolean {
  return isWithin(everyAddress(block.cidr.family), block.cidr) && block.except.length === 0;
}

/**
 * The address space cut where any of `ranges` begins or ends: sorted, disjoint, and covering every IPv4 address, and
 * every IPv6 address when one of the ranges is of IPv6. Each of the given ranges has all or nothing of each piece.
 */
export function partition(ranges: readonly AddressRange[]): AddressRange[] {
  const families: Family[] = ranges.some(({ family }) => family === 6) ? [4, 6] : [4];
  return families.flatMap((family) => {
    const { last: end } = everyAddress(family);
    const firsts = new Set([0n]);
    for (const { family: of, first, last } of ranges) {
      if (of !== family) continue;
      firsts.add(first);
      if (last < end) firsts.add(last + 1n);
    }
    const sorted = [...firsts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    return sorted.map((first, index) => ({ family, first, last: (sorted[index + 1] ?? end + 1n) - 1n }));
  });
}

/** Whether `next` begins where `range` ends. */
export function isFollowedBy(range: AddressRange, next: AddressRange): boolean {
  return range.family === next.family && range.last + 1n === next.first;
}

/** Sorted, disjoint ranges with each row of neighbours as one. */
export function joinNeighbours(ranges: readonly AddressRange[]): AddressRange[] {
  const joined: AddressRange[] = [];
  for (const range of ranges) {
    const last = joined.at(-1);
    if (last !== undefined && isFollowedBy(last, range)) joined[joined.length - 1] = { ...last, last: range.last };
    else joined.push(range);
  }
  return joined;
}

/** A range as outputs write it, such as `10.0.0.0-10.255.255.255`; IPv6 as RFC 5952 has it. */
export function formatRange({ family, first, last }: AddressRange): string {
  return `${formatAddress(family, first)}-${formatAddress(family, last)}`;
}

/** An address as text; IPv6 as RFC 5952 has it. */
export function formatAddress(family: Family, address: bigint): string {
  const digits = address.toString(16).padStart(BITS[family] / 4, '0');
  const bytes = (digits.match(/../g) ?? []).map((byte) => parseInt(byte, 16));
  return family === 4 ? new ipaddr.IPv4(bytes).toString() : new ipaddr.IPv6(bytes).toRFC5952String();
}
