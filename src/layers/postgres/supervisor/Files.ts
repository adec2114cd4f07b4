/** Names inside a data directory, and nothing else: the supervisor's process loads this file, its users too. */

/** The server's own directory. */
export const cluster = "pg"
/** The control socket: a connection to it is a use of the server. */
export const controlSocket = "pg.sock"
/** The file that the one supervisor locks. */
export const lock = "pg.lock"
/** What the server and its supervisor write. */
export const log = "pg.log"
/** The port is only a part of the server socket's name: nothing listens on TCP. */
export const port = 5432
/** The server's socket, inside its own directory. */
export const serverSocket = `.s.PGSQL.${port}`
