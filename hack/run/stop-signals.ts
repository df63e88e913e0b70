/**
 * SIGINT and SIGTERM of this process from now on, which no longer end it: whoever runs something ends that first.
 */
export class StopSignals {
  #received: NodeJS.Signals | undefined;
  #forward: ((signal: NodeJS.Signals) => void) | undefined;

  constructor() {
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.on(name, () => {
        this.#received ??= name;
        this.#forward?.(name);
      });
    }
  }

  /** Whether any has come. */
  received(): boolean {
    return this.#received !== undefined;
  }

  /** Calls back with each signal; at once with the first when one has come already. */
  forward(callback: (signal: NodeJS.Signals) => void): void {
    this.#forward = callback;
    if (this.#received !== undefined) callback(this.#received);
  }
}
