/**
 * What the system says against reading or writing a file, in words.
 */
import { type PlatformError, Predicate } from "effect"

/** The system's own name of what went wrong (`ENOSPC`). */
export const codeOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "code") && Predicate.isString(error.code) ? error.code : undefined

/** The same of what a file system answered, or what stands for it. */
export const platformCodeOf = ({ reason }: PlatformError.PlatformError): string => codeOf(reason.cause) ?? reason._tag
