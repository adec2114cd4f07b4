/**
 * Chance from a seed: sfc32 (Chris Doty-Humphrey, PractRand). One stream for each thing that draws, so that a draw more here moves nothing
 * there.
 */
export class SeededRandom {
  private a: number
  private b = 0x243f6a88
  private c: number
  private counter = 1

  constructor(seed: number) {
    this.a = 0x9e3779b9 ^ seed
    this.c = 0xb7e15162 ^ Math.imul(seed, 31)
    for (let i = 0; i < 12; i++) this.u32()
  }

  u32(): number {
    const sum = (((this.a + this.b) | 0) + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** From 0 up to 1. */
  float(): number {
    return this.u32() / 4_294_967_296
  }

  /** From 0 up to `bound`, a whole number. */
  below(bound: number): number {
    return this.u32() % bound
  }

  chance(probability: number): boolean {
    return this.float() < probability
  }

  pick<const All extends readonly [unknown, ...Array<unknown>]>(from: All): All[number] {
    return from[this.below(from.length)] ?? from[0]
  }

  /** A stream of its own that depends on this one's seed and not on how often it was asked. */
  fork(): SeededRandom {
    return new SeededRandom(this.u32())
  }
}
