/** A certificate, perhaps with those of its authorities after it, and its private key; both PEM. */
export interface KeyedCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** A certificate to serve with cannot be used. The message names the flag, what was expected, what came and where. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
}

/** The certificate that a server shows, which changes while the server runs. */
export abstract class ServingCertificate {
  #current: KeyedCertificate;
  readonly #listeners: ((next: KeyedCertificate) => void)[] = [];

  constructor(first: KeyedCertificate) {
    this.#current = first;
  }

  /** The one to show in new connections. */
  get current(): KeyedCertificate {
    return this.#current;
  }

  /** Calls `listener` with each certificate that takes the place of the current one. */
  onChange(listener: (next: KeyedCertificate) => void): void {
    this.#listeners.push(listener);
  }

  /** Ends the watch for a new one: from now on nothing is replaced, nor logged. */
  abstract close(): void;

  protected replace(next: KeyedCertificate): void {
    this.#current = next;
    for (const listener of this.#listeners) listener(next);
  }
}
