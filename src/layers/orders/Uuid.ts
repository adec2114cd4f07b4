/** Ids that ascend with time: UUID version 7 (RFC 9562 section 5.7), from the fiber's own clock and randomness, so that tests can repeat them. */
import { Clock, Effect, Random } from "effect"

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0")

/** The next id. */
export const next: Effect.Effect<string> = Effect.withFiber((fiber) => {
  const random = fiber.getRef(Random.Random)
  const millis = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
  const bits = () => Math.floor(random.nextDoubleUnsafe() * 0x1_0000_0000)
  const [first, second, third] = [bits(), bits(), bits()]
  const time = hex(Math.max(0, Math.floor(millis)), 12).slice(-12)
  const tail = hex(second >>> 2 & 0x3fff | 0x8000, 4)
  return Effect.succeed(
    `${time.slice(0, 8)}-${time.slice(8)}-7${hex(first & 0xfff, 3)}-${tail}-${hex(first >>> 16, 4)}${hex(third, 8)}`
  )
})
