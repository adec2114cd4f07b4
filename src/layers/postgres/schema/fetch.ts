import { ofFile } from "./Step.ts"

/** Runs and their frontiers. */
export const fetch = {
  name: "fetch",
  steps: {
    "1_tables": ofFile("fetch/0001_tables"),
    "2_membership": ofFile("fetch/0002_membership"),
    "3_work": ofFile("fetch/0003_work"),
    "4_removal": ofFile("fetch/0004_removal")
  }
}
