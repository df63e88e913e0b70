/**
 * Whether tests run in their long form, for the night: every crash point, every event, more seeds and random policies, half
 * an hour of churn. The short form takes samples of the same, and weakens no bound. Set by `LONG=1`, as an argument of make
 * or in the environment.
 */
export const LONG_FORM = (process.env['LONG'] ?? '') !== '';
