/**
 * The house rules as a machine reads them: programs -> layers -> services, and between wings only what stands in `wings`.
 * `test/house/layout.test.ts` shows that they bite, and that no string hides an arrow from them.
 */

/** Each wing and those that it may use besides itself; postgres and tasks are the ground under all others. */
const wings = {
  tasks: [],
  postgres: ["tasks"],
  fetch: ["postgres", "tasks"],
  jobs: ["postgres", "tasks"],
  orders: ["jobs", "postgres", "tasks"],
  http: ["orders", "jobs", "fetch", "postgres", "tasks"]
}

/** Everything in services/ and layers/ but these wings. */
const allBut = (names) => ({
  path: "^src/(services|layers)/",
  pathNot: `^src/(services|layers)/(${names.join("|")})/`
})

const wing = ([name, mayUse]) => ({
  name: `wing-${name}`,
  comment: `The ${name} wing may use only: ${[name, ...mayUse].join(", ")}.`,
  severity: "error",
  from: { path: `^src/(services|layers)/${name}/` },
  to: allBut([name, ...mayUse])
})

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    {
      name: "services-are-pure",
      comment: "services/ imports effect and other services: no I/O, no layers, no programs.",
      severity: "error",
      from: { path: "^src/services/" },
      to: { path: "^src/(layers|programs|exports)/" }
    },
    {
      name: "services-import-only-effect",
      comment: "services/ knows no package but effect, and no node: module.",
      severity: "error",
      from: { path: "^src/services/" },
      to: { dependencyTypesNot: ["local"], pathNot: "(^|/)node_modules/effect/" }
    },
    {
      name: "layers-below-programs",
      comment: "layers/ never imports programs/ or exports/.",
      severity: "error",
      from: { path: "^src/layers/" },
      to: { path: "^src/(programs|exports)/" }
    },
    {
      name: "programs-below-bin",
      comment: "programs/ never imports its own entrypoints, nor the public face.",
      severity: "error",
      from: { path: "^src/programs/(?!bin/)" },
      to: { path: "^src/(programs/bin|exports)/" }
    },
    {
      name: "bin-provides",
      comment:
        "What a command needs is provided in programs/bin: elsewhere only the rooms that are made of layers, or show them, name one. What plain JavaScript opens (promise/) is an edge as bin/ is.",
      severity: "error",
      from: {
        path: "^src/programs/(?!(bin|demo|process|promise)/)",
        pathNot: "^src/programs/(orders/App|serve/Server|migrate/Command|work/[A-Z][a-z]+Worker|work/Retention)\\.ts$"
      },
      to: { path: "^src/layers/" }
    },
    {
      name: "commands-apart",
      comment: "A command knows nothing of another; what two share is a file of its own.",
      severity: "error",
      from: { path: "^src/programs/(?!bin/)" },
      to: { path: "^src/programs/[^/]+/Command\\.ts$" }
    },
    {
      name: "nobody-imports-the-public-face",
      comment: "src/exports is for package.json; inside the house a file imports the file it means.",
      severity: "error",
      from: { path: "^src/(?!exports/)" },
      to: { path: "^src/exports/" }
    },
    {
      name: "no-index",
      comment: "No file imports an index.ts.",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^src/.*index\\.ts$" }
    },
    { name: "no-cycles", severity: "error", from: { path: "^src/" }, to: { circular: true } },
    {
      name: "no-platform-barrel",
      comment: "The barrel of @effect/platform-node wants the peer redis: import subpaths.",
      severity: "error",
      from: {},
      to: { path: "node_modules/@effect/platform-node/(dist|src)/index\\.(js|ts)$" }
    },
    {
      name: "wings-are-declared",
      comment: "A wing that no rule knows is used by nobody: declare it in `wings`.",
      severity: "error",
      from: {},
      to: allBut(Object.keys(wings))
    },
    ...Object.entries(wings).map(wing)
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^dist/" },
    parser: "swc",
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] }
  }
}
