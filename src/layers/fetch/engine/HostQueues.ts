/**
 * Calls that wait at the gates of their hosts: a queue for each host, and whose turn it is. Hosts take turns, so that a long queue does not
 * hold up the others; one that is shut has none until it is opened again.
 */
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import type { Call } from "./Call.ts"

/** The calls of one host, oldest first; linked through the calls themselves. */
export class HostQueue {
  readonly gate: HostGate
  length = 0
  /** Whether it stands in the line of those that may start something. */
  isReady = false
  isShut: boolean
  first: Call | undefined = undefined
  private last: Call | undefined = undefined

  constructor(gate: HostGate, isShut: boolean) {
    this.gate = gate
    this.isShut = isShut
  }

  push(call: Call, isFront: boolean): void {
    this.length++
    if (isFront) {
      call.next = this.first
      this.first = call
      this.last ??= call
      return
    }
    call.next = undefined
    if (this.last === undefined) this.first = call
    else this.last.next = call
    this.last = call
  }

  shift(): Call | undefined {
    const call = this.first
    if (call === undefined) return undefined
    this.length--
    this.first = call.next
    if (this.first === undefined) this.last = undefined
    call.next = undefined
    return call
  }

  /** Takes out what nobody wants any more. */
  dropCancelled(): void {
    let kept: Call | undefined
    for (let call = this.first; call !== undefined; call = call.next) {
      if (!call.isCancelled) {
        kept = call
        continue
      }
      if (kept === undefined) this.first = call.next
      else kept.next = call.next
      this.length--
    }
    this.last = kept
  }
}

export class HostQueues {
  /** Calls in all queues. */
  length = 0
  /** Those of them whose host is not shut. */
  openLength = 0
  /** Hosts whose gate was found shut; also those without a queue. */
  readonly shut = new Set<string>()
  private readonly queues = new Map<string, HostQueue>()
  private readonly ready: Array<HostQueue> = []

  of(host: string): HostQueue | undefined {
    return this.queues.get(host)
  }

  /** A queue at the gate of a host that has none. */
  open(gate: HostGate): HostQueue {
    const queue = new HostQueue(gate, this.shut.has(gate.host))
    gate.queued++
    this.queues.set(gate.host, queue)
    return queue
  }

  push(queue: HostQueue, call: Call, isFront: boolean): void {
    queue.push(call, isFront)
    this.length++
    if (queue.isShut) return
    this.openLength++
    this.makeReady(queue)
  }

  /** The queue whose turn it is, which is over with that. */
  takeTurn(): HostQueue | undefined {
    while (true) {
      const queue = this.ready.shift()
      if (queue === undefined) return undefined
      queue.isReady = false
      // Meanwhile its host may have been shut, or all its calls forgotten.
      if (!queue.isShut && queue.first !== undefined) return queue
    }
  }

  /** Takes the next call of a queue whose turn it was. */
  shift(queue: HostQueue): Call | undefined {
    const call = queue.shift()
    if (call === undefined) return undefined
    this.length--
    this.openLength--
    if (queue.first === undefined) this.close(queue)
    else this.makeReady(queue)
    return call
  }

  /** A host has no turn any more, until `unshut`. */
  shutHost(host: string): void {
    if (this.shut.has(host)) return
    this.shut.add(host)
    const queue = this.queues.get(host)
    if (queue === undefined) return
    queue.isShut = true
    this.openLength -= queue.length
  }

  unshut(host: string): void {
    if (!this.shut.delete(host)) return
    const queue = this.queues.get(host)
    if (queue === undefined) return
    queue.isShut = false
    this.openLength += queue.length
    this.makeReady(queue)
  }

  /** Takes out what nobody wants any more. */
  dropCancelled(): void {
    this.length = 0
    this.openLength = 0
    for (const queue of this.queues.values()) {
      queue.dropCancelled()
      this.length += queue.length
      if (!queue.isShut) this.openLength += queue.length
      if (queue.first === undefined) this.close(queue)
    }
  }

  clear(): void {
    for (const { gate } of this.queues.values()) gate.queued--
    this.queues.clear()
    this.ready.length = 0
    this.length = 0
    this.openLength = 0
  }

  private close(queue: HostQueue): void {
    queue.gate.queued--
    this.queues.delete(queue.gate.host)
  }

  private makeReady(queue: HostQueue): void {
    if (queue.isReady) return
    queue.isReady = true
    this.ready.push(queue)
  }
}
