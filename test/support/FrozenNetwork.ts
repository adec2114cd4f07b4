/**
 * A relay before the test's database: a network that stops passing bytes without ending a connection, as a frozen
 * server or a lost link does.
 */
import { Context, Effect, Layer, Redacted } from "effect"
import type { AddressInfo } from "node:net"
import { connect, createServer, type Socket } from "node:net"
import * as Database from "../../src/layers/postgres/Database.ts"
import type { DatabaseError } from "../../src/layers/postgres/DatabaseError.ts"
import { TestDatabase } from "./TestDatabase.ts"

export class FrozenNetwork extends Context.Service<FrozenNetwork, {
  /** From now on no byte passes, in either direction; connections are still taken. */
  readonly freeze: Effect.Effect<void>
  /** All bytes that were held back pass. */
  readonly thaw: Effect.Effect<void>
  /** Connections of clients that are open now. */
  readonly connections: Effect.Effect<number>
}>()("sluice/test/support/FrozenNetwork") {}

const make = Effect.gen(function*() {
  const { url } = yield* TestDatabase
  const address = new URL(url)
  const socketDirectory = address.searchParams.get("host")
  const to = socketDirectory === null
    ? { host: address.hostname, port: Number(address.port === "" ? 5432 : address.port) }
    : { path: `${socketDirectory}/.s.PGSQL.5432` }
  let isFrozen = false
  const pairs = new Set<readonly [Socket, Socket]>()
  const server = createServer((client) => {
    const upstream = connect(to)
    const pair = [client, upstream] as const
    pairs.add(pair)
    for (const [from, into] of [[client, upstream], [upstream, client]] as const) {
      from.on("data", (chunk) => void into.write(chunk))
      from.on("error", () => {})
      from.on("close", () => {
        pairs.delete(pair)
        into.destroy()
      })
    }
    if (isFrozen) { for (const socket of pair) socket.pause() }
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.callback<void>((resume) => {
        for (const pair of pairs) for (const socket of pair) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )
  const setFrozen = (frozen: boolean) =>
    Effect.sync(() => {
      isFrozen = frozen
      for (const socket of [...pairs].flat()) {
        if (frozen) socket.pause()
        else socket.resume()
      }
    })
  const { port } = server.address() as AddressInfo
  address.searchParams.delete("host")
  const through = Object.assign(new URL(address), { hostname: "127.0.0.1", port: String(port) }).toString()
  const relay = FrozenNetwork.of({
    freeze: setFrozen(true),
    thaw: setFrozen(false),
    connections: Effect.sync(() => pairs.size)
  })
  return { relay, url: Redacted.make(through) }
})

/** The test's database behind a relay. */
export const layer = (
  options: Database.Options = {}
): Layer.Layer<Database.Services | FrozenNetwork, DatabaseError, TestDatabase> =>
  Layer.unwrap(
    Effect.map(make, ({ relay, url }) =>
      Layer.merge(Layer.succeed(FrozenNetwork, relay), Database.layer({ poolMin: 0, ...options, url })))
  )
