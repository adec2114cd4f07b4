/** docs/operating.md and deploy/ hold what the program holds: its variables with their defaults, its flags, paths and ports. */
import { assert, describe, it } from "@effect/vitest"
import * as Yaml from "effect/encoding/Yaml"
import { execFileSync, spawnSync } from "node:child_process"
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import * as LongConnections from "../../src/services/http/LongConnections.ts"
import * as ShortDuration from "../../src/services/tasks/ShortDuration.ts"

const root = resolve(import.meta.dirname, "../..")
const textOf = (file: string): string => readFileSync(join(root, file), "utf8")

/** Variables between our own processes: nobody else sets them. */
const internal: ReadonlySet<string> = new Set(["SLUICE_PICKING", "SLUICE_WORKERS", "SLUICE_CALLED_AS"])

const variable = /"(SLUICE_[A-Z_]+|DATABASE_URL|PORT|PGUSER|PGPASSWORD)"/g

const sources = globSync("src/**/*.ts", { cwd: root }).map((file) => textOf(file))

/** The variables that the sources read. */
const read = new Set(
  sources.flatMap((text) => Array.from(text.matchAll(variable), ([, name = ""]) => name))
    .filter((name) => !internal.has(name))
)

/** The default that stands behind a variable in the sources, as text. */
const defaultOf = (name: string): string | undefined => {
  for (const text of sources) {
    const behind = text.split(`"${name}"`)[1]?.split(/"(?:SLUICE_|PG|DATABASE|PORT)/)[0]
    const found = /^[^;]{0,300}?withDefault\((?:Duration\.(\w+)\((\d+)\)|"(\w+)"(?: as const)?|([\w.]+))\)/s.exec(
      behind ?? ""
    )
    if (found === null) continue
    const [, unit, amount, word, value] = found
    return unit === undefined
      ? word ?? value?.replaceAll("_", "")
      : `${amount}${{ seconds: "s", millis: "ms", minutes: "m" }[unit]}`
  }
  return undefined
}

interface Row {
  readonly name: string
  readonly byDefault: string
}

/** The table of the environment. */
const rows: ReadonlyArray<Row> = textOf("docs/operating.md").split("## Files")[0]!.split("\n").flatMap((line) => {
  const cells = line.split("|").map((cell) => cell.trim())
  const name = /^`([A-Z_]+)`$/.exec(cells[1] ?? "")?.[1]
  return name === undefined ? [] : [{ name, byDefault: cells.at(-2) ?? "" }]
})

describe("the environment of docs/operating.md", () => {
  it("has every variable that the programs read, and no other", () => {
    assert.deepStrictEqual(rows.map(({ name }) => name).toSorted(), [...read].toSorted())
  })

  it("has the defaults of the sources", () => {
    const checked = rows.flatMap(({ byDefault, name }) => {
      const inSource = defaultOf(name)
      if (inSource === undefined) return []
      const named = /^LongConnections\.defaults\.(max|maxPerClient)$/.exec(inSource)?.[1]
      const millis = (text: string) => {
        const parsed = ShortDuration.parse(text)
        return parsed === undefined ? text : JSON.stringify(parsed)
      }
      const known = named === "max" || named === "maxPerClient" ? String(LongConnections.defaults[named]) : inSource
      return [[name, millis(known), millis(byDefault)] as const]
    })
    assert.isAtLeast(checked.length, 10)
    assert.deepStrictEqual(checked.filter(([, source, page]) => source !== page), [])
  })
})

// What a file holds is looked at as it is: a wrong shape fails the test.
// oxlint-disable-next-line typescript/no-explicit-any
type Json = any

const yamlOf = (text: string): Json => Yaml.parse(text)

const compose = yamlOf(textOf("deploy/compose.yaml"))
const kubernetes = textOf("deploy/kubernetes.yaml").split(/^---$/m).slice(1).map((text) => yamlOf(text))
const unit = textOf("deploy/sluice.service")
const dockerfile = textOf("deploy/Dockerfile")

const containersOf = (document: Json): ReadonlyArray<Json> =>
  document["spec"]?.["template"]?.["spec"]?.["containers"] ?? []
const containers = kubernetes.flatMap((document) => containersOf(document))

/** The command lines in the files. */
const commands: ReadonlyArray<ReadonlyArray<string>> = [
  ...Object.values<Json>(compose["services"] ?? {}).flatMap((service) =>
    service["command"] === undefined ? [] : [service["command"]]
  ),
  ...containers.map((container) => container["args"] ?? []),
  ...Array.from(unit.matchAll(/^ExecStart\w*=\S+\/sluice (.*)$/gm), ([, line = ""]) => line.split(" ")),
  JSON.parse(/^CMD (.*)$/m.exec(dockerfile)?.[1] ?? "[]")
]

const helpOf = (command: string): string =>
  execFileSync(process.execPath, [join(root, "src/programs/bin/main.ts"), command, "--help"], { encoding: "utf8" })

describe("the files of deploy/", () => {
  it("run commands that there are, with flags that they have", () => {
    assert.isAtLeast(commands.length, 9)
    const helps = new Map<string, string>()
    for (const [command = "", ...args] of commands) {
      const help = helps.get(command) ?? helpOf(command)
      helps.set(command, help)
      assert.include(help, `sluice ${command}`)
      for (const flag of args.filter((arg) => arg.startsWith("--"))) {
        assert.match(help, new RegExp(`${flag}[\\s,=]`), `${command} ${flag}`)
      }
    }
  }, 60_000)

  it("set variables that there are", () => {
    for (const file of ["Dockerfile", "compose.yaml", "sluice.service", "kubernetes.yaml"]) {
      const named = new Set(
        Array.from(
          textOf(`deploy/${file}`).matchAll(/\b(SLUICE_[A-Z_]+|DATABASE_URL)\b|(?:name: |ENV .*)(PORT)\b/g),
          ([, one, other]) => one ?? other ?? ""
        )
      )
      assert.isAbove(named.size, 0, file)
      assert.deepStrictEqual([...named].filter((name) => !read.has(name)), [], file)
    }
  })

  it("agree about the port, and ask the probes that there are", () => {
    const image = /^EXPOSE (\d+)$/m.exec(dockerfile)?.[1]
    const ports = [
      /\bPORT=(\d+)/.exec(dockerfile)?.[1],
      compose["services"]?.["serve"]?.["ports"]?.[0]?.split(":").at(-1),
      ...containers.flatMap((container) => container["ports"] ?? []).map((port) => String(port["containerPort"])),
      ...commands.flatMap((command) => command.flatMap((arg, at) => arg === "--port" ? [command[at + 1]] : []))
    ]
    assert.isAtLeast(ports.length, 6)
    assert.deepStrictEqual(ports.filter((port) => port !== image), [])
    const health = textOf("src/layers/http/Health.ts")
    for (
      const [path] of [dockerfile, textOf("deploy/kubernetes.yaml")].join("\n").matchAll(
        /\/(?:livez|readyz|metrics)\b/g
      )
    ) {
      assert.include(health, `"${path}"`)
    }
    const serve = containers.find((container) => container["name"] === "serve")
    assert.strictEqual(serve?.["readinessProbe"]?.["httpGet"]?.["path"], "/readyz")
    assert.strictEqual(serve?.["livenessProbe"]?.["httpGet"]?.["path"], "/livez")
  })

  it("give a server longer than its drain delay and the 30 s behind it, and let the balancer notice", () => {
    const secondsOf = (text: string | undefined): number => Number(/^(\d+)s$/.exec(text ?? "")?.[1] ?? Number.NaN)
    const flag = (command: ReadonlyArray<string>): string | undefined => command[command.indexOf("--drain-delay") + 1]
    const serve = compose["services"]?.["serve"]
    const pod = kubernetes.find((document) => containersOf(document)[0]?.["name"] === "serve")?.["spec"]?.["template"]
      ?.["spec"]
    const env = pod?.["containers"]?.[0]?.["env"] ?? []
    const podDelay = secondsOf(env.find((one: Json) => one["name"] === "SLUICE_DRAIN_DELAY")?.["value"])
    const probe = pod?.["containers"]?.[0]?.["readinessProbe"]
    for (
      const [delay, given] of [
        [secondsOf(flag(serve?.["command"] ?? [])), secondsOf(serve?.["stop_grace_period"])],
        [
          secondsOf(/--drain-delay (\d+s)/.exec(unit)?.[1]),
          secondsOf(/^TimeoutStopSec=(.*)$/m.exec(unit)?.[1])
        ],
        [podDelay, Number(pod?.["terminationGracePeriodSeconds"])]
      ] as const
    ) assert.isAtLeast(given, delay + 30)
    assert.isAbove(podDelay, Number(probe?.["periodSeconds"]) * Number(probe?.["failureThreshold"]))
  })

  it("run without rights", () => {
    assert.match(dockerfile, /^USER node$/m)
    for (const container of containers) {
      const context = container["securityContext"]
      assert.deepStrictEqual([context?.["allowPrivilegeEscalation"], context?.["readOnlyRootFilesystem"]], [
        false,
        true
      ])
    }
    for (const document of kubernetes.filter((document) => containersOf(document).length > 0)) {
      assert.strictEqual(document["spec"]?.["template"]?.["spec"]?.["securityContext"]?.["runAsNonRoot"], true)
    }
  })

  const analyzer = "/usr/bin/systemd-analyze"
  it.skipIf(spawnSync(analyzer, ["--version"]).status !== 0)("systemd takes the unit (skipped where it is not)", () => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-unit-"))
    try {
      const file = join(directory, "sluice.service")
      // The program itself is not installed where the test runs.
      writeFileSync(file, unit.replaceAll("/usr/local/bin/sluice", "/bin/true"))
      const { status, stderr } = spawnSync(analyzer, ["verify", file], { encoding: "utf8" })
      assert.strictEqual(stderr.split("\n").filter((line) => line.includes("sluice.service")).join("\n"), "")
      assert.strictEqual(status, 0, stderr)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
