import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { Store, type CachedObject } from '../../../src/kube/store.ts';

interface Held extends CachedObject {
  readonly colour: string;
}

type Change = [before: string | undefined, after: string | undefined];

/** Keeps the label `colour`; an object that is `transparent` does not matter. */
function trim({ metadata }: KubernetesObject): Held | undefined {
  const { namespace = '', name, uid = '', resourceVersion = '', labels = {} } = metadata;
  const colour = labels['colour'] ?? 'none';
  return colour === 'transparent' ? undefined : { namespace, name, uid, resourceVersion, colour };
}

function object(name: string, resourceVersion: number, colour = 'red', uid = `uid-${name}`): KubernetesObject {
  return {
    metadata: { namespace: 'ns', name, uid, resourceVersion: String(resourceVersion), labels: { colour } },
  };
}

describe('Store', () => {
  let store: Store<Held>;
  let changes: Change[];

  beforeEach(() => {
    store = new Store(trim);
    changes = [];
    const told = (held: Held | undefined) => held && `${held.uid}@${held.resourceVersion} ${held.colour}`;
    store.subscribe((before, after) => changes.push([told(before), told(after)]));
  });

  const held = (name: string): Held => {
    const found = store.get('ns', name);
    assert.ok(found !== undefined, `expected ${name} in the store`);
    return found;
  };

  const names = () => [...store.values()].map(({ name }) => name).sort();

  it('holds objects by namespace and name', () => {
    store.observe(object('a', 1));
    store.observe({ metadata: { namespace: 'other', name: 'a', uid: 'u2', resourceVersion: '2' } });
    store.observe({ metadata: { name: 'cluster-scoped', uid: 'u3', resourceVersion: '3' } });
    assert.equal(store.size, 3);
    assert.equal(store.get('ns', 'a')?.uid, 'uid-a');
    assert.equal(store.get('other', 'a')?.uid, 'u2');
    assert.equal(store.get('', 'cluster-scoped')?.uid, 'u3');
    assert.equal(store.get('ns', 'b'), undefined);
    assert.deepEqual([...store.inNamespace('ns').keys()], ['a']);
    assert.deepEqual([...store.inNamespace('empty')], []);
  });

  it('tells of an object before and after each change', () => {
    store.observe(object('a', 1, 'red'));
    store.observe(object('a', 2, 'blue'));
    store.observeDeletion(object('a', 3, 'blue'));
    assert.deepEqual(changes, [
      [undefined, 'uid-a@1 red'],
      ['uid-a@1 red', 'uid-a@2 blue'],
      ['uid-a@2 blue', undefined],
    ]);
    assert.equal(store.size, 0);
    assert.equal(store.inNamespace('ns').size, 0);
  });

  it('has changed already when it tells of a change', () => {
    const seen: (string | undefined)[] = [];
    store.subscribe((_, after) => seen.push(store.get('ns', 'a')?.colour, after?.colour));
    store.observe(object('a', 1, 'red'));
    store.observeDeletion(object('a', 2));
    assert.deepEqual(seen, ['red', 'red', undefined, undefined]);
  });

  it('ignores what is older than what it holds, or the same', () => {
    store.observe(object('a', 10, 'new'));
    store.observe(object('a', 9, 'old'));
    store.observe(object('a', 10, 'same'));
    assert.equal(held('a').colour, 'new');
    assert.equal(changes.length, 1);
  });

  it('drops an object of which nothing matters any more, and takes it in again', () => {
    store.observe(object('a', 1));
    store.observe(object('a', 2, 'transparent'));
    assert.equal(store.size, 0);
    store.observe(object('b', 3, 'transparent'));
    assert.equal(store.size, 0);
    store.observe(object('a', 4, 'blue'));
    assert.equal(held('a').colour, 'blue');
    assert.deepEqual(changes, [
      [undefined, 'uid-a@1 red'],
      ['uid-a@1 red', undefined],
      [undefined, 'uid-a@4 blue'],
    ]);
  });

  it('gives the trimmer what it held before', () => {
    const before: (string | undefined)[] = [];
    store = new Store((next, held) => {
      before.push(held?.colour);
      return trim(next);
    });
    store.observe(object('a', 1, 'red'));
    store.observe(object('a', 2, 'blue'));
    assert.deepEqual(before, [undefined, 'red']);
  });

  it('takes an object of the same name for the one before, deleted and created again', () => {
    store.observe(object('a', 1, 'red', 'first'));
    store.observe(object('a', 3, 'red', 'second'));
    assert.equal(held('a').uid, 'second');
    store.observeDeletion(object('a', 2, 'red', 'first'));
    assert.equal(held('a').uid, 'second', 'the end of the first is no end of the second');
    store.observeDeletion(object('a', 4, 'red', 'second'));
    assert.equal(store.size, 0);
    assert.equal(changes.length, 3);
  });

  it('ignores the end of what it does not hold', () => {
    store.observeDeletion(object('a', 1));
    assert.deepEqual(changes, []);
    assert.equal(store.size, 0);
  });

  describe('observeWrite', () => {
    it('takes in the answer to a write ahead of its event', () => {
      store.observe(object('b', 5));
      changes.length = 0;
      store.observeWrite(object('a', 6));
      assert.equal(held('a').resourceVersion, '6');
      store.observe(object('a', 6));
      assert.equal(changes.length, 1, 'the event of the write is no news');
    });

    it('ignores an answer about an object whose end the watch has told', () => {
      store.observe(object('a', 6));
      store.observeDeletion(object('a', 7));
      store.observeWrite(object('a', 6));
      assert.equal(store.size, 0);
      store.observeWrite(object('a', 8, 'red', 'another'));
      assert.equal(store.size, 1);
    });

    it('takes in an answer whose event the watch has lost, though later events have come', () => {
      store.observe(object('a', 1, 'red'));
      store.observe(object('c', 9));
      store.observeWrite(object('a', 5, 'blue'));
      store.observeWrite(object('b', 6));
      assert.equal(held('a').colour, 'blue');
      assert.deepEqual(names(), ['a', 'b', 'c']);
    });

    it('ignores an answer about an object whose end was told, however many others ended since', () => {
      for (let n = 1; n <= 20_000; n++) store.observeDeletion(object(`a${n}`, n + 1));
      for (let n = 1; n <= 20_000; n++) store.observeWrite(object(`a${n}`, n));
      assert.equal(store.size, 0);
    });

    it('ignores an answer that a list has passed', () => {
      const list = store.replace();
      list.commit('7');
      store.observeWrite(object('a', 6));
      assert.equal(store.size, 0);
      store.observeWrite(object('a', 8));
      assert.equal(store.size, 1);
    });
  });

  describe('observeOwn', () => {
    const own = (resourceVersion: string, uid = 'uid-a'): Held => {
      return { namespace: 'ns', name: 'a', uid, resourceVersion, colour: 'red' };
    };

    it('takes in what was trimmed already ahead of its event, and knows that event when it comes', () => {
      store.observeOwn(own('5'));
      assert.deepEqual(changes, [[undefined, 'uid-a@5 red']]);
      assert.equal(store.holds(own('5')), true);
      assert.equal(store.holds(own('6')), false);
      assert.equal(store.holds(own('5', 'another')), false);
      store.observe(object('a', 5));
      assert.equal(changes.length, 1);
    });

    it('ignores what is gone, and what is older than what is held', () => {
      store.observeDeletion(object('a', 9));
      store.observeOwn(own('8'));
      assert.equal(store.size, 0);
      store.replace().commit('10');
      store.observeOwn(own('8'));
      assert.equal(store.size, 0);
      store.observe(object('a', 12));
      store.observeOwn(own('11'));
      assert.equal(held('a').resourceVersion, '12');
    });
  });

  describe('removeOwn', () => {
    it('drops the object, and ignores its late events', () => {
      store.observe(object('a', 1));
      store.removeOwn(held('a'));
      assert.equal(store.size, 0);
      store.observe(object('a', 2, 'late'));
      assert.equal(store.size, 0);
      store.observeDeletion(object('a', 3));
      assert.deepEqual(changes, [
        [undefined, 'uid-a@1 red'],
        ['uid-a@1 red', undefined],
      ]);
    });

    it('does not ignore another object of that name', () => {
      store.observe(object('a', 1, 'red', 'first'));
      store.removeOwn(held('a'));
      store.observe(object('a', 3, 'red', 'second'));
      assert.equal(held('a').uid, 'second');
      store.observeDeletion(object('a', 2, 'red', 'first'));
      assert.equal(held('a').uid, 'second');
    });

    it('takes an object in again that a finalizer holds', () => {
      store.observe(object('a', 1));
      store.removeOwn(held('a'));
      const marked = object('a', 2);
      marked.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
      store.observe(marked);
      assert.equal(held('a').resourceVersion, '2');
      store.observeDeletion(object('a', 3));
      assert.equal(store.size, 0);
    });

    it('ignores late events of an object that was being deleted before', () => {
      const deleting = (resourceVersion: number): KubernetesObject => {
        const { metadata } = object('a', resourceVersion);
        return { metadata: { ...metadata, deletionTimestamp: '2024-01-01T00:00:00Z' } };
      };
      store.observeWrite(deleting(4));
      store.removeOwn(held('a'));
      store.observe(deleting(3));
      store.observe(deleting(4));
      assert.equal(store.size, 0);
      store.observe(deleting(5));
      assert.equal(store.size, 1);
    });

    it('does nothing when the event was faster', () => {
      store.observe(object('a', 1));
      const before = held('a');
      store.observeDeletion(object('a', 2));
      store.removeOwn(before);
      store.observe(object('b', 3));
      store.removeOwn({ ...held('b'), uid: 'another' });
      assert.deepEqual(names(), ['b']);
      assert.equal(changes.length, 3);
    });
  });

  describe('replace', () => {
    it('drops what the list does not have, and only when the list is complete', () => {
      for (const name of ['a', 'b', 'c']) store.observe(object(name, 1));
      const list = store.replace();
      list.observe(object('b', 1));
      list.observe(object('d', 4));
      assert.deepEqual(names(), ['a', 'b', 'c', 'd']);
      list.commit('5');
      assert.deepEqual(names(), ['b', 'd']);
    });

    it('drops nothing for a list that was given up', () => {
      store.observe(object('a', 1));
      store.replace().observe(object('b', 2));
      const list = store.replace();
      list.observe(object('a', 1));
      list.observe(object('b', 2));
      list.commit('3');
      assert.deepEqual(names(), ['a', 'b']);
    });

    it('keeps what was written after the list was taken', () => {
      store.observe(object('old', 3));
      const list = store.replace();
      store.observeWrite(object('new', 6));
      list.commit('5');
      assert.deepEqual(names(), ['new']);
    });

    it('keeps what it holds when the list shows an older state of it', () => {
      store.observe(object('a', 6, 'new'));
      const list = store.replace();
      list.observe(object('a', 4, 'old'));
      list.commit('5');
      assert.equal(held('a').colour, 'new');
    });

    it('keeps an object that was created again under the name of a listed one', () => {
      const list = store.replace();
      list.observe(object('a', 4, 'red', 'first'));
      store.observeWrite(object('a', 6, 'red', 'second'));
      list.commit('5');
      assert.equal(held('a').uid, 'second');
    });

    it('does not bring back our own deleted object from a list that was taken before', () => {
      store.observe(object('a', 1));
      const list = store.replace();
      store.removeOwn(held('a'));
      list.observe(object('a', 1));
      list.commit('5');
      assert.equal(store.size, 0);
      store.observe(object('a', 2, 'late'));
      assert.equal(store.size, 0);
    });

    it('knows better than an answer about what was written before it', () => {
      store.observeDeletion(object('a', 3));
      store.replace().commit('5');
      store.observeWrite(object('a', 2));
      store.observeWrite(object('b', 5));
      assert.equal(store.size, 0);
      // A list that is told again, or late, takes nothing back.
      store.replace().commit('4');
      store.observeWrite(object('b', 5));
      assert.equal(store.size, 0);
    });

    it('tells of nothing for a list that shows what is known', () => {
      store.observe(object('a', 1));
      changes.length = 0;
      const list = store.replace();
      list.observe(object('a', 1));
      list.commit('9');
      assert.deepEqual(changes, []);
    });
  });
});
