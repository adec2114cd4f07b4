/** Imported before a program (NODE_OPTIONS): SIGHUP then holds up its event loop for two seconds. */
import process from "node:process"

const heldMillis = 2000

process.on("SIGHUP", function holdsTheLoop() {
  const end = performance.now() + heldMillis
  while (performance.now() < end);
})
