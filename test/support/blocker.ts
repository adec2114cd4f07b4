import { spawnSync } from "node:child_process"

/** Blocks the event loop, in a function whose name the stack must show. */
export const computePrimesTheSlowWay = (millis: number): number => {
  const end = performance.now() + millis
  let found = 0
  for (let n = 2; performance.now() < end; n++) {
    let isPrime = true
    for (let d = 2; d * d <= n; d++) if (n % d === 0) isPrime = false
    if (isPrime) found++
  }
  return found
}

/** Blocks the event loop in a native call, which no debugger can look into. */
export const sleepInNativeCode = (millis: number): void => void spawnSync("sleep", [String(millis / 1000)])
