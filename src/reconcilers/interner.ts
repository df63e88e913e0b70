/** Texts, and characters of texts, that are always worth keeping. */
const MIN_TEXTS = 256;
const MIN_CHARACTERS = 1_000_000;
/** How much may be held for what is in use. */
const SPARE = 1.5;

/**
 * Returns one instance for equal texts, so that what thousands of objects share is kept once. Forgets what no object
 * says any more: holds at most half as much again as is in use, whatever was said in the course of time.
 */
export class Interner {
  readonly #inUse: () => Iterable<string>;
  #texts = new Map<string, string>();
  #characters = 0;
  #maxTexts = MIN_TEXTS;
  #maxCharacters = MIN_CHARACTERS;

  /** @param inUse all texts that are still referred to, each as often as it comes */
  constructor(inUse: () => Iterable<string>) {
    this.#inUse = inUse;
  }

  /** How many texts are held. */
  get size(): number {
    return this.#texts.size;
  }

  /** The instance that stands for all texts equal to this one. */
  intern(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    // Each look at what is in use is paid for by half as many new texts as were in use at the last one.
    if (this.#texts.size >= this.#maxTexts || this.#characters + text.length > this.#maxCharacters) {
      this.#forgetUnused();
    }
    this.#add(text);
    return text;
  }

  #add(text: string): void {
    this.#texts.set(text, text);
    this.#characters += text.length;
  }

  #forgetUnused(): void {
    this.#texts = new Map();
    this.#characters = 0;
    for (const text of this.#inUse()) if (!this.#texts.has(text)) this.#add(text);
    this.#maxTexts = Math.max(MIN_TEXTS, SPARE * this.#texts.size);
    this.#maxCharacters = Math.max(MIN_CHARACTERS, SPARE * this.#characters);
  }
}
