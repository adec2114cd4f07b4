/** For the tests of programs that use Sluice: leaks are failures. */
export * as Leaks from "../layers/tasks/NodeLeaks.ts"
export { LeakFound } from "../services/tasks/Leaks.ts"
