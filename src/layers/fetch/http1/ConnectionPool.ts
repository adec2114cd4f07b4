/**
 * Connections by origin, one request each. As many as are asked for (the callers' policies bound that) and as there are files for; the
 * idle ones are bounded here, and give way to whoever finds no room.
 */
import { Connection, type ConnectionOptions } from "./Connection.ts"
import { SocketRoom } from "./SocketRoom.ts"

export class ConnectionPool {
  private readonly options: ConnectionOptions
  private readonly room: SocketRoom
  private readonly idleMax: number
  private readonly open = new Map<string, Array<Connection>>()
  private readonly guarded = new Map<string, Array<Connection>>()
  /** Idle connections, the longest idle first. */
  private readonly idle = new Set<Connection>()
  private readonly busy = new Set<Connection>()
  private isClosed = false

  /**
   * @param idleMax idle connections in all
   * @param socketsMax open sockets in all
   */
  constructor(options: Omit<ConnectionOptions, "room">, idleMax: number, socketsMax: number) {
    this.room = new SocketRoom(
      options.timers,
      socketsMax,
      () => this.dropOldest(),
      () => this.idle.size === 0 && this.busy.size <= this.room.size
    )
    this.options = { ...options, room: this.room }
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
    if (this.room.size > 0) return void connection.destroy(null)
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
    if (!this.isClosed) void connection.destroy(error)
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

  private dropOldest(): void {
    const [oldest] = this.idle
    if (oldest === undefined) return
    this.idle.delete(oldest)
    const pools = oldest.denyPrivate ? this.guarded : this.open
    const pool = pools.get(oldest.origin)
    const at = pool?.indexOf(oldest) ?? -1
    if (at >= 0) pool?.splice(at, 1)
    if (pool?.length === 0) pools.delete(oldest.origin)
    void oldest.destroy(null)
  }
}
