/**
 * `sluice demo`: the whole system on one screen, in half a minute, with no network.
 */
import { Effect, Fiber, Layer } from "effect"
import * as UnrulyOrigin from "../../layers/fetch/UnrulyOrigin.ts"
import { CalledAs } from "../terminal/CalledAs.ts"
import { say, tell } from "../terminal/Say.ts"
import { bold, dim } from "../terminal/Style.ts"
import * as FetchScenes from "./FetchScenes.ts"
import * as OrderScenes from "./OrderScenes.ts"
import { failsAs, scene } from "./Scene.ts"

/** On an origin that no scene before has made wary of us: a host's gate remembers that it throttled. */
const onFreshOrigin = Effect.provide(Layer.fresh(UnrulyOrigin.layer))

/** Plays every scene, one after the other; the orders are on their way while others are on the screen. */
export const play = Effect.scoped(Effect.gen(function*() {
  const sluice = yield* CalledAs
  yield* tell([
    `${bold("sluice demo")}  ${dim("a loopback origin that misbehaves on purpose; nothing leaves this machine")}`
  ])
  const shop = yield* Effect.forkScoped(failsAs("opening the shop")(OrderScenes.open))
  yield* scene("Ten URLs of one second each", "the same work with 1, 3 and 10 requests in flight", FetchScenes.lanes)
  const orders = yield* failsAs("placing orders")(yield* Fiber.join(shop))
  yield* scene("Three thousand URLs, some of them bad", "limits, retries, one typed outcome each", FetchScenes.bulk)
  yield* scene(
    "First answer wins",
    "the others are cancelled, sockets included",
    onFreshOrigin(FetchScenes.race)
  )
  yield* scene(
    "Interrupted in mid-flight",
    "structured concurrency: nothing stays open",
    onFreshOrigin(FetchScenes.interrupt)
  )
  yield* scene(
    "A hundred half-second orders",
    "on five worker processes since the second scene, one of them killed with -9 on the way",
    orders
  )
  yield* say([
    "",
    bold("Your turn"),
    ...["fetch https://example.com", "fetch -i urls.txt --save bodies -o out.ndjson", "serve", "--help"].map((args) =>
      `  ${sluice} ${args}`
    ),
    ""
  ])
}))
