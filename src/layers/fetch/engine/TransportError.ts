/**
 * What a client's failure means, by its code and by how far the request had got. Knows our own client's faults, node's and undici's codes;
 * any other client's failure is at least a `ProtocolError` with its code and what the client says of it.
 */
import type * as HttpClientError from "effect/http/HttpClientError"
import {
  ConnectError,
  DnsError,
  type FetchError,
  ForbiddenAddress,
  InvalidRequest,
  ProtocolError,
  TlsError,
  TruncatedBody
} from "../../../services/fetch/FetchError.ts"
import { AddressFault, ConnectFault, type TransportPhase } from "../../../services/fetch/TransportWatch.ts"
import { ConnectionLost, RequestFault, WireFault } from "../http1/WireFault.ts"

/** How far a request had got when it failed. */
export interface Progress {
  readonly url: string
  readonly phase: TransportPhase
  readonly bytesReceived: number
}

const dnsCodes = /^(?:ENOTFOUND|EAI_|ENODATA|ESERVFAIL|EREFUSED|ENONAME|EBADNAME)/
const tlsCodes =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CRL_|INVALID_CA|HOSTNAME_MISMATCH|EPROTO)/
const connectCodes =
  /^(?:ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN|EADDRNOTAVAIL|EMFILE|ENFILE|EACCES|EPERM|ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT)$/
/** The connection ended: inside a body that is a body cut off, however it ended. */
const endCodes =
  /^(?:CLOSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|UND_ERR_SOCKET|UND_ERR_RES_CONTENT_LENGTH_MISMATCH|ERR_STREAM_PREMATURE_CLOSE)$/

/** What is shown of what another client says. */
const problemMax = 200

/** The causes of an error, itself first; bounded, because a cause may be its own. */
const causes = function*(error: unknown): Generator<object> {
  let each = error
  for (let depth = 0; depth < 8 && typeof each === "object" && each !== null; depth++) {
    yield each
    each = "cause" in each ? each.cause : undefined
  }
}

/** The reason of a failed attempt as the fetcher's own error. */
export const toFetchError = (error: HttpClientError.HttpClientError, at: Progress): FetchError => {
  const { bytesReceived, url } = at
  if (error.reason._tag === "InvalidUrlError") {
    return new InvalidRequest({ url, problem: "not a URL after the client's changes" })
  }
  if (error.reason._tag === "EncodeError") return new InvalidRequest({ url, problem: "its body cannot be sent" })
  let code: string | undefined
  let problem: string | undefined
  for (const each of causes(error.reason)) {
    if (each instanceof AddressFault) return new ForbiddenAddress({ url, address: each.address, range: each.range })
    if (each instanceof ConnectFault) return connectError(each.phase, url, each.code)
    if (each instanceof RequestFault) return new InvalidRequest({ url, problem: each.problem })
    if (each instanceof WireFault) {
      return new ProtocolError({ url, code: each.code, problem: each.problem, bytesReceived })
    }
    if (each instanceof ConnectionLost) return lost(each.code, at)
    if (code === undefined && "code" in each && typeof each.code === "string") code = each.code
    if (each !== error.reason && "message" in each) problem = String(each.message).slice(0, problemMax)
  }
  if (code === undefined) {
    return new ProtocolError({
      url,
      code: "UNKNOWN",
      ...(problem === undefined ? undefined : { problem }),
      bytesReceived
    })
  }
  return code.startsWith("UND_ERR_INVALID_ARG") ? new InvalidRequest({ url, problem: problem ?? code }) : lost(code, at)
}

/** What a code means, by how far the request had got. */
const lost = (code: string, { bytesReceived, phase, url }: Progress): FetchError => {
  if (phase === "body") {
    return endCodes.test(code)
      ? new TruncatedBody({ url, bytesReceived })
      : new ProtocolError({ url, code, bytesReceived })
  }
  if (dnsCodes.test(code)) return new DnsError({ url, code })
  if (tlsCodes.test(code)) return new TlsError({ url, code })
  if (connectCodes.test(code)) return new ConnectError({ url, code })
  return new ProtocolError({ url, code, bytesReceived })
}

const connectError = (phase: ConnectFault["phase"], url: string, code: string): FetchError => {
  if (phase === "dns") return new DnsError({ url, code })
  return phase === "tls" ? new TlsError({ url, code }) : new ConnectError({ url, code })
}
