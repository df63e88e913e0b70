import assert from 'node:assert/strict';
import { Interner } from '../../../src/reconcilers/interner.ts';

describe('Interner', () => {
  it('holds equal texts once', () => {
    const interner = new Interner(() => []);
    assert.equal(interner.intern('spec'), 'spec');
    assert.equal(interner.intern(['sp', 'ec'].join('')), 'spec');
    assert.equal(interner.size, 1);
  });

  it('holds at most half as many texts again as are in use, however many there were', () => {
    const inUse = Array.from({ length: 1_000 }, (_, index) => `used ${index}`);
    const interner = new Interner(() => inUse);
    for (const text of inUse) interner.intern(text);
    let most = 0;
    for (let index = 0; index < 100_000; index++) {
      interner.intern(`gone ${index}`);
      most = Math.max(most, interner.size);
    }
    assert.ok(most <= 1_500, `held ${most}`);
    // What is in use is never among what is forgotten.
    const { size } = interner;
    for (const text of inUse) interner.intern(text);
    assert.equal(interner.size, size);
  });

  it('holds little of what is long and gone', () => {
    const interner = new Interner(() => []);
    for (let index = 0; index < 50; index++) interner.intern(String(index).padEnd(400_000));
    assert.ok(interner.size <= 2, `held ${interner.size} texts of 400,000 characters`);
  });

  it('asks seldom for what is in use', () => {
    const inUse: string[] = [];
    let looks = 0;
    const interner = new Interner(() => {
      looks++;
      return inUse;
    });
    for (let index = 0; index < 40_000; index++) inUse.push(interner.intern(`used ${index}`));
    assert.ok(looks <= 13, `looked ${looks} times`);
    assert.equal(interner.size, 40_000);
  });
});
