import { type KeyObject, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { isIPv4 } from 'node:net';

/** A certificate and its private key, both PEM. */
export interface KeyedCertificate {
  certificate: string;
  key: string;
}

type Usage = 'serverAuth' | 'clientAuth';

const YEAR_MS = 365 * 24 * 3600 * 1000;

/**
 * A certificate authority that lives as long as the process: it signs the serving certificate of the API server and
 * client certificates of users. It writes the DER of X.509 (RFC 5280) itself, ECDSA P-256 with SHA-256, as Node can
 * sign but not make certificates and openssl may be absent.
 */
export class CertificateAuthority {
  /** The certificate of the authority, PEM. */
  readonly certificate: string;
  readonly #key: KeyObject;
  readonly #name: Buffer;

  constructor(commonName: string) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey;
    this.#name = distinguishedName(commonName, []);
    this.certificate = this.#sign(this.#name, publicKey, [
      extension('2.5.29.19', true, sequence(BOOLEAN_TRUE)), // basicConstraints: a CA
      extension('2.5.29.15', true, Buffer.from([0x03, 0x02, 0x01, 0x06])), // keyUsage: keyCertSign, cRLSign
    ]);
  }

  /** A serving certificate for these host names and IPv4 addresses. */
  issueServer(hosts: readonly string[]): KeyedCertificate {
    const names = hosts.map((host) =>
      isIPv4(host) ? der(0x87, Buffer.from(host.split('.').map(Number))) : der(0x82, Buffer.from(host)),
    );
    return this.#issue('kube-apiserver', [], 'serverAuth', [extension('2.5.29.17', false, sequence(...names))]);
  }

  /** A client certificate that Kubernetes reads as this user (the common name) in these groups (the organizations). */
  issueClient(user: string, groups: readonly string[]): KeyedCertificate {
    return this.#issue(user, groups, 'clientAuth', []);
  }

  #issue(
    commonName: string,
    organizations: readonly string[],
    usage: Usage,
    more: readonly Buffer[],
  ): KeyedCertificate {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = this.#sign(distinguishedName(commonName, organizations), publicKey, [
      extension('2.5.29.19', true, sequence()), // basicConstraints: not a CA
      extension('2.5.29.15', true, Buffer.from([0x03, 0x02, 0x07, 0x80])), // keyUsage: digitalSignature
      extension('2.5.29.37', false, sequence(objectId(`1.3.6.1.5.5.7.3.${usage === 'serverAuth' ? '1' : '2'}`))),
      ...more,
    ]);
    return { certificate, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }

  #sign(subject: Buffer, publicKey: KeyObject, extensions: readonly Buffer[]): string {
    const now = Date.now();
    const toBeSigned = sequence(
      der(0xa0, der(0x02, Buffer.from([2]))), // version 3
      der(0x02, Buffer.concat([Buffer.from([0x01]), randomBytes(15)])), // a serial number that is positive
      ECDSA_WITH_SHA256,
      this.#name,
      sequence(time(new Date(now - 3600 * 1000)), time(new Date(now + YEAR_MS))),
      subject,
      publicKey.export({ type: 'spki', format: 'der' }),
      der(0xa3, sequence(...extensions)),
    );
    const signature = sign('sha256', toBeSigned, this.#key);
    return pem(sequence(toBeSigned, ECDSA_WITH_SHA256, bitString(signature)));
  }
}

function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  const size = body.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

function sequence(...content: readonly Uint8Array[]): Buffer {
  return der(0x30, ...content);
}

function bitString(content: Uint8Array): Buffer {
  return der(0x03, Buffer.from([0]), content);
}

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return der(0x06, Buffer.from(bytes));
}

function distinguishedName(commonName: string, organizations: readonly string[]): Buffer {
  const attribute = (type: string, value: string) => der(0x31, sequence(objectId(type), der(0x0c, Buffer.from(value))));
  return sequence(...organizations.map((name) => attribute('2.5.4.10', name)), attribute('2.5.4.3', commonName));
}

/** RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime after. */
function time(date: Date): Buffer {
  const digits = `${date.toISOString().replaceAll(/[-:T]|\..*/g, '')}Z`;
  return date.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(digits.slice(2))) : der(0x18, Buffer.from(digits));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectId(id), ...(critical ? [BOOLEAN_TRUE] : []), der(0x04, value));
}

function pem(certificate: Buffer): string {
  const lines = certificate.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

const BOOLEAN_TRUE = der(0x01, Buffer.from([0xff]));
const ECDSA_WITH_SHA256 = sequence(objectId('1.2.840.10045.4.3.2'));
