/** What commands on jobs share. */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import { JobId } from "../../services/jobs/Job.ts"

export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON: one object per line, or one for a single answer"),
  Flag.withDefault(false)
)
export const queue = Flag.String("queue").pipe(
  Flag.withAlias("q"),
  Flag.withDescription("Only this queue"),
  Flag.optional
)
export const kind = Flag.String("kind").pipe(
  Flag.withAlias("k"),
  Flag.withDescription("Only this kind"),
  Flag.optional
)
export const id = Argument.String("id").pipe(Argument.withSchema(JobId), Argument.withDescription("The id of a job"))
export const ids = Argument.variadic(id)
export const queueName = Argument.String("queue").pipe(Argument.withDescription("The name of a queue"))
