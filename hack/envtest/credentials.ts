import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CertificateAuthority, type KeyedCertificate } from './certificates.ts';

/**
 * What an API server proves itself with, also to kubelets, and whom it knows. API servers that are given the same ones
 * are trusted by the same clients and accept the same client certificates and tokens, those of ServiceAccounts included.
 */
export class Credentials {
  readonly authority = new CertificateAuthority('control-plane');
  /** Bearer token of the administrator: kubernetes-admin of the group system:masters. */
  readonly adminToken = randomBytes(16).toString('hex');
  readonly #server: KeyedCertificate;
  readonly #kubeletClient = this.authority.issueClient('kube-apiserver-kubelet-client', ['system:masters']);
  readonly #serviceAccounts = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  /** The API server is known by these host names and IPv4 addresses. */
  constructor(hosts: readonly string[]) {
    this.#server = this.authority.issueServer(hosts);
  }

  /** Writes the credentials to files of a folder; returns the flags by which kube-apiserver reads them. */
  async writeTo(folder: string): Promise<string[]> {
    const { publicKey, privateKey } = this.#serviceAccounts;
    const files: [flag: string, name: string, content: string | Buffer][] = [
      ['client-ca-file', 'ca.crt', this.authority.certificate],
      ['tls-cert-file', 'server.crt', this.#server.certificate],
      ['tls-private-key-file', 'server.key', this.#server.key],
      ['kubelet-certificate-authority', 'ca.crt', this.authority.certificate],
      ['kubelet-client-certificate', 'kubelet-client.crt', this.#kubeletClient.certificate],
      ['kubelet-client-key', 'kubelet-client.key', this.#kubeletClient.key],
      ['token-auth-file', 'tokens.csv', `${this.adminToken},kubernetes-admin,kubernetes-admin,"system:masters"\n`],
      ['service-account-key-file', 'service-account.pub', publicKey.export({ type: 'spki', format: 'pem' })],
      ['service-account-signing-key-file', 'service-account.key', privateKey.export({ type: 'pkcs8', format: 'pem' })],
    ];
    await Promise.all(files.map(([, name, content]) => writeFile(join(folder, name), content)));
    return files.map(([flag, name]) => `--${flag}=${join(folder, name)}`);
  }

  /** The flags by which kube-controller-manager gives pods tokens and the authority; see `writeTo`. */
  controllerManagerFlags(folder: string): string[] {
    return [
      `--service-account-private-key-file=${join(folder, 'service-account.key')}`,
      `--root-ca-file=${join(folder, 'ca.crt')}`,
    ];
  }
}
