/** Tags of failures as they are typed: one that no failure has would match nothing, and look like success. */
import { Effect } from "effect"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import { FetchError } from "../../services/fetch/FetchError.ts"

const tags = FetchError.members.map((member) => member.fields._tag.schema.literal).toSorted()

/** The tag that was meant; capitals do not matter. */
const parse = (text: string): string | undefined => tags.find((tag) => tag.toLowerCase() === text.toLowerCase())

/** `--tag`. */
export const flag = (description: string) =>
  Flag.String("tag").pipe(
    Flag.withMetavar("tag"),
    Flag.withDescription(description),
    Flag.mapEffect((value) => {
      const tag = parse(value)
      return tag === undefined
        ? Effect.fail(new CliError.InvalidValue({ option: "tag", value, expected: tags.join(", "), kind: "flag" }))
        : Effect.succeed(tag)
    }),
    Flag.optional
  )
