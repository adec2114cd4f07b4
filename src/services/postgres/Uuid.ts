/**
 * Ids that ascend with time: UUID version 7 (RFC 9562 section 5.7), from the fiber's own clock and randomness, so that
 * tests can repeat them.
 */
import { Clock, Effect, type Fiber, Random } from "effect"

const bytes = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

const byte = (value: number, shift: number): string => bytes[value >>> shift & 0xff] ?? ""

const pair = (value: number, shift: number): string => byte(value, shift + 8) + byte(value, shift)

/** `next` for hot paths, of the time that is given. */
export const nextUnsafe = (fiber: Fiber.Fiber<unknown, unknown>, atMillis: number): string => {
  const random = fiber.getRef(Random.Random)
  const millis = Math.max(0, Math.floor(atMillis))
  const first = random.nextDoubleUnsafe() * 0x1_0000_0000 >>> 0
  const second = random.nextDoubleUnsafe() * 0x1_0000_0000 >>> 0
  const third = random.nextDoubleUnsafe() * 0x1_0000_0000 >>> 0
  const high = Math.floor(millis / 0x1_0000)
  return `${pair(high, 16)}${pair(high, 0)}-${pair(millis % 0x1_0000, 0)}-${pair(first & 0xfff | 0x7000, 0)}-${
    pair(second & 0x3fff | 0x8000, 0)
  }-${pair(first, 16)}${pair(third, 16)}${pair(third, 0)}`
}

/** The next id. */
export const next: Effect.Effect<string> = Effect.withFiber((fiber) =>
  Effect.succeed(nextUnsafe(fiber, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()))
)
