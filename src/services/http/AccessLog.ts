/** Who is told of each request that was answered, when somebody wants to know. */
import { Context } from "effect"

/** A request and its answer. Of its address only the path: what stands behind `?` may be secret. */
export interface Entry {
  readonly requestId: string
  readonly method: string
  readonly path: string
  /** The address as the API describes it, such as `/v1/orders/:id`: what to group by. */
  readonly route: string
  readonly status: number
  /** Until the answer's head was ready. */
  readonly millis: number
  /** Of the answer's body; null when it is a stream. */
  readonly bytes: number | null
  /** Milliseconds since the epoch. */
  readonly answeredAt: number
}

/** Undefined for nobody, which costs nothing. */
export const AccessLog: Context.Reference<((entry: Entry) => void) | undefined> = Context.Reference(
  "sluice/services/http/AccessLog",
  { defaultValue: (): ((entry: Entry) => void) | undefined => undefined }
)
