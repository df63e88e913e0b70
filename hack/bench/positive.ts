/**
 * The number that a flag is set to.
 * @throws Error when the text is no positive whole number
 */
export function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`${flag}: expected a positive whole number, got "${text}"`);
  return value;
}
