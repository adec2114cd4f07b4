// A program of somebody who has neither TypeScript nor Effect: run by Promise.test.ts, which reads what it prints.
import { Discard, open } from "sluice/promise"

const sluice = await open({ memory: true })
const greeted = []
const worker = await sluice.jobs.work({
  greet: async ({ name }, { attempt }) => {
    if (name === "nobody") throw new Discard("nobody is there")
    if (attempt === 1 && name === "grace") throw new Error("not yet")
    greeted.push(name)
    return `Hello, ${name}!`
  }
})
const id = await sluice.jobs.enqueue("greet", { name: "ada" })
const dead = await sluice.jobs.enqueue("greet", { name: "nobody" })
const ended = await sluice.jobs.ended(id)
const discarded = await sluice.jobs.ended(dead)
await worker.stop()
await sluice.close()
console.log(JSON.stringify({ state: ended.state, result: ended.result, why: discarded.failure.message, greeted }))
