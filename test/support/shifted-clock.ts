/*
 * Preload of a process whose wall clock a test sets wrong. CLOCK_OFFSETS_MS lists, with commas between, how many
 * milliseconds it is ahead: the first holds from the start, each SIGUSR2 goes on to the next. Monotonic clocks and timers
 * stay as they are, as when somebody sets the clock of a machine.
 */

const [first = 0, ...later] = (process.env['CLOCK_OFFSETS_MS'] ?? '0').split(',').map(Number);
let offset = first;
process.on('SIGUSR2', () => {
  offset = later.shift() ?? offset;
});

const now = Date.now.bind(Date);
Date.now = () => now() + offset;
globalThis.Date = new Proxy(Date, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now() + offset] : args, newTarget) as Date,
  apply: () => new Date().toString(),
});
