import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { ControlPlane } from '../../../hack/envtest/control-plane.ts';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { EventRecorder, type EventSubject } from '../../../src/kube/events.ts';
import { loadClusterAccess } from '../../../src/kube/kubeconfig.ts';
import { Transport } from '../../../src/kube/transport.ts';
import { createLogger, type RootLogger } from '../../../src/observability/log.ts';
import { eventually } from '../../support/await.ts';
import { FaultProxy, type Fault } from '../../support/fault-proxy.ts';
import { KubeClient as TestClient } from '../../support/kube.ts';

interface Event extends KubernetesObject {
  eventTime: string;
  reportingController: string;
  reportingInstance: string;
  action: string;
  reason: string;
  regarding: object;
  note: string;
  type: string;
  series?: { count: number; lastObservedTime: string };
}

describe('EventRecorder', function () {
  this.timeout(20_000);
  let controlPlane: ControlPlane;
  let world: TestClient;
  let proxy: FaultProxy;
  let transport: Transport;
  let logger: RootLogger;
  let log: PassThrough;
  let recorder: EventRecorder;
  let subject: EventSubject;
  let now: number;
  let count = 0;

  before(async () => {
    controlPlane = await ControlPlane.start({ controllerManager: false });
    world = TestClient.fromKubeconfig(controlPlane.kubeconfig);
  });

  after(async () => {
    await world.close();
    await controlPlane.stop();
  });

  beforeEach(async () => {
    proxy = await FaultProxy.start(controlPlane.kubeconfig);
    const access = await loadClusterAccess(proxy.kubeconfig, {});
    transport = new Transport({ access, userAgent: 'test', connections: 4, timeoutMs: 5_000 });
    log = new PassThrough();
    logger = createLogger({ level: 'debug', format: 'json', stream: log });
    now = 0;
    recorder = new EventRecorder(new KubeClient(transport), logger, () => now);
    subject = { kind: 'BaselinePolicy', name: `policy-${++count}`, uid: `uid-${count}` };
  });

  afterEach(async () => {
    await recorder.close();
    await transport.close();
    await proxy.close();
  });

  const record = (note = 'Healed', about = subject) => {
    recorder.record(about, 'Warning', 'DriftHealed', 'Heal', note);
  };

  const events = async (about = subject): Promise<Event[]> =>
    world
      .resource<Event>('events.k8s.io/v1', 'events', 'default')
      .list({ fieldSelector: `regarding.uid=${about.uid}` });

  /** Waits until there are so many Events about the subject. */
  const eventsOf = (expected: number, about = subject): Promise<Event[]> =>
    eventually(async () => {
      const found = await events(about);
      assert.equal(found.length, expected);
      return found;
    });

  async function onlyEvent(): Promise<Event> {
    const [event] = await eventsOf(1);
    assert.ok(event !== undefined);
    return event;
  }

  /** Waits until so many requests have come to the proxy; each write of the recorder is one. */
  const requests = (expected: number) =>
    eventually(() => {
      assert.equal(proxy.requests.length, expected);
    });

  it('tells of a BaselinePolicy what happened, why, and what was done', async () => {
    recorder.record(subject, 'Warning', 'DriftHealed', 'Heal', 'Restored default-deny in shop');
    const event = await onlyEvent();
    assert.deepEqual(event.regarding, {
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      name: subject.name,
      uid: subject.uid,
    });
    assert.deepEqual(
      [event.type, event.reason, event.action, event.note, event.reportingController, event.series],
      ['Warning', 'DriftHealed', 'Heal', 'Restored default-deny in shop', 'baseline-policy-operator', undefined],
    );
    assert.notEqual(event.reportingInstance, '');
    assert.ok(Math.abs(Date.parse(event.eventTime) - Date.now()) < 60_000, event.eventTime);
    assert.match(event.metadata.name, new RegExp(`^${subject.name}\\.[0-9a-f]{16}$`));
  });

  it('tells of a Namespace', async () => {
    subject = { kind: 'Namespace', name: 'shop', uid: 'uid-shop' };
    recorder.record(subject, 'Normal', 'Protected', 'Create', 'All children are in place');
    const { regarding, type } = await onlyEvent();
    assert.deepEqual(regarding, { apiVersion: 'v1', kind: 'Namespace', name: 'shop', uid: 'uid-shop' });
    assert.equal(type, 'Normal');
  });

  it('makes one Event of equal ones, with a count, written at most every 30 s', async () => {
    record();
    await onlyEvent();
    record();
    record();
    now += 29_000;
    record();
    assert.equal((await onlyEvent()).series, undefined);
    now += 1_000;
    await recorder.close();
    assert.equal(proxy.requests.length, 1, 'a write that waits for its time is dropped at the end');
  });

  it('counts on in the series', async () => {
    record();
    await onlyEvent();
    for (const expected of [2, 3, 4]) {
      now += 30_000;
      record();
      await eventually(async () => {
        assert.equal((await onlyEvent()).series?.count, expected);
      });
    }
    assert.ok(Math.abs(Date.parse((await onlyEvent()).series?.lastObservedTime ?? '') - Date.now()) < 60_000);
  });

  it('counts those that came before the first was written', async () => {
    for (let index = 0; index < 5; index++) record();
    assert.equal((await onlyEvent()).series?.count, 5);
  });

  it('begins a new Event when the last equal one is long ago', async () => {
    record();
    await onlyEvent();
    now += 6 * 60_000 + 1;
    record();
    await eventsOf(2);
  });

  it('does not take different events for equal ones', async () => {
    const other = { ...subject, uid: `${subject.uid}-other` };
    record('one');
    record('two');
    record('one', other);
    recorder.record(subject, 'Normal', 'DriftHealed', 'Heal', 'one');
    recorder.record(subject, 'Warning', 'Fighting', 'Heal', 'one');
    recorder.record(subject, 'Warning', 'DriftHealed', 'Wait', 'one');
    await eventsOf(5);
    await eventsOf(1, other);
  });

  it('stops a flood of one object at 25 events, and no other object with it', async () => {
    const other = { ...subject, uid: `${subject.uid}-other` };
    for (let index = 0; index < 100; index++) record(`note ${index}`);
    record('calm', other);
    await eventsOf(1, other);
    assert.equal((await events()).length, 25);
    now += 300_000;
    record('later 1');
    record('later 2');
    await eventsOf(26);
    record('note 0');
    await requests(25 + 1 + 1 + 1);
  });

  it('writes one at a time', async () => {
    let open = 0;
    let most = 0;
    proxy.intercept = async (): Promise<Fault> => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setImmediate(resolve));
      open--;
      return 'pass';
    };
    for (let index = 0; index < 10; index++) record(`note ${index}`);
    await eventsOf(10);
    assert.equal(most, 1);
  });

  it('cuts a note that is too long, at a whole character', async () => {
    record('ü🙂'.repeat(400));
    const { note } = await onlyEvent();
    assert.equal(note, 'ü🙂'.repeat(170) + 'ü');
  });

  it('never throws, and tells the log at level debug', async () => {
    const faults = [{ status: 403, body: { message: 'no rights' } }, 'reset', { status: 500 }] as const;
    let next = 0;
    proxy.intercept = () => faults[next++] ?? 'pass';
    for (const note of ['a', 'b', 'c', 'd']) record(note);
    const [event] = await eventsOf(1);
    assert.equal(event?.note, 'd');
    await logger.close();
    log.end();
    const lines = (await log.toArray()).join('').split('\n').filter(Boolean);
    const logged = lines.map((line) => JSON.parse(line) as { level: string; msg: string });
    assert.deepEqual(
      logged.map(({ level, msg }) => `${level} ${msg}`),
      Array.from({ length: 3 }, () => 'debug Failed to record event'),
    );
  });

  it('tries a failed event again when it comes again, not at once', async () => {
    proxy.intercept = () => (proxy.requests.length === 1 ? { status: 500 } : 'pass');
    record();
    await requests(1);
    now += 30_000;
    record();
    assert.equal((await onlyEvent()).series?.count, 2);
  });

  it('knows its own Event when the answer to its creation was lost', async () => {
    proxy.intercept = () => (proxy.requests.length === 1 ? 'lose-answer' : 'pass');
    record();
    await onlyEvent();
    await requests(1);
    for (const expected of [2, 3]) {
      now += 30_000;
      record();
      await requests(expected);
    }
    await eventually(async () => {
      assert.equal((await onlyEvent()).series?.count, 3);
    });
  });

  it('makes a new Event when somebody deleted it', async () => {
    record();
    const { metadata } = await onlyEvent();
    await world.resource('events.k8s.io/v1', 'events', 'default').delete(metadata.name);
    now += 30_000;
    record();
    await requests(2);
    now += 30_000;
    record();
    await requests(3);
    assert.equal((await onlyEvent()).series?.count, 3);
  });

  it('awaits the write in hand when it is closed, and records nothing more', async () => {
    const { promise: closing, resolve } = Promise.withResolvers<undefined>();
    proxy.intercept = async (): Promise<Fault> => {
      await closing;
      return 'pass';
    };
    record('in hand');
    record('waiting');
    await requests(1);
    const closed = recorder.close();
    resolve(undefined);
    await closed;
    record('late');
    assert.deepEqual(
      (await events()).map(({ note }) => note),
      ['in hand'],
    );
    assert.equal(proxy.requests.length, 1);
  });
});
