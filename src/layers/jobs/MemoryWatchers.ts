import type { JobId } from "../../services/jobs/Job.ts"

/** Who waits for the end of which job of the in-memory queue. */
export class MemoryWatchers {
  private readonly watchers = new Map<JobId, Set<() => void>>()

  /** Tells of the end of a live job; what is answered takes that back. */
  onEnd(id: JobId, tell: () => void): () => void {
    const watchers = this.watchers.get(id) ?? new Set()
    this.watchers.set(id, watchers.add(tell))
    return () => {
      watchers.delete(tell)
      if (watchers.size === 0 && this.watchers.get(id) === watchers) this.watchers.delete(id)
    }
  }

  /** A job has ended. */
  ended(id: JobId): void {
    const watchers = this.watchers.get(id)
    this.watchers.delete(id)
    for (const tell of watchers ?? []) tell()
  }
}
