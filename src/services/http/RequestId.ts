/** The id of the HTTP request that the current fiber works for: in its answer, its log lines, and the jobs that it enqueues. */
import { Context } from "effect"

/** Undefined outside a request. */
export const RequestId = Context.Reference<string | undefined>("sluice/services/http/RequestId", {
  defaultValue: () => undefined
})

/** A caller's own id is taken when it has this form. */
export const pattern = /^[A-Za-z0-9._:-]{1,128}$/
