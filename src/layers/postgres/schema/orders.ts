import { ofFile } from "./Step.ts"

/** Accounts, ledger, products and orders, and how long orders are kept. */
export const orders = {
  name: "orders",
  needs: ["jobs"],
  steps: {
    "1_tables": ofFile("orders/0001_tables"),
    "2_functions": ofFile("orders/0002_functions"),
    "3_retention": ofFile("orders/0003_retention")
  }
}
