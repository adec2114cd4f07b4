import { ofFile } from "./Step.ts"

/** The job queue. */
export const jobs = {
  name: "jobs",
  steps: {
    "1_tables": ofFile("jobs/0001_tables"),
    "2_transitions": ofFile("jobs/0002_transitions"),
    "3_rules": ofFile("jobs/0003_rules"),
    "4_fleet": ofFile("jobs/0004_fleet"),
    "5_operators": ofFile("jobs/0005_operators")
  }
}
