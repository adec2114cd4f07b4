import { tables } from "./jobs/0001_tables.ts"
import { functions } from "./jobs/0002_functions.ts"
import { plans } from "./jobs/0003_plans.ts"
import { claimFloor } from "./jobs/0004_claim_floor.ts"
import { add } from "./jobs/0005_add.ts"

/** The tables of the job queue. */
export const jobs = {
  name: "jobs",
  steps: { "1_tables": tables, "2_functions": functions, "3_plans": plans, "4_claim_floor": claimFloor, "5_add": add }
} as const
