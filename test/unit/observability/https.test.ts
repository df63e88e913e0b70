import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect as connectPlainly } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { CertificateAuthority, type KeyedCertificate } from '../../../hack/envtest/certificates.ts';
import { CertificateFiles } from '../../../src/observability/certificate-files.ts';
import { startHttpEndpoints, type HttpEndpoints } from '../../../src/observability/http.ts';
import { createLogger } from '../../../src/observability/log.ts';
import type { AccessDecision } from '../../../src/observability/metrics-access.ts';
import { SelfSignedCertificate } from '../../../src/observability/self-signed-certificate.ts';
import { CertificateError, type ServingCertificate } from '../../../src/observability/serving-certificate.ts';
import { consistently, eventually } from '../../support/await.ts';
import { scrape } from '../../support/scrape.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const EVERY_MS = 10;

function serialOf({ certificate }: KeyedCertificate): string {
  return new X509Certificate(certificate).serialNumber;
}

describe('Metrics by HTTPS', function () {
  this.timeout(60_000);
  const authority = new CertificateAuthority('test');
  const cleanups: (() => unknown)[] = [];
  let log = '';
  const logger = createLogger({
    level: 'debug',
    format: 'json',
    stream: new PassThrough().setEncoding('utf8').on('data', (text: string) => (log += text)),
  });

  beforeEach(() => {
    log = '';
  });

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function serve(certificate: ServingCertificate, decision: AccessDecision = 'allowed'): Promise<HttpEndpoints> {
    const endpoints = await startHttpEndpoints({
      metricsBindAddress: LOOPBACK,
      healthProbeBindAddress: LOOPBACK,
      metrics: { contentType: 'text/plain', metrics: () => Promise.resolve('up 1\n') },
      metricsSecurity: { certificate, access: { decide: () => Promise.resolve(decision) } },
      liveness: [],
      readiness: [],
    });
    cleanups.push(() => endpoints.close());
    return endpoints;
  }

  function portOf({ metricsAddress }: HttpEndpoints): number {
    assert.ok(metricsAddress);
    return metricsAddress.port;
  }

  async function selfSigned(now?: () => number): Promise<SelfSignedCertificate> {
    const options = { hosts: ['localhost', '127.0.0.1', '::1', 'operator-abc'], logger, everyMs: EVERY_MS };
    return SelfSignedCertificate.create({ ...options, ...(now !== undefined && { now }) });
  }

  /** Whether a text holds so much of base64 that it may be a part of a key. */
  function hasBase64(text: string): boolean {
    return /[A-Z0-9+/=]{40}/i.test(text);
  }

  describe('with a self-signed certificate', () => {
    it('names the hosts, is of ECDSA P-256, and is valid for a year', async () => {
      const source = await selfSigned();
      cleanups.push(() => {
        source.close();
      });
      const certificate = new X509Certificate(source.current.certificate);
      assert.equal(
        certificate.subjectAltName,
        'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, DNS:operator-abc',
      );
      assert.ok(certificate.verify(certificate.publicKey), 'it has signed itself');
      assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
      const days = (certificate.validToDate.getTime() - Date.now()) / 86_400_000;
      assert.ok(days > 364.9 && days <= 365, String(days));
      assert.ok(certificate.validFromDate.getTime() < Date.now());
      assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    });

    it('answers who trusts that certificate, and nobody by plain HTTP', async () => {
      const source = await selfSigned();
      const port = portOf(await serve(source));
      const { status, body, serialNumber } = await scrape(port, { ca: source.current.certificate, token: 'any' });
      assert.deepEqual([status, body], [200, 'up 1\n']);
      assert.equal(serialNumber, serialOf(source.current));
      await assert.rejects(scrape(port, { ca: authority.certificate }), /self-signed certificate/);

      const plain = connectPlainly(port, '127.0.0.1');
      let received = '';
      plain.setEncoding('latin1').on('data', (text: string) => (received += text));
      plain.on('error', () => undefined);
      plain.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await once(plain, 'close');
      assert.doesNotMatch(received, /HTTP|up 1/);
    });

    it('renews it when two thirds of its life are over, and not before', async () => {
      let now = Date.now();
      const source = await selfSigned(() => now);
      const first = source.current;
      const port = portOf(await serve(source));
      now = Date.now() + 243 * 86_400_000;
      await consistently(
        () => {
          assert.equal(source.current, first);
        },
        { for: 5 * EVERY_MS },
      );
      assert.equal((await scrape(port)).serialNumber, serialOf(first));
      now = Date.now() + 244 * 86_400_000;
      await eventually(async () => {
        assert.notEqual((await scrape(port)).serialNumber, serialOf(first));
      });
      assert.match(log, /Renewed the self-signed certificate of metrics/);
    });
  });

  it('answers 401, 403 and 503 without any metrics to whom is not allowed; probes stay plain HTTP', async () => {
    for (const [decision, status, challenge] of [
      ['no-token', 401, 'Bearer'],
      ['unauthenticated', 401, 'Bearer error="invalid_token"'],
      ['forbidden', 403, undefined],
      ['unknown', 503, undefined],
    ] as const) {
      const endpoints = await serve(await selfSigned(), decision);
      const answer = await scrape(portOf(endpoints), { token: 'any' });
      assert.deepEqual([answer.status, answer.headers['www-authenticate']], [status, challenge]);
      assert.match(answer.body, new RegExp(`^${status} `));
      assert.doesNotMatch(answer.body, /up 1/);
      assert.equal((await fetch(`http://127.0.0.1:${endpoints.healthProbeAddress?.port ?? 0}/healthz`)).status, 200);
    }
  });

  it('speaks HTTP/1.1 by TLS 1.3 or 1.2, and nothing older', async () => {
    const port = portOf(await serve(await selfSigned()));
    const shake = async (options: ConnectionOptions): Promise<TLSSocket> => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
      cleanups.push(() => socket.destroy());
      await once(socket, 'secureConnect');
      return socket;
    };
    const best = await shake({ ALPNProtocols: ['h2', 'http/1.1'] });
    assert.deepEqual([best.getProtocol(), best.alpnProtocol], ['TLSv1.3', 'http/1.1']);
    assert.equal((await shake({ maxVersion: 'TLSv1.2' })).getProtocol(), 'TLSv1.2');
    await assert.rejects(
      shake({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
      /protocol version/,
    );
    await assert.rejects(shake({ ALPNProtocols: ['h2'] }), /no application protocol/);
  });

  it('closes though somebody never shakes hands', async () => {
    const endpoints = await serve(await selfSigned());
    const socket = connectPlainly(portOf(endpoints), '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    const ended = once(socket, 'close');
    socket.resume();
    await endpoints.close();
    await ended;
  });

  describe('with certificate files', () => {
    const [certificateName, keyName] = ['tls.crt', 'tls.key'];
    let folder: string;
    let generation: number;

    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'certificate-'));
      generation = 0;
      cleanups.push(() => {
        rmSync(folder, { recursive: true });
      });
    });

    /** Writes files as the kubelet does: into a new folder, to which a symbolic link is swapped in one step. */
    function mount(files: Readonly<Record<string, string>>): void {
      const name = `..${++generation}`;
      mkdirSync(join(folder, name));
      for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), text);
      symlinkSync(name, join(folder, '..data_tmp'));
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
      if (generation > 1) return;
      for (const file of [certificateName, keyName]) symlinkSync(join('..data', file), join(folder, file));
    }

    function mountPair({ certificate, key }: KeyedCertificate): void {
      mount({ [certificateName]: certificate, [keyName]: key });
    }

    async function open(): Promise<CertificateFiles> {
      return CertificateFiles.open({ folder, certificateName, keyName, logger, everyMs: EVERY_MS });
    }

    function logged(message: string): number {
      return log.split('\n').filter((line) => line.includes(`"msg":"${message}"`)).length;
    }

    it('shows new connections the new one when it is swapped, and cuts no old connection', async () => {
      const pairs = [authority.issueServer(['127.0.0.1']), authority.issueServer(['127.0.0.1'])] as const;
      mountPair(pairs[0]);
      const port = portOf(await serve(await open()));
      assert.equal((await scrape(port, { ca: authority.certificate })).serialNumber, serialOf(pairs[0]));
      const old = connect({ port, host: '127.0.0.1', ca: authority.certificate });
      cleanups.push(() => old.destroy());
      await once(old, 'secureConnect');

      mountPair(pairs[1]);
      await eventually(async () => {
        assert.equal((await scrape(port, { ca: authority.certificate })).serialNumber, serialOf(pairs[1]));
      });
      assert.equal(logged('Loaded the new certificate of metrics'), 1);
      old.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
      const [answer] = (await once(old, 'data')) as [Buffer];
      assert.match(answer.toString(), /^HTTP\/1\.1 200 /);
    });

    it('keeps the old one while the new one is broken, says so once for each reason, and takes the next', async () => {
      const [first, other, last] = [1, 2, 3].map(() => authority.issueServer(['127.0.0.1']));
      assert.ok(first && other && last);
      mountPair(first);
      const port = portOf(await serve(await open()));
      const broken: readonly (readonly [Record<string, string>, RegExp])[] = [
        [{ [certificateName]: 'rubbish', [keyName]: last.key }, /expected a certificate in PEM in \S+tls\.crt, got/],
        [{ [certificateName]: last.certificate, [keyName]: '' }, /expected a private key in PEM in \S+tls\.key, got/],
        [
          { [certificateName]: last.certificate, [keyName]: other.key },
          /expected the key of \S+tls\.crt in \S+tls\.key, got another one/,
        ],
        [{ [keyName]: last.key }, /expected a file that can be read, got ENOENT/],
        // Swapped by mistake: what the key is must not be told.
        [{ [certificateName]: last.key, [keyName]: last.certificate }, /expected a certificate in PEM/],
      ];
      const kept = 'Kept the certificate of metrics, as the new one cannot be used';
      for (const [index, [files, reason]] of broken.entries()) {
        mount(files);
        await eventually(() => {
          assert.equal(logged(kept), index + 1, log);
        });
        assert.match(log.trim().split('\n').at(-1) ?? '', reason);
        assert.equal((await scrape(port, { ca: authority.certificate })).serialNumber, serialOf(first));
      }
      // Many looks later it has said nothing more.
      await consistently(
        () => {
          assert.equal(logged(kept), broken.length);
        },
        { for: 10 * EVERY_MS },
      );
      assert.equal(hasBase64(log), false, log);
      mountPair(last);
      await eventually(async () => {
        assert.equal((await scrape(port, { ca: authority.certificate })).serialNumber, serialOf(last));
      });
      assert.equal(logged(kept), broken.length);
    });

    it('cannot be started with files that cannot be used', async () => {
      const pair = authority.issueServer(['127.0.0.1']);
      mountPair({ certificate: pair.certificate, key: authority.issueServer(['127.0.0.1']).key });
      await assert.rejects(
        open(),
        (error) => error instanceof CertificateError && error.message.endsWith('got another one'),
      );
      unlinkSync(join(folder, keyName));
      await assert.rejects(
        open(),
        (error) =>
          error instanceof CertificateError &&
          /^--metrics-cert-path: expected a file that can be read, got ENOENT.*tls\.key/.test(error.message),
      );
    });
  });
});
