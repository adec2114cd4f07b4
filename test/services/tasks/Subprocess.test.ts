import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem } from "effect"
import { execPath } from "node:process"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as Subprocess from "../../../src/services/tasks/Subprocess.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { leakFree } from "../../support/leakFree.ts"

const node = (script: string, options?: Subprocess.Options) => Subprocess.run(execPath, ["-e", script], options)

const isAlive = (pid: number) => Effect.isSuccess(Effect.try({ try: () => process.kill(pid, 0), catch: String }))

layer(NodeServices.layer, { excludeTestServices: true })("Subprocess", (it) => {
  it.effect("gives what the program wrote", () =>
    leakFree(Effect.gen(function*() {
      const output = yield* node("console.log('out'); console.error('err')")
      assert.deepStrictEqual(output, { stdout: "out\n", stderr: "err\n" })
    })))

  it.effect("another exit code than zero is a typed error with the end of stderr", () =>
    leakFree(Effect.gen(function*() {
      const error = yield* Effect.flip(node("console.error('no such table'); process.exit(3)"))
      assert.strictEqual(error._tag, "SubprocessFailed")
      assert.match(error.message, /ended with code 3: no such table$/u)
    })))

  it.effect("a program that does not exist is a typed error", () =>
    leakFree(Effect.gen(function*() {
      const error = yield* Effect.flip(Subprocess.run("/no/such/program", []))
      assert.strictEqual(error._tag, "SubprocessUnavailable")
    })))

  for (const signal of ["SIGKILL", "SIGSEGV", "SIGTERM"]) {
    it.effect(`a program that somebody else kills with ${signal} is a typed error that says so`, () =>
      leakFree(Effect.gen(function*() {
        const error = yield* Effect.flip(
          Subprocess.run("sh", ["-c", `echo 'too much memory' >&2; kill -${signal.slice(3)} $$`])
        )
        assert.strictEqual(error._tag, "SubprocessKilled")
        assert.include(error.message, `was killed by ${signal}: too much memory`)
      })))
  }

  it.effect("a program that cannot be run says why", () =>
    leakFree(Effect.gen(function*() {
      const error = yield* Effect.flip(Subprocess.run("/no/such/program", []))
      assert.match(error.message, /^\/no\/such\/program could not be run: .*ENOENT|NotFound/u)
    })))

  it.effect("what is kept begins with a whole character, wherever it is cut", () =>
    leakFree(Effect.gen(function*() {
      for (const [text, size] of [["é", 2], ["€", 3], ["😀", 4]] as const) {
        for (let maxOutputBytes = 0; maxOutputBytes <= 2 * size + 1; maxOutputBytes++) {
          const { stdout } = yield* Subprocess.run("printf", [`a${text}${text}`], { maxOutputBytes })
          const expected = maxOutputBytes > 2 * size
            ? `a${text}${text}`
            : text.repeat(Math.floor(maxOutputBytes / size))
          assert.strictEqual(stdout, expected, `${text} of ${maxOutputBytes} bytes`)
        }
      }
    })))

  it.effect("more output than is kept neither blocks the program nor fills the memory", () =>
    leakFree(Effect.gen(function*() {
      const { stdout } = yield* node("for (let i = 0; i < 20000; i++) console.log('line ' + i)", {
        maxOutputBytes: 100
      })
      assert.isAtMost(stdout.length, 100)
      assert.isTrue(stdout.endsWith("line 19999\n"))
    })))

  it.effect("cancelling its group kills the program, and the programs it started", () =>
    leakFree(Effect.scoped(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      const script = `
        const child = require("node:child_process").spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"])
        require("node:fs").writeFileSync(process.argv[1] + "/pids", process.pid + " " + child.pid)
        setInterval(() => {}, 1000)`
      const pids = yield* TaskGroup.use<Effect.Error<ReturnType<typeof node>>>()((group) =>
        Effect.gen(function*() {
          yield* group.spawn(Subprocess.run(execPath, ["-e", script, directory]))
          const read = Effect.map(fs.readFileString(`${directory}/pids`), (text) => text.split(" ").map(Number))
          const pids = yield* Effect.eventually(Effect.filterOrFail(read, (pids) => pids.length === 2, () => "not yet"))
          assert.include(yield* Tasks.dump, execPath)
          yield* group.cancel
          return pids
        })
      )
      for (const pid of pids) assert.isFalse(yield* isAlive(pid))
    }))))

  it.effect("a program that ignores SIGTERM is killed after its grace, when the deadline passes", () =>
    leakFree(Effect.gen(function*() {
      const stubborn = node("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)", { grace: "50 millis" })
      const exit = yield* Effect.exit(Deadline.within("500 millis", { name: "stubborn" })(stubborn))
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual((yield* Effect.flip(Effect.suspend(() => exit)))._tag, "DeadlineExceeded")
    })))

  it.effect("is not left behind by an interruption at once", () =>
    leakFree(Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(node("setInterval(() => {}, 1000)"), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
    })))
})
