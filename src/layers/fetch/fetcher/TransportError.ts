/**
 * What a client's failure means, by its code and by how far the request had got. Knows undici's, node's and llhttp's codes; any other
 * client's failure is at least a `ProtocolError` with its code.
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
const endCodes =
  /^(?:UND_ERR_SOCKET|UND_ERR_RES_CONTENT_LENGTH_MISMATCH|HPE_INVALID_EOF_STATE|HPE_CB_MESSAGE_COMPLETE|ERR_STREAM_PREMATURE_CLOSE)$/

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
  const { bytesReceived, phase, url } = at
  if (error.reason._tag === "InvalidUrlError") {
    return new InvalidRequest({ url, problem: "not a URL after the client's changes" })
  }
  let code = "UNKNOWN"
  let problem = error.reason._tag === "EncodeError" ? "its body cannot be sent" : ""
  for (const each of causes(error.reason)) {
    if (each instanceof AddressFault) return new ForbiddenAddress({ url, address: each.address, range: each.range })
    if (each instanceof ConnectFault) return connectError(each.phase, url, each.code)
    if (code === "UNKNOWN" && "code" in each && typeof each.code === "string") {
      code = each.code
      if (problem === "" && code.startsWith("UND_ERR_INVALID_ARG") && "message" in each) problem = String(each.message)
    }
  }
  if (problem !== "") return new InvalidRequest({ url, problem })
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

const connectError = (phase: ConnectFault["phase"], url: string, code: string): FetchError =>
  phase === "dns"
    ? new DnsError({ url, code })
    : phase === "tls"
    ? new TlsError({ url, code })
    : new ConnectError({ url, code })
