import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CertificateAuthority } from './certificates.ts';

/**
 * What an API server on 127.0.0.1 proves itself with, and whom it knows. API servers that are given the same ones are
 * trusted by the same clients and accept the same client certificates and tokens, those of ServiceAccounts included.
 */
export class Credentials {
  readonly authority = new CertificateAuthority('control-plane');
  /** Bearer token of the administrator: kubernetes-admin of the group system:masters. */
  readonly adminToken = randomBytes(16).toString('hex');
  readonly #server = this.authority.issueServer(['127.0.0.1', '10.0.0.1', 'localhost', 'kubernetes.default.svc']);
  readonly #serviceAccounts = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  /** Writes the credentials to files of a folder; returns the flags by which kube-apiserver reads them. */
  async writeTo(folder: string): Promise<string[]> {
    const { publicKey, privateKey } = this.#serviceAccounts;
    const files: [flag: string, name: string, content: string | Buffer][] = [
      ['client-ca-file', 'ca.crt', this.authority.certificate],
      ['tls-cert-file', 'server.crt', this.#server.certificate],
      ['tls-private-key-file', 'server.key', this.#server.key],
      ['token-auth-file', 'tokens.csv', `${this.adminToken},kubernetes-admin,kubernetes-admin,"system:masters"\n`],
      ['service-account-key-file', 'service-account.pub', publicKey.export({ type: 'spki', format: 'pem' })],
      ['service-account-signing-key-file', 'service-account.key', privateKey.export({ type: 'pkcs8', format: 'pem' })],
    ];
    await Promise.all(files.map(([, name, content]) => writeFile(join(folder, name), content)));
    return files.map(([flag, name]) => `--${flag}=${join(folder, name)}`);
  }
}
