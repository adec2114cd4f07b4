// The one place that knows which Node runs Sluice: from source TypeScript is read as it is. Plain enough for any Node to read this.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 24 && !(major === 22 && minor >= 19)) {
  const isPackage = import.meta.url.includes("/node_modules/")
  console.error(
    `sluice: Node ${process.versions.node} is too old; it needs Node 22.19 or newer in the line of 22, or 24 and newer.\n` +
      (
        isPackage
          ? "  https://nodejs.org has it; `npx -p node@24 -p sluice sluice` brings its own."
          : "  The npm package `node` brings Node 24, but its install script did not run (was it --ignore-scripts?).\n" +
            "  Run `npm rebuild node`, or put a newer Node on the PATH."
      )
  )
  process.exit(3)
}
