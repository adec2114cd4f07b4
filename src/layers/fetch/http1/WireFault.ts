/**
 * Why an exchange came to nothing on the wire. Each travels as the `cause` of a client's transport error.
 */
import { Data } from "effect"

/** What came was not HTTP/1.1: a short code, and in words what was wrong and where. */
export class WireFault extends Data.TaggedError("WireFault")<{ readonly code: string; readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** The connection ended before the response did; `CLOSED` is a plain end, anything else the system's own code. */
export class ConnectionLost extends Data.TaggedError("ConnectionLost")<{ readonly code: string }> {
  override get message(): string {
    return this.code === "CLOSED" ? "server closed the connection" : `connection broke (${this.code})`
  }
}

/** The request cannot be written as HTTP/1.1: nothing was sent. */
export class RequestFault extends Data.TaggedError("RequestFault")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** This side gave the exchange up. */
export class ExchangeAborted extends Data.TaggedError("ExchangeAborted")<{ readonly code: string }> {}
