/** From domain errors to the problems of the API. */
import * as Problem from "../../services/http/Problem.ts"
import type * as OrdersError from "../../services/orders/OrdersError.ts"

/** The store's failures: what a caller may do about them is all that is told. */
export const ofStore = (
  error: OrdersError.OrdersStoreError
): Problem.Unavailable | Problem.DeadlineExceeded | Problem.Internal => {
  if (error.reason === "TimedOut") return new Problem.DeadlineExceeded()
  return error.reason === "Rejected" ? new Problem.Internal() : new Problem.Unavailable()
}

const of = {
  OrdersStoreError: ofStore,
  KeyReused: () => new Problem.IdempotencyKeyReused(),
  KeyInFlight: () => new Problem.IdempotencyKeyInFlight(),
  OrderRefused: (error: OrdersError.OrderRefused) =>
    new Problem.OrderRefused({ reason: error.reason, detail: error.detail }),
  OrderNotFound: () => new Problem.OrderNotFound(),
  OrderStateConflict: (error: OrdersError.OrderStateConflict) =>
    new Problem.OrderStateConflict({ orderStatus: error.status, detail: error.message }),
  OrderVersionMismatch: (error: OrdersError.OrderVersionMismatch) =>
    new Problem.VersionMismatch({ detail: error.message }),
  AccountNotFound: (error: OrdersError.AccountNotFound) => new Problem.AccountNotFound({ detail: error.message }),
  TransferNotFound: () => new Problem.TransferNotFound(),
  TransferRefused: (error: OrdersError.TransferRefused) =>
    new Problem.TransferRefused({ reason: error.reason, detail: error.message })
} as const

type ProblemOf<E> = E extends { readonly _tag: infer Tag } ?
  Tag extends keyof typeof of ? ReturnType<(typeof of)[Tag]> : E
  : E

const byTag: Record<string, ((error: never) => unknown) | undefined> = of

/** The problem that an error is told as; what is a problem already stays as it is. */
export const problemOf = <E extends { readonly _tag: string }>(error: E): ProblemOf<E> => {
  const make = byTag[error._tag]
  // The table above is the type above: each tag with its function.
  return (make === undefined ? error : make(error as never)) as ProblemOf<E>
}
