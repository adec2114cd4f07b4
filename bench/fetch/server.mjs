// The smallest HTTP/1.1 server there is: 1 KiB for every request head, over plain sockets, so that it is never what is measured.
import { createServer } from "node:net"

const body = Buffer.alloc(1024, "x")
const reply = Buffer.concat([
  Buffer.from(
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
  ),
  body
])
createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {})
  socket.on("data", (chunk) => {
    // A head may come in pieces only if it is large; ours is not.
    if (chunk.indexOf("\r\n\r\n") >= 0) socket.write(reply)
  })
}).listen(0, "127.0.0.1", function() {
  process.stdout.write(`${this.address().port}\n`)
})
