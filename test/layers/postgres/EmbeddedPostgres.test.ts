/** The embedded server under everything that can happen to the processes around it. Real processes, real time. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Queue, Scheduler } from "effect"
import { TestClock } from "effect/testing"
import { spawnSync } from "node:child_process"
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import * as Child from "../../support/Child.ts"
import { eventually } from "../../support/eventually.ts"
import { processesNow, processesOf } from "../../support/Processes.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const long = process.env["SLUICE_LONG"] === "1"
const userProgram = join(import.meta.dirname, "../../support/databaseUser.ts")

interface Ready {
  readonly supervisorPid: number
  readonly serverPid: number
}

/** A program that uses the server of that directory, once it is ready. */
const startUser = Effect.fnUntraced(function*(directory: string, mode = "hold", options: Child.Options = {}) {
  const child = yield* Child.start(userProgram, [directory, mode], options)
  const line = yield* Queue.take(child.lines)
  assert.property(line, "ready", JSON.stringify(line))
  const ready = JSON.parse(JSON.stringify(line["ready"])) as Ready
  return { ...child, ready }
})

/** Lets a user end by itself, and sees that it does. */
const leave = Effect.fnUntraced(function*(child: Child.Child) {
  child.process.stdin?.end()
  assert.strictEqual(yield* child.exit, 0)
})

/** One of them may end by itself as we come: a worker of the server, or the server that its death takes along. */
const killAll = (pids: ReadonlyArray<number>): void => {
  for (const pid of pids) if (existsSync(`/proc/${pid}`)) killQuietly(pid)
}
const killQuietly = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch (error) {
    assert.propertyVal(error, "code", "ESRCH")
  }
}

const countOf = (directory: string) => Effect.map(processesNow(directory), (all) => all.length)
const gone = Effect.fnUntraced(function*(directory: string) {
  assert.deepStrictEqual(yield* processesOf(directory), [])
})
const open = (directory: string) => Database.layer({ directory, poolMin: 0 })

describe("EmbeddedPostgres", () => {
  it.live("starts on nothing, starts again on what is there without a recovery, and is gone when its user is", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const work = Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql`create table if not exists public.kept (id int)`
        yield* sql`insert into public.kept values (1)`
        const [cluster] = yield* sql<
          { readonly id: string }
        >`select system_identifier::text as id from pg_control_system()`
        return { kept: (yield* sql`select * from public.kept`).length, cluster: cluster?.id }
      }).pipe(Effect.provide(open(directory)))
      const first = yield* work
      assert.strictEqual(first.kept, 1)
      assert.strictEqual(yield* countOf(directory), 0, "the server is down before its last user has finished")
      // What makes it a start of under a second on a machine at rest: no new cluster, and nothing to replay.
      assert.deepStrictEqual(yield* work, { kept: 2, cluster: first.cluster })
      const log = readFileSync(join(directory, "pg.log"), "utf8")
      assert.strictEqual(log.match(/database system was shut down at/g)?.length, 2, log)
      assert.notMatch(log, /was interrupted|recovery/)
    }))

  it.live(
    "is no part of the project in which it was made, and says so only of a folder that was made for it",
    () =>
      Effect.gen(function*() {
        const project = yield* TestDatabase.ownDirectory
        const own = join(project, "below", ".sluice")
        yield* Effect.scoped(EmbeddedPostgres.make({ directory: own }))
        assert.strictEqual(readFileSync(join(own, ".gitignore"), "utf8"), "*\n")
        yield* Effect.scoped(EmbeddedPostgres.make({ directory: project }))
        assert.isFalse(existsSync(join(project, ".gitignore")))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("keeps what makes a commit durable switched on", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const rows = yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        return yield* sql<{ readonly name: string; readonly setting: string }>`select name, setting from pg_settings
          where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums', 'listen_addresses') order by name`
      }).pipe(Effect.provide(open(directory)))
      assert.deepStrictEqual(rows.map(({ name, setting }) => [name, setting]), [
        ["data_checksums", "on"],
        ["fsync", "on"],
        ["full_page_writes", "on"],
        ["listen_addresses", ""],
        ["synchronous_commit", "on"]
      ])
    }))

  it.live("is shared by processes and stops with the last one", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const first = yield* startUser(directory)
      const second = yield* startUser(directory)
      assert.deepStrictEqual(second.ready, first.ready)
      yield* leave(first)
      const third = yield* startUser(directory)
      assert.deepStrictEqual(third.ready, first.ready)
      yield* leave(second)
      yield* leave(third)
      yield* gone(directory)
    }))

  it.live("a race of five on an empty directory ends with one server", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      for (let round = 0; round < (long ? 10 : 1); round++) {
        const users = yield* Effect.all(Array.from({ length: 5 }, () => startUser(directory)), { concurrency: 5 })
        assert.strictEqual(new Set(users.map((user) => user.ready.serverPid)).size, 1)
        yield* Effect.forEach(users, leave, { concurrency: 5, discard: true })
        yield* gone(directory)
      }
    }))

  it.live("users that come just as the last one leaves get a server", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      let last = yield* startUser(directory)
      for (let round = 0; round < (long ? 50 : 5); round++) {
        const [next] = yield* Effect.all([startUser(directory), leave(last)], { concurrency: 2 })
        last = next
      }
      yield* leave(last)
      yield* gone(directory)
    }))

  it.live("kill -9 of one of two users leaves the other alone; of the only one, nothing", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const [one, two] = yield* Effect.all([startUser(directory), startUser(directory, "ask")], { concurrency: 2 })
      one.process.kill("SIGKILL")
      yield* one.exit
      yield* leave(two)
      assert.property(yield* Queue.take(two.lines), "answered")
      const only = yield* startUser(directory)
      only.process.kill("SIGKILL")
      yield* gone(directory)
    }))

  it.live("kill -9 of the supervisor: its server ends and the users get another", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const users = yield* Effect.all([startUser(directory, "ask"), startUser(directory, "ask")], { concurrency: 2 })
      process.kill(users[0].ready.supervisorPid, "SIGKILL")
      for (const user of users) {
        yield* leave(user)
        assert.property(yield* Queue.take(user.lines), "answered")
      }
      yield* gone(directory)
    }))

  it.live("kill -9 of the server: it is started again for its users", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const user = yield* startUser(directory, "ask")
      process.kill(user.ready.serverPid, "SIGKILL")
      yield* leave(user)
      assert.property(yield* Queue.take(user.lines), "answered")
      yield* gone(directory)
    }))

  it.live("kill -9 of everything at once, then a start", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const user = yield* startUser(directory)
      const all = yield* processesNow(directory)
      assert.isAbove(all.length, 3)
      killAll([user.pid, ...all.map((process) => process.pid)])
      yield* user.exit
      assert.isTrue(existsSync(join(directory, "pg", "postmaster.pid")), "the stale pid file that this is about")
      const again = yield* startUser(directory)
      assert.notStrictEqual(again.ready.serverPid, user.ready.serverPid)
      yield* leave(again)
    }))

  it.live("a stale pid file with the pid of a process that is none of ours is cleared, and that process left alone", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      yield* leave(yield* startUser(directory))
      yield* gone(directory)
      writeFileSync(join(directory, "pg", "postmaster.pid"), `${process.pid}\n/nowhere\n0\n5432\n.\n\n0 0\nready   \n`)
      yield* leave(yield* startUser(directory))
    }))

  it.live("an orphaned server is stopped before another is started", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const user = yield* startUser(directory)
      // Stopped, it cannot obey the kernel's signal for the death of its supervisor before we look.
      process.kill(user.ready.serverPid, "SIGSTOP")
      process.kill(user.ready.supervisorPid, "SIGKILL")
      user.process.kill("SIGKILL")
      yield* user.exit
      const child = yield* Child.start(userProgram, [directory, "hold"])
      process.kill(user.ready.serverPid, "SIGCONT")
      const line = yield* Queue.take(child.lines)
      assert.property(line, "ready")
      assert.notInclude((yield* processesNow(directory)).map((process) => process.pid), user.ready.serverPid)
      yield* leave(child)
      yield* gone(directory)
    }))

  it.live(
    "what was committed is there after a kill -9 of everything in the middle of writing",
    () =>
      Effect.gen(function*() {
        const directory = yield* TestDatabase.ownDirectory
        for (let round = 1; round <= (long ? 20 : 2); round++) {
          const writer = yield* Child.start(userProgram, [directory, "write"])
          let committed = -1
          yield* Queue.take(writer.lines)
          while (committed < 50 * round) committed = Number((yield* Queue.take(writer.lines))["committed"])
          const all = yield* processesNow(directory)
          killAll([...all.map((process) => process.pid), writer.pid])
          yield* writer.exit
          for (const line of yield* Queue.collect(writer.lines)) committed = Number(line["committed"])
          const found = yield* Effect.gen(function*() {
            const sql = yield* PgClient.PgClient
            const [row] = yield* sql<
              { readonly n: number }
            >`select count(*)::int as n from public.written where n <= ${committed}`
            yield* sql`drop table public.written`
            return row?.n
          }).pipe(Effect.provide(open(directory)))
          assert.strictEqual(found, committed + 1)
        }
      }),
    long ? 300_000 : 60_000
  )

  it.live("Ctrl-C in a terminal reaches the program, not the server under it", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const user = yield* startUser(directory, "hold", { detached: true })
      process.kill(-user.pid, "SIGINT")
      assert.deepStrictEqual(yield* Queue.take(user.lines), { saved: true })
      yield* user.exit
      yield* gone(directory)
    }))

  it.live("serves a directory whose path is too long for a socket", () =>
    Effect.gen(function*() {
      const own = yield* TestDatabase.ownDirectory
      const directory = join(own, ...Array.from({ length: 6 }, () => "a-rather-long-name-of-a-folder"))
      mkdirSync(directory, { recursive: true })
      const users = yield* Effect.all([startUser(directory), startUser(directory)], { concurrency: 2 })
      assert.deepStrictEqual(users[0].ready, users[1].ready)
      yield* Effect.forEach(users, leave, { discard: true })
      yield* gone(own)
      const links = readdirSync(tmpdir()).map((name) => join(tmpdir(), name)).filter((path) =>
        lstatSync(path).isSymbolicLink() && readlinkSync(path) === directory
      )
      assert.lengthOf(links, 1)
      for (const link of links) unlinkSync(link)
    }))

  it.live("does not hand its environment to the supervisor or the server", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const user = yield* startUser(directory, "hold", { env: { SLUICE_API_TOKEN: "secret-of-the-api" } })
      for (const { pid } of yield* processesNow(directory)) {
        assert.notInclude(readFileSync(`/proc/${pid}/environ`, "utf8"), "secret-of-the-api")
      }
      yield* leave(user)
    }))
})

describe("a server that cannot be started again", () => {
  it.effect("has its users back a moment after it can, however often that has happened", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const setup = join(directory, "pg", "postgresql.auto.conf")
      const errors = yield* Queue.unbounded<unknown>()
      const receipts = Logger.layer([
        Logger.make(({ logLevel, message }) => {
          if (logLevel === "Error") Queue.offerUnsafe(errors, message)
        })
      ])
      yield* Effect.scoped(Effect.gen(function*() {
        const { processes } = yield* EmbeddedPostgres.make({ directory })
        for (let round = 0; round < 4; round++) {
          const { serverPid } = yield* processes
          const good = readFileSync(setup)
          writeFileSync(setup, "nonsense = 1\n")
          process.kill(serverPid, "SIGKILL")
          yield* Queue.take(errors)
          writeFileSync(setup, good)
          for (let turns = 0; turns < 10; turns++) yield* Effect.yieldNow
          yield* TestClock.adjust("100 millis")
          yield* eventually(TestClock.withLive(processes), (now) => now.serverPid !== serverPid)
        }
      })).pipe(Effect.provide(receipts))
    }))
})

describe("an interrupted attach", () => {
  const turn = Effect.callback<void>((resume) => {
    setImmediate(() => resume(Effect.void))
  })

  it.live("leaves no use behind, wherever it is interrupted", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const holder = yield* startUser(directory)
      let interrupted = 0
      for (let operations = 3; operations <= (long ? 40 : 5); operations++) {
        // Each turn of the event loop at first, then ever longer strides, until the attach wins.
        let isFinished = false
        for (let turns = 0; !isFinished; turns += 1 + Math.floor(turns / 8)) {
          const fiber = yield* Effect.scoped(EmbeddedPostgres.make({ directory })).pipe(
            Effect.provideService(Scheduler.MaxOpsBeforeYield, operations),
            Effect.forkChild
          )
          for (let n = 0; n < turns; n++) yield* turn
          yield* Fiber.interrupt(fiber)
          isFinished = Exit.isSuccess(yield* Fiber.await(fiber))
          interrupted++
        }
      }
      assert.isAbove(interrupted, 30)
      // A use that leaked would keep the server up.
      yield* leave(holder)
      yield* gone(directory)
    }))
})

/**
 * Whether other users can run the programs of this checkout: below a directory of mode 700, such as /root or one of
 * `mktemp -d`, nobody else can.
 */
const isOpenToOthers = spawnSync(process.execPath, ["--version"], { uid: 1, gid: 1, cwd: "/" }).status === 0 &&
  spawnSync("test", ["-r", userProgram], { uid: 1, gid: 1, cwd: "/" }).status === 0

describe.skipIf(process.getuid?.() !== 0)("EmbeddedPostgres and users", () => {
  // `daemon`: initdb wants a user with a name.
  const daemon = { uid: 1, gid: 1, cwd: "/" }
  const nameless = { uid: 4321, gid: 4321, cwd: "/" }
  const uidOf = (pid: number) => /Uid:\t(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]

  it.live.skipIf(!isOpenToOthers)(
    "runs as the user who starts it; root may help out, and the user goes on",
    () =>
      Effect.gen(function*() {
        const directory = yield* TestDatabase.ownDirectory
        chownSync(directory, daemon.uid, daemon.gid)
        for (const options of [daemon, {}, daemon]) {
          const user = yield* startUser(directory, "hold", options)
          assert.strictEqual(uidOf(user.ready.serverPid), "1")
          yield* leave(user)
          yield* gone(directory)
        }
      })
  )

  it.live("as root it runs as nobody, below a directory that nobody may not enter", () =>
    Effect.gen(function*() {
      const own = yield* TestDatabase.ownDirectory
      const closed = join(own, "closed")
      mkdirSync(join(closed, ".sluice"), { recursive: true, mode: 0o700 })
      const user = yield* startUser(join(closed, ".sluice"))
      assert.strictEqual(uidOf(user.ready.serverPid), "65534")
      yield* leave(user)
      yield* gone(own)
    }))

  it.live("as root it runs as the owner of the directory, even one without a name", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      chownSync(directory, nameless.uid, nameless.gid)
      const user = yield* startUser(directory)
      assert.strictEqual(uidOf(user.ready.serverPid), "4321")
      yield* leave(user)
      yield* gone(directory)
      for (const entry of readdirSync(join(directory, "pg"), { recursive: true, encoding: "utf8" })) {
        assert.strictEqual(lstatSync(join(directory, "pg", entry)).uid, 4321, entry)
      }
    }))

  it.live.skipIf(!isOpenToOthers)("a user without a name is told so", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      chownSync(directory, nameless.uid, nameless.gid)
      const child = yield* Child.start(userProgram, [directory], nameless)
      const line = yield* Queue.take(child.lines)
      assert.strictEqual(line["failed"], "PlatformUnsupported", JSON.stringify(line))
      assert.include(line["message"], "user 4321")
      yield* child.exit
      yield* gone(directory)
    }))

  it.live.skipIf(!isOpenToOthers)("a directory that this user cannot write is named", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const child = yield* Child.start(userProgram, [join(directory, "data")], daemon)
      const line = yield* Queue.take(child.lines)
      assert.strictEqual(line["failed"], "DataDirectoryUnusable", JSON.stringify(line))
      assert.include(line["message"], directory)
      yield* child.exit
    }))
})
