/** The flags or arguments are wrong: says what was expected and what came. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The input cannot be used: says where, what was expected and what came. */
export class InputError extends Error {
  override readonly name = 'InputError';
  /** All that is wrong, a line each. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}
