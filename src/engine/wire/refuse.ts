/** What the port of a segment answers to PostgreSQL clients: who it is, and where to go instead. */
import { createServer, type Socket } from 'node:net';
import { SqlError } from '../../core/errors.js';
import { errorResponse, NO_ENCRYPTION } from './messages.js';
import { FrontendParser } from './parser.js';
import { listen } from './server.js';

export interface RefuseOptions {
  host: string;
  port: number;
  /** Such as: this is segment 3 of a Damson cluster; clients connect to the coordinator. */
  message: string;
  /** Names host and port of the coordinator. */
  hint: string;
}

const MAX_CONNECTIONS = 64;
const PATIENCE_MS = 5000;

/** Listens, and answers every startup with a FATAL error 28000. */
export async function listenRefusing(options: RefuseOptions): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const answer = errorResponse(new SqlError('28000', options.message, { hint: options.hint, fatal: true }));
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    refuse(socket, answer);
  });
  server.maxConnections = MAX_CONNECTIONS;
  const port = await listen(server, options.host, options.port);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

function refuse(socket: Socket, answer: Buffer): void {
  const parser = new FrontendParser();
  let encryptionRequests = 0;
  socket.setTimeout(PATIENCE_MS, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    try {
      parser.push(chunk);
      for (let event = parser.next(); event !== undefined; event = parser.next()) {
        if (event.type === 'cancel') return void socket.destroy();
        if (event.type === 'startup' || ++encryptionRequests > 2) return void socket.end(answer);
        socket.write(NO_ENCRYPTION);
      }
    } catch {
      // Not the protocol: nothing to say to it.
      socket.destroy();
    }
  });
}
