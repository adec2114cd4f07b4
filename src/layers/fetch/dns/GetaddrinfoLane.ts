/**
 * The system's own resolver (getaddrinfo), for names that only it can know. Each call holds one of libuv's threads until it ends, and
 * cannot be ended, so few run at a time and the others wait here, where nobody takes the wait for the name's own.
 */
import { lookup } from "node:dns"
import type { Answer, Cancel, Lookup } from "./Answer.ts"

/** libuv gives half of its four threads to slow work; more calls would only wait there. */
const runningMax = 2

interface Call {
  readonly hostname: string
  readonly done: (answer: Answer) => void
  readonly held: (isHeld: boolean) => void
}

/** getaddrinfo, all addresses in the order that it gives them. */
const getaddrinfo: Lookup = (hostname, done) => {
  lookup(hostname, { all: true, order: "verbatim" }, (error, addresses) => {
    if (error !== null) done({ code: error.code ?? "EAI_FAIL" })
    else done(addresses.length === 0 ? { code: "ENODATA" } : { addresses })
  })
}

export class GetaddrinfoLane {
  private readonly waiting = new Set<Call>()
  private readonly call: Lookup
  private running = 0

  constructor(call: Lookup = getaddrinfo) {
    this.call = call
  }

  readonly lookup: Lookup = (hostname, done, held): Cancel => {
    const call = { hostname, done, held }
    if (this.running < runningMax) this.run(call)
    else {
      held(true)
      this.waiting.add(call)
    }
    return () => this.waiting.delete(call)
  }

  private run({ done, held, hostname }: Call): void {
    this.running++
    this.call(hostname, (answer) => {
      this.running--
      const [next] = this.waiting
      if (next !== undefined) {
        this.waiting.delete(next)
        next.held(false)
        this.run(next)
      }
      done(answer)
    }, held)
  }
}
