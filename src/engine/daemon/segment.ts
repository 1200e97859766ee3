/** The daemon of a segment instance: composes the engine, its socket and its port, and ends in order. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { createLogger, type Logger } from '../../core/log.js';
import type { InstanceIdentity } from '../../model/topology.js';
import { listenRpc } from '../../rpc/server.js';
import { socketPath } from '../../rpc/sockets.js';
import type { Handlers, RpcServer } from '../../rpc/types.js';
import { openInstance } from '../executor/instance.js';
import type { InstanceEngine } from '../executor/types.js';
import { listenRefusing } from '../wire/refuse.js';
import { announce, instanceShare, readIdentity } from './identity.js';
import { type DirectoryLock, lockDirectory } from './lock-file.js';

export type StopMode = 'smart' | 'fast' | 'immediate';

export interface RunningSegment {
  readonly port: number;
  stop(mode: StopMode): Promise<void>;
  /** Resolves when the segment has ended, however. */
  readonly ended: Promise<void>;
}

export async function startSegment(datadir: string): Promise<RunningSegment> {
  const identity = readIdentity(datadir);
  const lock = lockDirectory(datadir);
  try {
    return await openSegment(datadir, identity, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function openSegment(datadir: string, identity: InstanceIdentity, lock: DirectoryLock): Promise<RunningSegment> {
  mkdirSync(join(datadir, 'log'), { recursive: true });
  const logger = createLogger({
    name: `segment ${identity.content} dbid ${identity.dbid}`,
    file: join(datadir, 'log', 'damsond.log'),
  });
  let onEnded: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    onEnded = resolve;
  });
  const refusing = await listenPort(identity);
  const engine = await openInstance({
    directory: datadir,
    identity,
    logger,
    ...instanceShare(datadir),
    onFatal: (error) => {
      logger.fatal({ err: error }, 'the instance cannot go on; it replays its log when it starts again');
      process.exit(3);
    },
  });
  let server: RpcServer | undefined;
  let stopping: Promise<void> | undefined;
  const stop = (mode: StopMode): Promise<void> => {
    stopping ??= closeSegment(datadir, { engine, server, refusing, lock, logger }, mode).finally(onEnded);
    return stopping;
  };
  const handlers: Handlers = {
    ...engine.methods,
    stop: (body: { mode: StopMode }) => {
      // The answer goes out first.
      setTimeout(() => void stop(body.mode), 20);
      return {};
    },
  };
  server = await listenRpc(socketPath(datadir), handlers, { logger });
  announce(datadir, refusing.port);
  logger.info({ port: refusing.port, pid: process.pid }, 'listening');
  return { port: refusing.port, stop, ended };
}

async function listenPort(identity: InstanceIdentity): Promise<{ port: number; close(): Promise<void> }> {
  const { address, port, content, coordinator } = identity;
  const where = coordinator === undefined ? '' : `: host ${coordinator.address}, port ${coordinator.port}`;
  try {
    return await listenRefusing({
      host: address,
      port,
      message: `this is segment ${content} of a Damson cluster`,
      hint: `Connect to the coordinator${where}.`,
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new DamsonError(`port ${port} of ${address} is in use by another process`, {
      hint: 'Stop that process, or give the instance another port.',
      cause: error,
    });
  }
}

interface Parts {
  engine: InstanceEngine;
  server: RpcServer | undefined;
  refusing: { close(): Promise<void> };
  lock: DirectoryLock;
  logger: Logger;
}

async function closeSegment(datadir: string, parts: Parts, mode: StopMode): Promise<void> {
  const { engine, server, refusing, lock, logger } = parts;
  logger.info({ mode }, 'stopping');
  await Promise.all([server?.close(), refusing.close()]);
  await engine.close(mode === 'immediate' ? 'immediate' : 'fast');
  rmSync(join(datadir, 'damsond.pid'), { force: true });
  lock.release();
  logger.info('stopped');
}

/** The whole life of the process. */
export async function runSegment(datadir: string): Promise<void> {
  const segment = await startSegment(datadir);
  const stopBy = (mode: StopMode) => () => {
    segment.stop(mode).catch((error: unknown) => {
      process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 2;
    });
  };
  process.on('SIGTERM', stopBy('fast'));
  process.on('SIGINT', stopBy('fast'));
  process.on('SIGQUIT', stopBy('immediate'));
  await segment.ended;
  process.exit();
}
