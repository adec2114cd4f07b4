import { Clock, Effect } from "effect"

/** Tells of an outage once when it begins and once when it is over, however many attempts fail between. */
export class Outage {
  private sinceMillis: number | undefined
  private readonly what: string

  constructor(what: string) {
    this.what = what
  }

  failed(doing: string, detail: unknown): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (this.sinceMillis !== undefined) return Effect.logDebug(`jobs: ${doing} failed again`, detail)
      this.sinceMillis = now
      return Effect.logWarning(`jobs: ${this.what} (${doing} failed): trying again until it is back`, detail)
    })
  }

  get worked(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const since = this.sinceMillis
      if (since === undefined) return Effect.void
      this.sinceMillis = undefined
      return Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.logInfo(`jobs: back after ${now - since} ms`))
    })
  }
}
