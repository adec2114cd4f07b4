/** The orders wing's steps. */
import { tables } from "./orders/0001_tables.ts"

/** Accounts, ledger, products and orders. */
export const orders = { name: "orders", steps: { "1_tables": tables } }
