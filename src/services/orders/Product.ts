/** What is sold, and how much of it there is. */
import { Result, Schema } from "effect"
import { AccountId } from "./Account.ts"
import { Currency, PositiveAmount } from "./Money.ts"
import { plainText } from "./PlainText.ts"

/** A stock keeping unit: 1 to 64 letters, digits, `.`, `_`, `-`, the first a letter or digit. */
export const Sku = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/u, {
    expected: "1 to 64 letters, digits, \".\", \"_\" or \"-\"",
    description: "1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit."
  })
)

/** The most of one product that there can be, to sell and reserved together: what a cancelled order gives back always finds room. */
export const maxStock = 2_000_000_000

const Units = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: maxStock }))

/** A product to sell. */
export const NewProduct = Schema.Struct({
  sku: Sku,
  name: plainText(1, 200),
  price: PositiveAmount,
  currency: Currency,
  /** The account that gets the money. */
  seller: AccountId,
  /** Whether an order of it has to be picked and shipped; otherwise it is complete when it is paid. */
  isShipped: Schema.Boolean,
  /** Units that can be sold. */
  onHand: Units
})

/** A product to sell. */
export type NewProduct = typeof NewProduct.Type

/** A product as the catalog knows it. `onHand + reserved + sold` only changes by restocking and adjusting. */
export const Product = Schema.Struct({
  ...NewProduct.fields,
  /** Units that belong to orders that are not complete yet. */
  reserved: Units,
  /** Units that have left for good. */
  sold: Schema.Int
})

/** A product as the catalog knows it. */
export type Product = typeof Product.Type

/** Units that are added to what can be sold, or taken away: deliveries, breakage, a count that found another number. */
export const AdjustmentUnits = Schema.Int.check(
  Schema.isBetween({ minimum: -maxStock, maximum: maxStock }),
  Schema.makeFilter((units: number) => units !== 0, { expected: "a whole number other than 0" })
)

/** One change of a product's stock outside of orders. */
export const StockAdjustment = Schema.Struct({
  sku: Sku,
  units: AdjustmentUnits,
  /** What could be sold when it was made, this included. */
  onHand: Units,
  at: Schema.DateFromString
})

/** One change of a product's stock outside of orders. */
export type StockAdjustment = typeof StockAdjustment.Type

/** Why a product is refused. */
export const ProductRefusalReason = Schema.Literals(["UnknownSeller", "CurrencyMismatch"])

/** A change would leave less than nothing to sell, or more than there can be with what is reserved; nothing was written. */
export class StockRefused extends Schema.TaggedError<StockRefused>()("StockRefused", {
  sku: Schema.String,
  onHand: Schema.Int,
  units: Schema.Int
}) {
  override get message(): string {
    return `there are ${this.onHand} of ${this.sku} to sell: a change by ${this.units} is not possible`
  }
}

/** What there is after an adjustment. */
export const adjusted = (
  product: Pick<Product, "sku" | "onHand" | "reserved">,
  units: number
): Result.Result<number, StockRefused> => {
  const after = product.onHand + units
  return after < 0 || after + product.reserved > maxStock
    ? Result.fail(new StockRefused({ sku: product.sku, onHand: product.onHand, units }))
    : Result.succeed(after)
}
