/** What is sold, and how much of it there is. */
import { Schema } from "effect"
import { AccountId } from "./Account.ts"
import { Currency, PositiveAmount } from "./Money.ts"
import { plainText } from "./PlainText.ts"

/** A stock keeping unit: 1 to 64 letters, digits, `.`, `_`, `-`, the first a letter or digit. */
export const Sku = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, { expected: "1 to 64 letters, digits, \".\", \"_\" or \"-\"" })
)

/** The most of one product that there can be. */
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

/** A product as the catalog knows it. `onHand + reserved + sold` only changes by restocking. */
export const Product = Schema.Struct({
  ...NewProduct.fields,
  /** Units that belong to orders that are not complete yet. */
  reserved: Units,
  /** Units that have left for good. */
  sold: Schema.Int
})

/** A product as the catalog knows it. */
export type Product = typeof Product.Type
