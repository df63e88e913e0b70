/** The value below which a share of all lies (nearest rank); `share` between 0 and 1. NaN for no values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/** The middle one of the values, the lower of two; NaN for no values. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Minimum, median and maximum of the rounds of one figure. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  return { min: Math.min(...values), median: median(values), max: Math.max(...values) };
}
