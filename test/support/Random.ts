/** A small generator of our own, so that a failure is repeated by its seed (mulberry32). */
export const random = (state: number) => () => {
  state = state + 0x6d2b79f5 | 0
  let bits = Math.imul(state ^ state >>> 15, 1 | state)
  bits = bits + Math.imul(bits ^ bits >>> 7, 61 | bits) ^ bits
  return ((bits ^ bits >>> 14) >>> 0) / 4_294_967_296
}
