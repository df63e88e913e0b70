/**
 * Whether fault tests run in their long form, for the night: every crash point, every event, more seeds, half an hour of
 * churn. The short form takes samples of the same, and weakens no bound. Set by `make test-faults LONG=1`.
 */
export const LONG_FORM = process.env['FAULTS'] === 'long';
