/** A command line that can be pasted into a shell. */

const plain = /^[A-Za-z0-9_/.:=@%+,-]+$/

/** A word as a POSIX shell has to be given it. */
export const quote = (word: string): string => plain.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

/** The name that a program was called by, as it stands (it may be several words), and its arguments. */
export const of = (calledAs: string, ...words: ReadonlyArray<string>): string =>
  [calledAs, ...words.map(quote)].join(" ")
