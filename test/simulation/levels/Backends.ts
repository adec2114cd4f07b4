/**
 * Backends of a real Postgres, asked as if their answers took no time: the caller stands still until there is one. The
 * sockets are a thread's. So a world over a real Postgres is one synchronous loop like the others, and nothing can
 * happen in it while the server thinks.
 */
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads"

/** Something to ask a backend; without `ask`, only its answer is waited for. */
export interface Step {
  readonly backend: number
  readonly ask?: Uint8Array
  /** How many `ReadyForQuery` it is answered with. */
  readonly replies: number
  /** How many of those nobody wants to see. */
  readonly skip?: number
  /** Only when the one before has ended its transaction. */
  readonly isForIdle?: boolean
}

export type ToThread =
  | { readonly type: "open"; readonly startup: Uint8Array }
  | { readonly type: "walk"; readonly steps: ReadonlyArray<Step> }
  | { readonly type: "end"; readonly backend: number }

export interface Done {
  /** `waits`: for a lock, and its deadlock check has found none. */
  readonly state: "done" | "waits" | "closed"
  readonly reply: Uint8Array
  /** Notifications. */
  readonly notes: ReadonlyArray<Uint8Array>
  /** Notices that begin with `simulated `. */
  readonly said: ReadonlyArray<string>
}

export type FromThread =
  | { readonly type: "opened"; readonly id: number; readonly pid: number }
  | { readonly type: "walked"; readonly done: ReadonlyArray<Done> }
  | { readonly type: "ended" }
  | { readonly type: "failed"; readonly why: string }

/** A minute without an answer is a server that hangs: nothing here takes a tenth of a second. */
const patienceMillis = 60_000

export class Backends {
  private readonly signal = new Int32Array(new SharedArrayBuffer(4))
  private readonly port = new MessageChannel()
  private readonly worker: Worker

  constructor(path: string) {
    this.worker = new Worker(new URL("./backendsThread.ts", import.meta.url), {
      workerData: { path, port: this.port.port2, signal: this.signal },
      transferList: [this.port.port2]
    })
    this.worker.unref()
  }

  open(startup: Uint8Array): { readonly id: number; readonly pid: number } {
    const answer = this.tell({ type: "open", startup })
    if (answer.type !== "opened") throw new Error("it was not opened")
    return answer
  }

  /** One step after the other; those after one that waits, or is gone, are not taken. */
  walk(steps: ReadonlyArray<Step>): ReadonlyArray<Done> {
    const answer = this.tell({ type: "walk", steps })
    return answer.type === "walked" ? answer.done : []
  }

  end(backend: number): void {
    this.tell({ type: "end", backend })
  }

  async close(): Promise<void> {
    await this.worker.terminate()
    this.port.port1.close()
  }

  private tell(what: ToThread): FromThread {
    this.port.port1.postMessage(what)
    while (true) {
      const seen = Atomics.load(this.signal, 0)
      const received: { readonly message: FromThread } | undefined = receiveMessageOnPort(this.port.port1)
      if (received?.message.type === "failed") throw new Error(received.message.why)
      if (received !== undefined) return received.message
      if (Atomics.wait(this.signal, 0, seen, patienceMillis) === "timed-out") {
        throw new Error("the database does not answer")
      }
    }
  }
}
