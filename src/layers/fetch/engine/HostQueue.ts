/**
 * The tasks of one host that wait at its gate, oldest first; linked through the tasks themselves.
 */
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import type { Task } from "./Call.ts"

export class HostQueue {
  readonly gate: HostGate
  /** Whether it stands in the line of those that may start something. */
  isReady = false
  private first: Task | undefined = undefined
  private last: Task | undefined = undefined

  constructor(gate: HostGate) {
    this.gate = gate
  }

  get isEmpty(): boolean {
    return this.first === undefined
  }

  push(task: Task, isFront: boolean): void {
    if (isFront) {
      task.next = this.first
      this.first = task
      this.last ??= task
      return
    }
    task.next = undefined
    if (this.last === undefined) this.first = task
    else this.last.next = task
    this.last = task
  }

  /** Takes out what nobody wants any more; says how many that were. */
  dropCancelled(): number {
    let dropped = 0
    let kept: Task | undefined
    for (let task = this.first; task !== undefined; task = task.next) {
      if (!task.isCancelled) {
        kept = task
        continue
      }
      if (kept === undefined) this.first = task.next
      else kept.next = task.next
      dropped++
    }
    this.last = kept
    return dropped
  }

  shift(): Task | undefined {
    const task = this.first
    if (task === undefined) return undefined
    this.first = task.next
    if (this.first === undefined) this.last = undefined
    task.next = undefined
    return task
  }
}
