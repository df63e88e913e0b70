/** When deletions by one change of a selector are too many to happen unseen. Both limits must be passed. */
export interface BrakeLimits {
  /** Number of children. */
  readonly count: number;
  /** Share of the policy's children, in percent. */
  readonly percent: number;
}

/** The defaults of {@link BrakeLimits}. */
export const DEFAULT_BRAKE_LIMITS: BrakeLimits = { count: 10, percent: 25 };

/**
 * Whether deleting `leaving` of the `total` children that a policy has must wait for a person: more than the count and
 * more than the percentage.
 */
export function isMassDeletion(leaving: number, total: number, limits: BrakeLimits): boolean {
  return leaving > limits.count && leaving * 100 > total * limits.percent;
}
