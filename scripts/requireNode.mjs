// The one place that knows which Node runs TypeScript as it is. npm scripts get it from the devDependency `node`.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 24 && !(major === 22 && minor >= 19)) {
  console.error(
    `sluice: Node ${process.versions.node} cannot run this checkout; it needs Node 22.19 or newer.\n` +
      "  The npm package `node` brings Node 24, but its install script did not run (was it --ignore-scripts?).\n" +
      "  Run `npm rebuild node`, or put a newer Node on the PATH."
  )
  process.exit(3)
}
