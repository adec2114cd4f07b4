/** Fetching for `for await`: the limits as plain numbers, and where requests come from. */
import { ByteSize, Effect, Stream } from "effect"
import { Fetcher } from "../../services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../services/fetch/FetchPolicy.ts"
import type { FetchRequest } from "../../services/fetch/FetchRequest.ts"
import * as InvalidOption from "../../services/tasks/InvalidOption.ts"
import type { FetchOptions, Outcome, Request, Response, Urls } from "./Face.ts"

const whole = (name: string, value: number | undefined, least: 0 | 1) =>
  value === undefined ? {} : { [name]: InvalidOption.wholeNumber(`fetch ${name}`, value, least) }

const millis = (name: string, value: number | undefined) =>
  value === undefined ? undefined : InvalidOption.period(`fetch ${name}`, value)

const rate = (name: string, value: number | undefined) => {
  if (value === undefined) return {}
  if (value > 0) return { [name]: value }
  throw new InvalidOption.InvalidOption({
    option: `fetch ${name}`,
    value: String(value),
    expected: "a number above zero"
  })
}

/** The policy that options make of the defaults; throws `InvalidOption`. One value for no options, so that they share their limits. */
const policyOf = (options: FetchOptions | undefined): FetchPolicy.FetchPolicy => {
  if (options === undefined) return FetchPolicy.defaults
  const attempt = millis("attemptMillis", options.attemptMillis)
  const total = millis("totalMillis", options.totalMillis)
  return FetchPolicy.make(
    whole("concurrency", options.concurrency, 1),
    whole("perHost", options.perHost, 1),
    rate("ratePerSecond", options.ratePerSecond),
    rate("perHostRatePerSecond", options.perHostRatePerSecond),
    whole("maxRedirects", options.maxRedirects, 0),
    {
      ...(options.maxBodyBytes !== undefined && {
        maxBody: ByteSize.bytes(InvalidOption.wholeNumber("fetch maxBodyBytes", options.maxBodyBytes, 0))
      }),
      ...(options.robots !== undefined && { robots: options.robots }),
      ...(options.userAgent !== undefined && { userAgent: options.userAgent }),
      ...(options.denyPrivate !== undefined && { denyPrivate: options.denyPrivate }),
      timeouts: { ...(attempt !== undefined && { attempt }), ...(total !== undefined && { total }) },
      retry: options.retries === undefined
        ? {}
        : { times: InvalidOption.wholeNumber("fetch retries", options.retries, 0) }
    }
  )
}

const requestOf = (from: string | URL | Request, headers: FetchOptions["headers"]): FetchRequest => {
  const request = typeof from === "string" ? { url: from } : from instanceof URL ? { url: from.href } : from
  return headers === undefined ? request : { ...request, headers: { ...headers, ...request.headers } }
}

const inputOf = (urls: Urls): Stream.Stream<string | URL | Request, unknown> =>
  Symbol.asyncIterator in urls ? Stream.fromAsyncIterable(urls, (error) => error) : Stream.fromIterable(urls)

/** One outcome for each, in completion order. */
export const outcomes = (urls: Urls, options: FetchOptions | undefined): Stream.Stream<Outcome, unknown, Fetcher> => {
  const requests = Stream.map(inputOf(urls), (from) => requestOf(from, options?.headers))
  return Stream.unwrap(Effect.map(Fetcher, (fetcher) => fetcher.fetchAll(requests))).pipe(
    Stream.provideService(FetchPolicy.FetchPolicy, policyOf(options))
  )
}

/** One request to its end. */
export const one = (from: string | URL | Request, options: FetchOptions | undefined) =>
  Effect.map(
    Effect.suspend(() =>
      Effect.flatMap(Fetcher, (fetcher) => fetcher.fetch(requestOf(from, options?.headers))).pipe(
        Effect.provideService(FetchPolicy.FetchPolicy, policyOf(options))
      )
    ),
    ({ body, headers, outcome }): Response => {
      const text = () => new TextDecoder().decode(body)
      return { body, headers, outcome, text, json: () => JSON.parse(text()) as unknown }
    }
  )
