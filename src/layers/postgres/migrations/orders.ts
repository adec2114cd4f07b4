/** The orders wing's steps. */
import { tables } from "./orders/0001_tables.ts"
import { status } from "./orders/0002_status.ts"
import { room } from "./orders/0003_room.ts"
import { books } from "./orders/0004_books.ts"
import { accept } from "./orders/0005_accept.ts"
import { stock } from "./orders/0006_stock.ts"

/** Accounts, ledger, products and orders. */
export const orders = {
  name: "orders",
  steps: {
    "1_tables": tables,
    "2_status": status,
    "3_room": room,
    "4_books": books,
    "5_accept": accept,
    "6_stock": stock
  }
}
