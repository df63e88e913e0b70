import { X509Certificate, createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { ExtendedKeyUsageExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import type { Logger } from './log.ts';
import { ServingCertificate } from './serving-certificate.ts';
import type { KeyedCertificate } from './serving-certificate.ts';

/** What a self-signed certificate says, and for how long. */
export interface SelfSignedOptions {
  /** Host names and IP addresses that it is for. */
  readonly hosts: readonly string[];
  readonly logger: Logger;
  /** Wall clock, in milliseconds since the epoch. */
  readonly now?: () => number;
  /** Milliseconds between two looks at its age. Default: an hour. */
  readonly everyMs?: number;
}

const HOUR_MS = 3_600_000;
const LIFETIME_MS = 365 * 24 * HOUR_MS;
/** It is renewed when this much of its life is left. */
const RENEW_BEFORE_MS = LIFETIME_MS / 3;
/** Clocks of others may be late. */
const BACKDATED_MS = HOUR_MS;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/**
 * A certificate that the process makes for itself, with a key that never leaves it, and renews a good while before its
 * end. It encrypts, but proves nothing: who has to verify the server needs certificate files.
 */
export class SelfSignedCertificate extends ServingCertificate {
  readonly #options: SelfSignedOptions;
  readonly #timer: NodeJS.Timeout;
  #renewAt: number;
  #renewing = false;
  #closed = false;

  private constructor(first: KeyedCertificate, options: SelfSignedOptions) {
    super(first);
    this.#options = options;
    this.#renewAt = renewalTime(first);
    this.#timer = setInterval(() => void this.#renew(), options.everyMs ?? HOUR_MS).unref();
  }

  /** Makes one that is valid for a year, and renews it until `close`. */
  static async create(options: SelfSignedOptions): Promise<SelfSignedCertificate> {
    return new SelfSignedCertificate(await selfSigned(options), options);
  }

  override close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  async #renew(): Promise<void> {
    const { now = Date.now, logger } = this.#options;
    if (this.#renewing || now() < this.#renewAt) return;
    this.#renewing = true;
    try {
      const next = await selfSigned(this.#options);
      if (this.#closed) return;
      this.#renewAt = renewalTime(next);
      this.replace(next);
      logger.info('Renewed the self-signed certificate of metrics', {
        serialNumber: new X509Certificate(next.certificate).serialNumber,
      });
    } catch (error) {
      logger.error('Failed to renew the self-signed certificate of metrics', { error });
    } finally {
      this.#renewing = false;
    }
  }
}

function renewalTime({ certificate }: KeyedCertificate): number {
  return new X509Certificate(certificate).validToDate.getTime() - RENEW_BEFORE_MS;
}

async function selfSigned({ hosts, now = Date.now }: SelfSignedOptions): Promise<KeyedCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=baseline-policy-operator',
    // Positive, and of no more than 20 octets: RFC 5280, 4.1.2.2.
    serialNumber: `01${randomBytes(15).toString('hex')}`,
    notBefore: new Date(now() - BACKDATED_MS),
    notAfter: new Date(now() + LIFETIME_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new ExtendedKeyUsageExtension([SERVER_AUTH]),
      new SubjectAlternativeNameExtension(
        hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host })),
      ),
    ],
  });
  const key = createPrivateKey({
    key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)),
    format: 'der',
    type: 'pkcs8',
  });
  return { certificate: certificate.toString('pem'), key: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** id-kp-serverAuth: RFC 5280, 4.2.1.12. */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
