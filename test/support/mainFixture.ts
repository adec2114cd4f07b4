/** A process for test/programs/process/Main.test.ts: `node mainFixture.ts <scene>` says "ready" when it can be signalled. */
import { Effect, Schema } from "effect"
import * as Main from "../../src/programs/process/Main.ts"
import * as Shutdown from "../../src/services/tasks/Shutdown.ts"
import * as TaskGroup from "../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../src/services/tasks/Tasks.ts"

class NoSuchRun extends Schema.TaggedError<NoSuchRun>()("NoSuchRun", { run: Schema.String }) {
  override get message(): string {
    return `there is no run ${this.run}`
  }
}

const print = (line: string) => Effect.sync(() => void process.stdout.write(`${line}\n`))
const ready = print("ready")
const waitForEver = Effect.andThen(ready, Effect.never)
const longCleanup = Effect.onInterrupt(waitForEver, () => Effect.andThen(print("cleaning"), Effect.never))

const scenes: Record<string, Effect.Effect<unknown, NoSuchRun>> = {
  success: print("done"),
  much: Effect.andThen(print("x".repeat(5_000_000)), Effect.sync(() => void process.stderr.write("written"))),
  muchThenClean: Effect.andThen(print("x".repeat(5_000_000)), waitForEver),
  failure: new NoSuchRun({ run: "nightly" }),
  defect: Effect.sync(() => {
    throw new TypeError("an unexpected bug")
  }),
  uncaught: Effect.onInterrupt(
    Effect.andThen(
      Effect.sync(() => {
        setImmediate(() => {
          throw new TypeError("thrown outside of any fiber")
        })
      }),
      Effect.never
    ),
    () => print("cleaned up")
  ),
  clean: Effect.onInterrupt(waitForEver, () => print("cleaned up")),
  drain: Effect.scoped(Effect.gen(function*() {
    yield* Shutdown.onDrain("the last job", Effect.andThen(print("draining"), print("drained")))
    return yield* Effect.onInterrupt(waitForEver, () => print("interrupted"))
  })),
  drainAndEnd: Effect.scoped(Effect.gen(function*() {
    yield* ready
    const reason = yield* Shutdown.awaitDraining
    yield* print(`asked by ${reason}`)
  })),
  drainForEver: Effect.scoped(Effect.gen(function*() {
    yield* Shutdown.onDrain("a stuck step", Effect.never)
    return yield* Effect.onInterrupt(waitForEver, () => print("interrupted"))
  })),
  overstay: TaskGroup.use({ name: "workers" })((group) =>
    Effect.andThen(Effect.orDie(group.spawn(longCleanup, { name: "stuck worker" })), Effect.never)
  ),
  stuck: longCleanup,
  tree: TaskGroup.use({ name: "crawl" })((group) =>
    Effect.andThen(
      Effect.orDie(group.spawn(Tasks.waiting("permit of host example.org")(waitForEver), { name: "fetch /a" })),
      Effect.never
    )
  )
}

Main.run(scenes[process.argv[2] ?? ""] ?? Effect.die("no such scene"), {
  grace: "200 millis",
  interruptGrace: "200 millis"
})
