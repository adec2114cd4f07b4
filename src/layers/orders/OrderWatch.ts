/**
 * Followers of orders share one look at the database: whoever waits for an order's next version is asked about in one statement for all of
 * them. It costs nothing while nobody waits, and no writer has to notify anyone.
 */
import { Deferred, Effect, Latch, type Scope } from "effect"
import { Outage } from "../../services/postgres/Outage.ts"

/** An order's version and whether it is its last. */
export interface Glimpse {
  readonly id: string
  readonly version: number
}

interface Follower {
  readonly id: string
  readonly afterVersion: number
  readonly changed: Deferred.Deferred<void>
}

/** How followers are served. */
export interface Options<E> {
  /** The versions of these orders; unknown ids left out. */
  readonly look: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Glimpse>, E>
  /** Time between two looks. */
  readonly everyMillis: number
  /** Orders in one look. */
  readonly maxIds: number
}

/** Who follows what. */
export interface OrderWatch {
  /** Returns when an order has a later version than the one given; it may return early, so look again. */
  readonly changed: (id: string, afterVersion: number) => Effect.Effect<void>
  readonly followers: () => number
}

/** A watch that looks as long as its scope is open. */
export const make = Effect.fnUntraced(function*<E>(
  options: Options<E>
): Effect.fn.Return<OrderWatch, never, Scope.Scope> {
  const followers = new Set<Follower>()
  const some = Latch.makeUnsafe(false)
  const outage = new Outage("orders are not followed")

  const look = Effect.gen(function*() {
    const ids = [...new Set([...followers].map((follower) => follower.id))]
    const versions = new Map<string, number>()
    for (let from = 0; from < ids.length; from += options.maxIds) {
      const glimpses = yield* options.look(ids.slice(from, from + options.maxIds))
      for (const glimpse of glimpses) versions.set(glimpse.id, glimpse.version)
    }
    for (const follower of followers) {
      const version = versions.get(follower.id)
      if (version === undefined || version > follower.afterVersion) Deferred.doneUnsafe(follower.changed, Effect.void)
    }
  })

  yield* Effect.gen(function*() {
    yield* some.await
    yield* Effect.sleep(options.everyMillis)
    // A store that does not answer now will later; until then the followers wait, under their own deadlines.
    yield* Effect.matchCauseEffect(look, {
      onFailure: (cause) => outage.failed("looking at followed orders", cause),
      onSuccess: () => outage.worked
    })
  }).pipe(Effect.forever, Effect.ensuring(Effect.sync(() => outage.forget())), Effect.forkScoped)

  const changed = (id: string, afterVersion: number) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const follower: Follower = { id, afterVersion, changed: Deferred.makeUnsafe() }
        followers.add(follower)
        some.openUnsafe()
        return Effect.ensuring(
          restore(Deferred.await(follower.changed)),
          Effect.sync(() => {
            followers.delete(follower)
            if (followers.size === 0) some.closeUnsafe()
          })
        )
      })
    )
  return { changed, followers: () => followers.size }
})
