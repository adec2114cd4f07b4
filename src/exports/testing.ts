/** For the tests of programs that use Sluice: jobs are run on virtual time, and leaks are failures. */
export * as Leaks from "../layers/tasks/NodeLeaks.ts"
export { LeakFound } from "../services/tasks/Leaks.ts"
export * as JobTest from "./testing/JobTest.ts"
