/** TLS sessions by server name, for resumption; the oldest goes when there are too many. */
export class TlsSessions {
  private readonly sessions = new Map<string, Buffer>()

  get(servername: string): Buffer | undefined {
    return this.sessions.get(servername)
  }

  set(servername: string, session: Buffer): void {
    this.sessions.delete(servername)
    if (this.sessions.size >= 1000) {
      const oldest = this.sessions.keys().next()
      if (oldest.done !== true) this.sessions.delete(oldest.value)
    }
    this.sessions.set(servername, session)
  }
}
