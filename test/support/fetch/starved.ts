/** A process that takes all the files that it may have and then looks names up, by DNS and by the system; prints what it is told. */
import { Effect } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Answer } from "../../../src/layers/fetch/dns/Answer.ts"
import * as StubResolver from "../../../src/layers/fetch/dns/StubResolver.ts"
import * as Timers from "../../../src/layers/fetch/dns/Timers.ts"

/** Opens what may be opened. */
const takeAll = (): ReadonlyArray<number> => {
  const taken: Array<number> = []
  while (true) {
    try {
      taken.push(fs.openSync("/dev/null", "r"))
    } catch {
      return taken
    }
  }
}

const program = Effect.gen(function*() {
  const timers = yield* Timers.make
  const answers: Record<string, string> = {}
  const of = (nsswitch: string) =>
    StubResolver.make(timers, {
      servers: process.argv.slice(2),
      paths: { hosts: "/nowhere", resolvConf: "/nowhere", nsswitch },
      // As getaddrinfo has it without a file.
      system: (_, done) => done({ code: "ENOTFOUND" })
    })
  const ask = (lookup: ReturnType<typeof of>, name: string) =>
    Effect.callback<void>((resume) => {
      lookup(name, (answer: Answer) => {
        answers[name] = "code" in answer ? answer.code : answer.addresses.map(({ address }) => address).join()
        resume(Effect.void)
      }, () => {})
    })
  const dns = of("/nowhere")
  const file = join(tmpdir(), `sluice-nsswitch-${process.pid}`)
  fs.writeFileSync(file, "hosts: files ldap\n")
  const system = of(file)
  yield* ask(dns, "fed.test")
  yield* ask(system, "loads.its.files")
  delete answers["loads.its.files"]
  fs.rmSync(file)
  const taken = takeAll()
  yield* ask(dns, "starved.test")
  yield* ask(system, "starved.system.test")
  for (const each of taken) fs.closeSync(each)
  console.log(JSON.stringify(answers))
})

await Effect.runPromise(Effect.scoped(program))
