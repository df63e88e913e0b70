/** Runs all, one after the other; who comes first differs from round to round. */
export async function inTurns(round: number, turns: readonly (() => Promise<void>)[]): Promise<void> {
  for (let turn = 0; turn < turns.length; turn++) await turns[(turn + round) % turns.length]?.();
}
