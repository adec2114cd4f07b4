/** Sizes as people type them, on the command line and in the environment: `512B`, `64KiB`, `10MiB`, `2GiB`, `10MB`. */
import { ByteSize, type Config, Option } from "effect"
import * as Setting from "./Setting.ts"

const form = /^\d+\s?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$/

/** From the text; `undefined` for anything else. */
export const parse = (text: string): ByteSize.ByteSize | undefined =>
  form.test(text) ? Option.getOrUndefined(ByteSize.fromString(text)) : undefined

const mostBytes = 1024 ** 3

/** A variable of the environment in this form, in bytes; a number without a unit is bytes. From 1B to 1GiB. */
export const configBytes = (name: string): Config.Config<number> =>
  Setting.read(name, "a size from 1B to 1GiB, such as 64KiB (a bare number is bytes)", (text) => {
    const size = parse(/^\d+$/.test(text) ? `${text}B` : text)
    const bytes = size === undefined ? Number.NaN : Number(size)
    return bytes >= 1 && bytes <= mostBytes ? bytes : undefined
  })
