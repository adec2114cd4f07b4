/**
 * Connections by origin, one request each. As many as are asked for (the callers' policies bound that); only idle ones are bounded
 * here, and fewer of them are kept, for good, once the process has run out of files.
 */
import { Connection, type ConnectionOptions } from "./Connection.ts"
import { FileShortage } from "./FileShortage.ts"

/** Idle connections that are kept however scarce files are; in a shortage the last of them go, too. */
const idleLeast = 16

export class ConnectionPool {
  private readonly options: ConnectionOptions
  private readonly shortage: FileShortage
  private idleMax: number
  private readonly open = new Map<string, Array<Connection>>()
  private readonly guarded = new Map<string, Array<Connection>>()
  /** Idle connections, the longest idle first. */
  private readonly idle = new Set<Connection>()
  private readonly busy = new Set<Connection>()
  private isClosed = false

  constructor(options: Omit<ConnectionOptions, "shortage">, idleMax: number) {
    this.shortage = new FileShortage(
      options.timers,
      () => this.makeRoom(),
      () => this.idle.size === 0 && this.busy.size <= this.shortage.size
    )
    this.options = { ...options, shortage: this.shortage }
    this.idleMax = idleMax
  }

  /**
   * A connection that is this caller's until it is given back. One that was opened without the address policy is never used by a
   * request under it.
   */
  acquire(origin: string, denyPrivate: boolean): Connection {
    const idle = (denyPrivate ? this.guarded : this.open).get(origin)?.pop()
    if (idle !== undefined) this.idle.delete(idle)
    const connection = idle ?? new Connection(origin, denyPrivate, this.options)
    this.busy.add(connection)
    return connection
  }

  /** Gives a connection back whose request has ended well. */
  release(connection: Connection): void {
    if (!this.busy.delete(connection)) return
    // Others wait for a file: nobody keeps one in store.
    if (this.shortage.size > 0) return this.end(connection, null)
    const pools = connection.denyPrivate ? this.guarded : this.open
    const pool = pools.get(connection.origin)
    if (pool === undefined) pools.set(connection.origin, [connection])
    else pool.push(connection)
    this.idle.add(connection)
    if (this.idle.size > this.idleMax) this.dropOldest()
  }

  /** Gives a connection back that is not to be used again, and closes it. */
  discard(connection: Connection, error: Error | null): void {
    this.busy.delete(connection)
    // A host that is dead leaves no empty line behind.
    const pools = connection.denyPrivate ? this.guarded : this.open
    if (pools.get(connection.origin)?.length === 0) pools.delete(connection.origin)
    if (!this.isClosed) this.end(connection, error)
  }

  /** Ends every connection; resolves when their sockets are closed. */
  close(): Promise<unknown> {
    this.isClosed = true
    const all = [...this.busy, ...this.idle]
    this.busy.clear()
    this.idle.clear()
    this.open.clear()
    this.guarded.clear()
    return Promise.all(all.map((connection) => connection.destroy(null)))
  }

  private end(connection: Connection, error: Error | null): void {
    void connection.destroy(error).then(() => this.shortage.freed())
  }

  /** Half of the idle connections go at once, for the next ones that come to a shortage. */
  private makeRoom(): void {
    const kept = Math.floor(this.idle.size / 2)
    this.idleMax = Math.min(this.idleMax, Math.max(idleLeast, kept))
    while (this.idle.size > kept) this.dropOldest()
  }

  private dropOldest(): void {
    const [oldest] = this.idle
    if (oldest === undefined) return
    this.idle.delete(oldest)
    const pools = oldest.denyPrivate ? this.guarded : this.open
    const pool = pools.get(oldest.origin)
    const at = pool?.indexOf(oldest) ?? -1
    if (at >= 0) pool?.splice(at, 1)
    if (pool?.length === 0) pools.delete(oldest.origin)
    this.end(oldest, null)
  }
}
