import assert from 'node:assert/strict';
import fc from 'fast-check';
import { UsageError, helpText, parseDuration, parseFlags } from '../../src/config.ts';
import type { Options } from '../../src/config.ts';

function run(argv: readonly string[], env: Record<string, string> = {}, isTTY = false): Options {
  const commandLine = parseFlags(argv, env, isTTY);
  assert.equal(commandLine.kind, 'run');
  return commandLine.options;
}

function problemsOf(argv: readonly string[], env: Record<string, string> = {}): readonly string[] {
  try {
    parseFlags(argv, env);
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    return error.problems;
  }
  return assert.fail(`no UsageError for ${argv.join(' ')}`);
}

const DEFAULTS: Options = {
  kubeconfig: undefined,
  metricsBindAddress: { host: undefined, port: 8080 },
  metricsSecure: false,
  metricsCertPath: undefined,
  metricsCertName: 'tls.crt',
  metricsCertKey: 'tls.key',
  healthProbeBindAddress: { host: undefined, port: 8081 },
  leaderElect: false,
  leaderElectionNamespace: undefined,
  leaderElectionId: 'baseline-policy-operator.baselinepolicy.dev',
  leaseDurationMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2000,
  concurrency: 16,
  logLevel: 'info',
  logFormat: 'json',
  protectedNamespaces: ['kube-system', 'kube-public', 'kube-node-lease'],
  namespace: undefined,
  resyncPeriodMs: 3_600_000,
  deletionBrakeCount: 10,
  deletionBrakePercent: 25,
  listPageSize: 500,
  kubeApiTimeoutMs: 30_000,
  shutdownTimeoutMs: 30_000,
};

/** Flag, text, and the options it changes. Every flag is in it at least once. */
const VALUES: readonly (readonly [string, string, Partial<Options>])[] = [
  ['kubeconfig', '/home/me/.kube/config', { kubeconfig: '/home/me/.kube/config' }],
  ['kubeconfig', '-', { kubeconfig: '-' }],
  ['metrics-bind-address', '127.0.0.1:9090', { metricsBindAddress: { host: '127.0.0.1', port: 9090 } }],
  ['metrics-bind-address', ':0', { metricsBindAddress: { host: undefined, port: 0 } }],
  ['metrics-bind-address', '0', { metricsBindAddress: undefined }],
  ['health-probe-bind-address', '[::1]:8081', { healthProbeBindAddress: { host: '::1', port: 8081 } }],
  ['health-probe-bind-address', 'localhost:65535', { healthProbeBindAddress: { host: 'localhost', port: 65_535 } }],
  ['health-probe-bind-address', '0', { healthProbeBindAddress: undefined }],
  ['leader-election-namespace', 'platform', { leaderElectionNamespace: 'platform' }],
  ['leader-election-id', 'team-a.example.com', { leaderElectionId: 'team-a.example.com' }],
  ['leader-election-lease-duration', '1m', { leaseDurationMs: 60_000 }],
  ['leader-election-renew-deadline', '12s500ms', { renewDeadlineMs: 12_500 }],
  ['leader-election-retry-period', '500ms', { retryPeriodMs: 500 }],
  ['concurrency', '1', { concurrency: 1 }],
  ['concurrency', '256', { concurrency: 256 }],
  ['log-level', 'debug', { logLevel: 'debug' }],
  ['log-level', 'error', { logLevel: 'error' }],
  ['log-format', 'text', { logFormat: 'text' }],
  ['protected-namespaces', 'kube-system, infra,', { protectedNamespaces: ['kube-system', 'infra'] }],
  ['namespace', 'baseline', { namespace: 'baseline' }],
  ['resync-period', '0', { resyncPeriodMs: 0 }],
  ['resync-period', '10h', { resyncPeriodMs: 36_000_000 }],
  ['deletion-brake-count', '0', { deletionBrakeCount: 0 }],
  ['deletion-brake-percent', '100', { deletionBrakePercent: 100 }],
  ['list-page-size', '50', { listPageSize: 50 }],
  ['kube-api-timeout', '1m30s', { kubeApiTimeoutMs: 90_000 }],
  ['shutdown-timeout', '5s', { shutdownTimeoutMs: 5000 }],
];

/** Arguments and the one problem they have. */
const PROBLEMS: readonly (readonly [readonly string[], string])[] = [
  [['--kubeconfig'], '--kubeconfig: expected a path, got no value'],
  [['--kubeconfig='], '--kubeconfig: expected a path, got ""'],
  [['--kubeconfig', '--leader-elect'], '--kubeconfig: expected a path, got no value'],
  ...['8080', ':', ':65536', ':http', '::1:8080', '[::1]', '[1.2.3.4]:80', '256.1.1.1:80', 'a b:80', '*:80', ''].map(
    (text) =>
      [
        [`--metrics-bind-address=${text}`],
        `--metrics-bind-address: expected "host:port", ":port" or "[IPv6]:port", or "0" for none, got "${text}"`,
      ] as const,
  ),
  [
    ['--health-probe-bind-address', 'x'],
    '--health-probe-bind-address: expected "host:port", ":port" or "[IPv6]:port", or "0" for none, got "x"',
  ],
  [['--metrics-secure=yes'], '--metrics-secure: expected true or false, got "yes"'],
  [['--metrics-secure', '--metrics-cert-path='], '--metrics-cert-path: expected a path, got ""'],
  [['--metrics-cert-path=/tls'], '--metrics-cert-path: expected --metrics-secure with it, got --metrics-secure=false'],
  ...['', '..', 'a/b'].map(
    (text) =>
      [
        ['--metrics-secure', '--metrics-cert-path=/tls', `--metrics-cert-name=${text}`],
        `--metrics-cert-name: expected the name of a file, without a folder, got "${text}"`,
      ] as const,
  ),
  [
    ['--metrics-secure', '--metrics-cert-name=tls.pem'],
    '--metrics-cert-name: expected --metrics-cert-path with it, got none',
  ],
  [
    ['--metrics-secure', '--metrics-cert-key=tls.pem'],
    '--metrics-cert-key: expected --metrics-cert-path with it, got none',
  ],
  [
    ['--metrics-secure', '--metrics-bind-address=:8081'],
    '--health-probe-bind-address: expected another address than --metrics-bind-address, as probes use plain HTTP and ' +
      '--metrics-secure means HTTPS, got ":8081"',
  ],
  [['--leader-elect=yes'], '--leader-elect: expected true or false, got "yes"'],
  [['--leader-elect='], '--leader-elect: expected true or false, got ""'],
  [['--leader-elect', 'false'], 'unexpected argument "false": expected only flags; write --leader-elect=false'],
  [
    ['--leader-election-namespace=a.b'],
    '--leader-election-namespace: expected the name of a namespace (a DNS label), got "a.b"',
  ],
  [['--leader-election-id=A'], '--leader-election-id: expected the name of a Lease (a DNS subdomain), got "A"'],
  [
    ['--leader-election-id', `${'a.'.repeat(127)}a`],
    `--leader-election-id: expected the name of a Lease (a DNS subdomain), got "${'a.'.repeat(127)}a"`,
  ],
  [
    ['--leader-election-lease-duration=900ms'],
    '--leader-election-lease-duration: expected a duration from 1s to 596h, such as 15s, got "900ms"',
  ],
  [
    ['--leader-election-renew-deadline', '15s'],
    '--leader-election-lease-duration: expected more than --leader-election-renew-deadline (15s), got 15s',
  ],
  [
    ['--leader-election-retry-period', '9s'],
    '--leader-election-renew-deadline: expected more than 1.2 times --leader-election-retry-period (9s), got 10s',
  ],
  [
    ['--leader-election-retry-period', '0'],
    '--leader-election-retry-period: expected a duration from 1ms to 596h, such as 15s, got "0"',
  ],
  ...['0', '257', '-1', '1.5', '1e2', 'many', ''].map(
    (text) => [['--concurrency', text], `--concurrency: expected a whole number from 1 to 256, got "${text}"`] as const,
  ),
  [['--log-level=trace'], '--log-level: expected debug, info, warn, error, got "trace"'],
  [['--log-format=xml'], '--log-format: expected json, text, got "xml"'],
  [
    ['--protected-namespaces=kube-system,kube_public'],
    '--protected-namespaces: expected names of namespaces (DNS labels) with commas between, got "kube-system,kube_public"',
  ],
  [
    ['--namespace', 'a'.repeat(64)],
    `--namespace: expected the name of a namespace (a DNS label), got "${'a'.repeat(64)}"`,
  ],
  [['--resync-period=-1s'], '--resync-period: expected a duration from 0 to 596h, such as 15s, got "-1s"'],
  [['--resync-period=10'], '--resync-period: expected a duration from 0 to 596h, such as 15s, got "10"'],
  [['--resync-period=597h'], '--resync-period: expected a duration from 0 to 596h, such as 15s, got "597h"'],
  [['--deletion-brake-count=x'], '--deletion-brake-count: expected a whole number from 0 to 1000000, got "x"'],
  [['--deletion-brake-percent=101'], '--deletion-brake-percent: expected a whole number from 0 to 100, got "101"'],
  [['--list-page-size=0'], '--list-page-size: expected a whole number from 1 to 10000, got "0"'],
  [['--kube-api-timeout=0'], '--kube-api-timeout: expected a duration from 1ms to 596h, such as 15s, got "0"'],
  [['--shutdown-timeout=soon'], '--shutdown-timeout: expected a duration from 0 to 596h, such as 15s, got "soon"'],
  [['--leader-elct'], 'unknown flag --leader-elct; did you mean --leader-elect?'],
  [['--leader_elect'], 'unknown flag --leader_elect; did you mean --leader-elect?'],
  [['-leader-elect'], 'unknown flag -leader-elect; did you mean --leader-elect?'],
  [['--metric-bind-address=:1'], 'unknown flag --metric-bind-address; did you mean --metrics-bind-address?'],
  [['--verison'], 'unknown flag --verison; did you mean --version?'],
  [['--zap-devel'], 'unknown flag --zap-devel; see --help'],
  [['-v'], 'unknown flag -v; see --help'],
  [['--__proto__=1'], 'unknown flag --__proto__; see --help'],
  [['start'], 'unexpected argument "start": expected only flags'],
  [['--', '--help'], 'unexpected argument "--help": expected only flags'],
];

describe('flags', () => {
  it('have the documented defaults', () => {
    assert.deepEqual(run([]), DEFAULTS);
  });

  for (const [name, text, changed] of VALUES) {
    it(`reads --${name} ${text}, with a space and with =`, () => {
      assert.deepEqual(run([`--${name}`, text]), { ...DEFAULTS, ...changed });
      assert.deepEqual(run([`--${name}=${text}`]), { ...DEFAULTS, ...changed });
    });
  }

  it('reads a boolean with and without a value', () => {
    assert.equal(run(['--leader-elect']).leaderElect, true);
    assert.equal(run(['--leader-elect=true']).leaderElect, true);
    assert.equal(run(['--leader-elect', '--leader-elect=false']).leaderElect, false);
  });

  it('reads the flags of the certificate of metrics, which go together', () => {
    const argv = ['--metrics-secure', '--metrics-cert-path', '/tls'];
    const secure = { ...DEFAULTS, metricsSecure: true, metricsCertPath: '/tls' };
    assert.deepEqual(run(argv), secure);
    assert.deepEqual(run([...argv, '--metrics-cert-name=server.pem', '--metrics-cert-key', 'server-key.pem']), {
      ...secure,
      metricsCertName: 'server.pem',
      metricsCertKey: 'server-key.pem',
    });
  });

  it('lets metrics and probes have one address while both are plain HTTP, or on free ports', () => {
    const both = (address: string) => [`--metrics-bind-address=${address}`, `--health-probe-bind-address=${address}`];
    assert.equal(run(both(':8080')).metricsSecure, false);
    assert.equal(run([...both('127.0.0.1:0'), '--metrics-secure']).metricsSecure, true);
    assert.equal(run([...both('0'), '--metrics-secure']).metricsSecure, true);
  });

  it('lets an empty list replace the default list', () => {
    assert.deepEqual(run(['--protected-namespaces=']).protectedNamespaces, []);
  });

  it('takes the last of several values', () => {
    assert.equal(run(['--concurrency=1', '--concurrency', '2']).concurrency, 2);
  });

  it('logs text on a terminal unless told otherwise', () => {
    assert.equal(run([], {}, true).logFormat, 'text');
    assert.equal(run(['--log-format=json'], {}, true).logFormat, 'json');
  });

  it('takes the namespace from POD_NAMESPACE, but the flag wins', () => {
    assert.equal(run([], { POD_NAMESPACE: 'from-env' }).namespace, 'from-env');
    assert.equal(run([], { POD_NAMESPACE: '' }).namespace, undefined);
    assert.equal(run(['--namespace=from-flag'], { POD_NAMESPACE: 'Bad Name' }).namespace, 'from-flag');
    assert.deepEqual(problemsOf([], { POD_NAMESPACE: 'Bad Name' }), [
      'environment variable POD_NAMESPACE: expected the name of a namespace (a DNS label), got "Bad Name"',
    ]);
  });

  it('are frozen', () => {
    const options = run([]);
    assert.ok(Object.isFrozen(options));
    assert.ok(Object.isFrozen(options.protectedNamespaces));
  });

  for (const [argv, problem] of PROBLEMS) {
    it(`refuses ${argv.join(' ').slice(0, 60)}`, () => {
      assert.deepEqual(problemsOf(argv), [problem]);
    });
  }

  it('lists every problem in one message', () => {
    const argv = [
      '--concurency=2',
      '--log-level',
      'loud',
      '--kubeconfig',
      '--concurrency=0',
      '--concurrency=x',
      'stray',
    ];
    assert.throws(
      () => parseFlags(argv, { POD_NAMESPACE: '?' }),
      new UsageError([
        'unknown flag --concurency; did you mean --concurrency?',
        '--kubeconfig: expected a path, got no value',
        'unexpected argument "stray": expected only flags',
        '--concurrency: expected a whole number from 1 to 256, got "0"',
        '--concurrency: expected a whole number from 1 to 256, got "x"',
        '--log-level: expected debug, info, warn, error, got "loud"',
        'environment variable POD_NAMESPACE: expected the name of a namespace (a DNS label), got "?"',
      ]),
    );
    assert.equal(
      new UsageError(['one', 'two']).message,
      'Cannot start with these flags:\n  one\n  two\nRun with --help to see all flags.',
    );
  });

  it('does not compare a duration with one that could not be read', () => {
    assert.equal(problemsOf(['--leader-election-lease-duration=1s', '--leader-election-renew-deadline=x']).length, 1);
  });

  it('answer --help and --version whatever else is wrong', () => {
    assert.deepEqual(parseFlags(['--help', '--bogus'], {}), { kind: 'help' });
    assert.deepEqual(parseFlags(['--concurrency=0', '-h'], {}), { kind: 'help' });
    assert.deepEqual(parseFlags(['--version', '--bogus'], {}), { kind: 'version' });
    assert.deepEqual(parseFlags(['--version', '--help'], {}), { kind: 'help' });
  });

  it('never throw anything but a UsageError', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom(...VALUES.flatMap(([name, text]) => [`--${name}`, `--${name}=${text}`, text])),
      fc.constantFrom('--', '-', '-h', '-abc', '--=', '--leader-elect', '--constructor'),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (argv) => {
        try {
          parseFlags(argv, {});
        } catch (error) {
          assert.ok(error instanceof UsageError && error.problems.length > 0, String(error));
        }
      }),
    );
  });
});

describe('help', () => {
  it('lists every flag of the table of tests, and its default', () => {
    const metrics = ['metrics-secure', 'metrics-cert-path', 'metrics-cert-name', 'metrics-cert-key'];
    const flags = [...new Set(VALUES.map(([name]) => name)), ...metrics, 'leader-elect', 'help', 'version'].sort();
    const listed = [...helpText().matchAll(/^ {2}--([a-z-]+)/gm)].map(([, name]) => name).sort();
    assert.deepEqual(listed, flags);
    assert.match(helpText(), /--metrics-bind-address address\n {8}.*\(default :8080\)/);
    assert.match(helpText(), /--log-format json\|text\n {8}.*\(default json, or text on a terminal\)/);
    assert.match(helpText(), /--namespace namespace\n {8}.*\$POD_NAMESPACE/);
  });

  it('has a flag for every option', () => {
    const flags = [...helpText().matchAll(/^ {2}--([a-z-]+)/gm)].length;
    assert.equal(flags, Object.keys(DEFAULTS).length + 2);
  });
});

describe('parseDuration', () => {
  const valid: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['0s', 0],
    ['500ms', 500],
    ['15s', 15_000],
    ['1m30s', 90_000],
    ['2h', 7_200_000],
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['1.s', 1000],
    ['250us', 0.25],
    ['250µs', 0.25],
    ['1000000ns', 1],
    ['1h1m1s1ms', 3_661_001],
    ['2147483647ms', 2_147_483_647],
  ];
  for (const [text, milliseconds] of valid) {
    it(`reads ${text}`, () => {
      const read = parseDuration(text);
      assert.ok(read !== undefined && Math.abs(read - milliseconds) < 1e-6, String(read));
    });
  }

  for (const text of [
    '',
    '5',
    's',
    '.s',
    '1',
    '-1s',
    '+1s',
    '1 s',
    '1S',
    '1d',
    '1s ',
    '1.2.3s',
    '2147483648ms',
    'NaNs',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.equal(parseDuration(text), undefined);
    });
  }

  it('reads what Go would print', () => {
    const part = (most: number) => fc.integer({ min: 0, max: most });
    fc.assert(
      fc.property(part(595), part(59), part(59), part(999), (h, m, s, ms) => {
        assert.equal(parseDuration(`${h}h${m}m${s}s${ms}ms`), h * 3_600_000 + m * 60_000 + s * 1000 + ms);
      }),
    );
  });
});
