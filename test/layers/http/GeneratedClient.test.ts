/**
 * A client that somebody else's generator (swagger-typescript-api) makes of `/openapi.json` is right for a strict type checker and works:
 * numbers are numbers, problems come as what they are. The generator is a development dependency; `SLUICE_GENERATOR` names another copy.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { promisify } from "node:util"
import { request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import * as Shop from "../../support/Shop.ts"

const root = resolve(import.meta.dirname, "../../..")
const generator = process.env["SLUICE_GENERATOR"] ?? join(root, "node_modules/swagger-typescript-api")
const run = promisify(execFile)

/** What somebody writes with the generated client. Each expected error is one that the checker must report. */
const program = `
import { Api } from "./client.ts"
const api = new Api({ baseUrl: process.argv[2] ?? "" })
const { livez, v1 } = api

const placed = await v1.placeOrder({ customerId: "alice", items: [{ sku: "p1", quantity: 2 }] }, { headers: { "idempotency-key": "g1" } })
const version: number = placed.data.version
const page = await v1.listOrders({ limit: 10, status: "accepted" })
// @ts-expect-error a limit is a number
const wrong = () => v1.listOrders({ limit: "10" })
const found = await v1.getOrder(placed.data.id)
const absent = await v1.getOrder("00000000-0000-7000-8000-000000000000").catch((answer) => answer.error)
const alive = await livez.getLiveness()
const acceptedAt: Date = new Date(found.data.acceptedAt)
console.log(JSON.stringify([
  version, page.data.orders.length, found.data.total, absent.type, alive.data.status, Number.isNaN(acceptedAt.getTime()), typeof wrong
]))
`

const options = { target: "esnext", module: "nodenext", strict: true, noEmit: true, skipLibCheck: true }

const layer = Harness.serve().pipe(Layer.provide(Harness.ready), Layer.provideMerge(Harness.memory))

it.live.skipIf(!existsSync(generator))(
  "a client generated from the document compiles and works",
  () =>
    Effect.gen(function*() {
      yield* Shop.open(["alice"], 100_000n)
      yield* Shop.stock([Shop.product("p1")])
      const base = yield* Harness.baseUrl
      const document = yield* request(`${base}/openapi.json`)
      const directory = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "sluice-client-"))),
        (path) => Effect.promise(() => rm(path, { recursive: true }))
      )
      const output = yield* Effect.promise(async () => {
        const write = (name: string, text: string) => writeFile(join(directory, name), text)
        await write("openapi.json", document.text)
        const cli = join(generator, "dist/cli.mjs")
        const flags = [
          "generate",
          "-p",
          join(directory, "openapi.json"),
          "-o",
          directory,
          "-n",
          "client.ts",
          "--silent"
        ]
        await run(process.execPath, [cli, ...flags])
        const client = await readFile(join(directory, "client.ts"), "utf8")
        // The generator tells checkers to look away; ours looks.
        await write("client.ts", client.replace("// @ts-nocheck", ""))
        await write("program.ts", program)
        await write("package.json", JSON.stringify({ type: "module" }))
        const types = { types: ["node"], typeRoots: [join(root, "node_modules/@types")] }
        await write(
          "tsconfig.json",
          JSON.stringify({ compilerOptions: { ...options, ...types, allowImportingTsExtensions: true } })
        )
        await run(process.execPath, [join(root, "node_modules/.bin/tsc"), "-p", directory])
        // A client may have what Node does not strip, such as enums.
        return (await run(process.execPath, ["--experimental-transform-types", join(directory, "program.ts"), base]))
          .stdout
      })
      assert.deepStrictEqual(JSON.parse(output), [
        1,
        1,
        "500",
        "/problems/order-not-found",
        "alive",
        false,
        "function"
      ])
    }).pipe(Effect.scoped, Effect.provide(layer)),
  120_000
)
