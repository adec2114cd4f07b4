/** Fetching: requests, policies, outcomes, the fetcher and its frontier. */
export * as BodyStore from "../services/fetch/BodyStore.ts"
export * as Fetcher from "../services/fetch/Fetcher.ts"
export * as FetchError from "../services/fetch/FetchError.ts"
export * as FetchOutcome from "../services/fetch/FetchOutcome.ts"
export * as FetchPolicy from "../services/fetch/FetchPolicy.ts"
export * as FetchRequest from "../services/fetch/FetchRequest.ts"
export * as FetchSource from "../services/fetch/FetchSource.ts"
export * as Frontier from "../services/fetch/Frontier.ts"
