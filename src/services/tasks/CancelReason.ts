import { Cause, Context, Option } from "effect"

/** Why a task was interrupted; kept as an annotation of the interruption, for who looks into the cause. */
export class CancelReason extends Context.Service<CancelReason, string>()("sluice/services/tasks/CancelReason") {}

/** @internal */
export const because = (reason: string): Context.Context<never> => Context.make(CancelReason, reason)

/** The first reason in a cause: "fetch /a failed", "deadline of 10s passed", "crawl was cancelled". */
export const of = (cause: Cause.Cause<unknown>): Option.Option<string> => {
  for (const reason of cause.reasons) {
    if (!Cause.isInterruptReason(reason)) continue
    const text = Context.getOption(Cause.reasonAnnotations(reason), CancelReason)
    if (Option.isSome(text)) return text
  }
  return Option.none()
}
