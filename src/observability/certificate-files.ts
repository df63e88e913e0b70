import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { Logger } from './log.ts';
import { CertificateError, ServingCertificate } from './serving-certificate.ts';
import type { KeyedCertificate } from './serving-certificate.ts';

/** Where the files are. */
export interface CertificateFilesOptions {
  readonly folder: string;
  /** Names of the files in the folder. */
  readonly certificateName: string;
  readonly keyName: string;
  readonly logger: Logger;
  /** Milliseconds between two looks. Default: 10,000, as controller-runtime has it. */
  readonly everyMs?: number;
}

const EVERY_MS = 10_000;
/** Reads of a pair that changes under the reader. */
const READS = 3;
const FLAG = '--metrics-cert-path';

/**
 * A certificate in files that somebody renews, such as cert-manager by a mounted Secret. Looks at their contents again
 * and again: the kubelet swaps a symbolic link, which no watch of a file sees. Files that cannot be used never take the
 * place of ones that can; the log says so once.
 */
export class CertificateFiles extends ServingCertificate {
  readonly #options: CertificateFilesOptions;
  readonly #timer: NodeJS.Timeout;
  #problem: string | undefined;
  #looking = false;
  #closed = false;

  private constructor(first: KeyedCertificate, options: CertificateFilesOptions) {
    super(first);
    this.#options = options;
    this.#timer = setInterval(() => void this.#look(), options.everyMs ?? EVERY_MS).unref();
  }

  /**
   * Reads the files, and watches them until `close`.
   * @throws CertificateError when they cannot be used
   */
  static async open(options: CertificateFilesOptions): Promise<CertificateFiles> {
    return new CertificateFiles(await readUsable(options), options);
  }

  override close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { folder, logger } = this.#options;
    try {
      const next = await readUsable(this.#options);
      this.#problem = undefined;
      if (this.#closed) return;
      if (next.certificate === this.current.certificate && next.key === this.current.key) return;
      this.replace(next);
      const { serialNumber, validTo } = new X509Certificate(next.certificate);
      logger.info('Loaded the new certificate of metrics', { folder, serialNumber, validTo });
    } catch (error) {
      const { message } = error as Error;
      if (this.#closed || message === this.#problem) return;
      this.#problem = message;
      logger.warn('Kept the certificate of metrics, as the new one cannot be used', { error: message });
    } finally {
      this.#looking = false;
    }
  }
}

async function readUsable({ folder, certificateName, keyName }: CertificateFilesOptions): Promise<KeyedCertificate> {
  const [certificateFile, keyFile] = [join(folder, certificateName), join(folder, keyName)];
  const pair = await readPair(certificateFile, keyFile);
  // What OpenSSL says of a text it cannot read holds nothing of the text, which may be a key in the wrong file.
  const parsed = expecting(`a certificate in PEM in ${certificateFile}`, () => new X509Certificate(pair.certificate));
  const key = expecting(`a private key in PEM in ${keyFile}`, () => createPrivateKey(pair.key));
  if (!parsed.checkPrivateKey(key)) {
    throw new CertificateError(`${FLAG}: expected the key of ${certificateFile} in ${keyFile}, got another one`);
  }
  expecting(`a certificate that TLS takes in ${certificateFile}`, () =>
    createSecureContext({ cert: pair.certificate, key: pair.key }),
  );
  return pair;
}

/** Reads both files of one moment: not the certificate of before and the key of after they were swapped. */
async function readPair(certificateFile: string, keyFile: string): Promise<KeyedCertificate> {
  let certificate = await read(certificateFile);
  for (let left = READS; ; left--) {
    const key = await read(keyFile);
    const again = await read(certificateFile);
    if (again === certificate || left === 0) return { certificate: again, key };
    certificate = again;
  }
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CertificateError(`${FLAG}: expected a file that can be read, got ${(error as Error).message}`);
  }
}

function expecting<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw new CertificateError(`${FLAG}: expected ${what}, got ${(error as Error).message}`);
  }
}
