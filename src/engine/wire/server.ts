/** Listens for PostgreSQL clients. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import { type Startup, WireConnection, type WireSession } from './connection.js';

export interface ListenOptions {
  host: string;
  /** 0: any free port; see the result. */
  port: number;
  logger: Logger;
  /** See auth.ts. */
  authenticate(startup: Startup, connection: WireConnection): Promise<void>;
  /** After authentication: makes the session and writes its ParameterStatus messages. */
  onSession(startup: Startup, connection: WireConnection): Promise<WireSession>;
  /** A cancel request with the right key for this connection. */
  onCancel(connection: WireConnection): void;
  /** Default 100, as in PostgreSQL. */
  maxConnections?: number;
  maxMessageBytes?: number;
  authenticationTimeoutMs?: number;
}

export interface WireServer {
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: ReadonlySet<WireConnection>;
  /** Stops listening; open connections go on. */
  stopListening(): Promise<void>;
  /** Stops listening and ends every connection with 57P01; resolves when all are gone. */
  close(): Promise<void>;
}

const DEFAULT_MAX_CONNECTIONS = 100;
/** Connections that are only being refused, or send a cancel request, are let in beyond the limit, but not without end. */
const SPARE_CONNECTIONS = 50;

export async function listenWire(options: ListenOptions): Promise<WireServer> {
  const registry = new Registry(options);
  const server = createServer({ pauseOnConnect: false }, (socket) => registry.accept(socket));
  server.maxConnections = (options.maxConnections ?? DEFAULT_MAX_CONNECTIONS) + SPARE_CONNECTIONS;
  const port = await listen(server, options.host, options.port);
  const stopped = () => new Promise<void>((resolve) => (server.listening ? server.close(() => resolve()) : resolve()));
  return {
    port,
    connections: registry.connections,
    async stopListening() {
      // Node resolves only when the last connection is gone: not waited for here.
      if (server.listening) server.close();
    },
    async close() {
      const done = stopped();
      for (const connection of registry.connections) {
        connection.terminate(new SqlError('57P01', 'terminating connection due to administrator command'));
      }
      await Promise.all([...registry.running, done]);
    },
  };
}

/** Binds and gives the port; rejects with the system's error (EADDRINUSE, …). */
export function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

class Registry {
  readonly connections = new Set<WireConnection>();
  readonly running = new Set<Promise<void>>();
  /** Connections that count against the limit: from authentication to the end of the session. */
  private readonly admitted = new Set<WireConnection>();
  private readonly byProcessId = new Map<number, WireConnection>();
  private nextProcessId = 1;

  constructor(private readonly options: ListenOptions) {}

  accept(socket: Socket): void {
    const { logger, maxMessageBytes, authenticationTimeoutMs } = this.options;
    const connection = new WireConnection({
      socket,
      logger,
      processId: this.freeProcessId(),
      secret: randomBytes(4),
      authenticate: (startup, self) => this.authenticate(startup, self),
      onSession: (startup, self) => this.options.onSession(startup, self),
      onCancelRequest: (processId, secret) => this.cancel(processId, secret),
      ...(maxMessageBytes === undefined ? {} : { maxMessageBytes }),
      ...(authenticationTimeoutMs === undefined ? {} : { authenticationTimeoutMs }),
    });
    this.connections.add(connection);
    this.byProcessId.set(connection.processId, connection);
    const served = connection.run().then(() => this.admitted.delete(connection));
    const running = Promise.all([served, connection.closed]).then(() => {
      this.connections.delete(connection);
      this.byProcessId.delete(connection.processId);
      this.running.delete(running);
    });
    this.running.add(running);
  }

  private async authenticate(startup: Startup, connection: WireConnection): Promise<void> {
    if (this.admitted.size >= (this.options.maxConnections ?? DEFAULT_MAX_CONNECTIONS)) {
      throw new SqlError('53300', 'sorry, too many clients already', { fatal: true });
    }
    this.admitted.add(connection);
    await this.options.authenticate(startup, connection);
  }

  private freeProcessId(): number {
    while (this.byProcessId.has(this.nextProcessId)) this.nextProcessId = (this.nextProcessId % 0x7fffffff) + 1;
    const processId = this.nextProcessId;
    this.nextProcessId = (processId % 0x7fffffff) + 1;
    return processId;
  }

  /** The key is compared in constant time; a wrong one is ignored without an answer, as the protocol has none. */
  private cancel(processId: number, secret: Buffer): void {
    const connection = this.byProcessId.get(processId);
    if (connection === undefined || secret.length !== connection.secret.length) return;
    if (timingSafeEqual(secret, connection.secret)) this.options.onCancel(connection);
    else this.options.logger.warn({ pid: processId }, 'wrong key in cancel request');
  }
}
