/** Instances in temporary directories, for tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../core/log.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { Gid, LockName, Lsn } from '../../model/log.js';
import { type HeapValue, Oid } from '../../model/storage.js';
import type { AccessMethod, SetKey, ShardDef } from '../../model/table.js';
import type {
  CoordinatorStamp,
  Fragment,
  HelloResult,
  OutputColumn,
  OutputSettings,
  RoleOrder,
  RunPart,
  RunResult,
  Task,
} from '../../model/task.js';
import { openInstance } from './instance.js';
import type { InstanceEngine } from './types.js';

export const SETTINGS: OutputSettings = {
  timeZone: 'UTC',
  dateStyle: 'ISO, MDY',
  intervalStyle: 'postgres',
  extraFloatDigits: 1,
  byteaOutput: 'hex',
};

export function stampOf(contentTimeline = 1, incarnation = 1): CoordinatorStamp {
  return { timeline: 1, incarnation, contentTimeline };
}

export function temporaryDirectory(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'damson-exec-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function shardDef(
  shardId: number,
  accessMethod: AccessMethod,
  setKey: SetKey = `c2_${shardId}`,
  options: Partial<ShardDef> = {},
): ShardDef {
  return {
    shardId,
    tableId: 1,
    setKey,
    relation: `t_${shardId}`,
    accessMethod,
    columns: [
      { attnum: 1, name: 'id', typeOid: Oid.int8, typmod: -1, notNull: true },
      { attnum: 2, name: 'v', typeOid: Oid.text, typmod: -1, notNull: false },
      { attnum: 3, name: 'n', typeOid: Oid.numeric, typmod: ((10 << 16) | 2) + 4, notNull: false },
    ],
    uniques: [],
    indexes: [],
    ...options,
  };
}

export const OUTPUT: OutputColumn[] = [
  { name: 'id', typeOid: Oid.int8, typmod: -1 },
  { name: 'v', typeOid: Oid.text, typmod: -1 },
  { name: 'n', typeOid: Oid.numeric, typmod: ((10 << 16) | 2) + 4 },
];

export function fragment(engine: 'sqlite' | 'duckdb', sql: string, options: Partial<Fragment> = {}): Fragment {
  return {
    engine,
    sql,
    relations: [{ alias: 't0', tableId: 1, columns: [1, 2, 3] }],
    params: [],
    output: OUTPUT,
    ...options,
  };
}

/** Text of the fields of concatenated DataRow messages. */
export function decodeRows(bytes: Buffer): (string | null)[][] {
  const rows: (string | null)[][] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readInt32BE(at + 1);
    const fields = bytes.readInt16BE(at + 5);
    const row: (string | null)[] = [];
    for (let field = 0, position = at + 7; field < fields; field++) {
      const size = bytes.readInt32BE(position);
      position += 4;
      row.push(size < 0 ? null : bytes.toString('utf8', position, position + Math.max(0, size)));
      position += Math.max(0, size);
    }
    rows.push(row);
    at += 1 + length;
  }
  return rows;
}

/** Gids are never reused, also not by another instance. */
let nextGid = 1;

/** One instance with the calls that tests make most. */
export class TestInstance {
  engine!: InstanceEngine;
  timeline = 1;
  incarnation = 1;
  readonly catalog: { ops: CatalogOp[]; lsn: Lsn }[] = [];
  readonly fatal: Error[] = [];

  constructor(
    readonly directory: string,
    readonly dbid = 2,
    readonly content = 0,
  ) {}

  get stamp(): CoordinatorStamp {
    return stampOf(this.timeline, this.incarnation);
  }

  async open(): Promise<this> {
    this.engine = await openInstance({
      directory: this.directory,
      identity: {
        clusterId: 'test',
        dbid: this.dbid,
        content: this.content,
        hostname: 'localhost',
        address: '127.0.0.1',
        port: 0,
        version: '0',
      },
      logger: silentLogger(),
      memoryMb: 256,
      threads: 1,
      onCatalog: (ops, lsn) => this.catalog.push({ ops, lsn }),
      onFatal: (error) => this.fatal.push(error),
    });
    return this;
  }

  role(role: 'p' | 'm', state: RoleOrder['state'] = 'ALONE', peer: RoleOrder['peer'] = null): Promise<HelloResult> {
    return this.call('role', { role, timeline: this.timeline, state, peer });
  }

  call<Out>(method: string, body: Record<string, unknown>): Promise<Out> {
    return this.engine.local.call<Out>(method, { stamp: this.stamp, ...body });
  }

  gid(): Gid {
    return `1.${this.incarnation}.${nextGid++}`;
  }

  async create(...shards: ShardDef[]): Promise<void> {
    const gid = this.gid();
    await this.call('write', { op: 'ddl', gid, ddl: shards.map((shard) => ({ op: 'createShard', shard })) });
    await this.call('commit1', { gid, locks: [] });
  }

  insert(gid: Gid, shardId: number, rows: HeapValue[][]): Promise<{ rows: number }> {
    return this.call('write', { op: 'insert', gid, shardId, rows });
  }

  commit1(gid: Gid, locks: LockName[] = []): Promise<{ lsn: Lsn }> {
    return this.call('commit1', { gid, locks });
  }

  prepare(gid: Gid, locks: LockName[] = []): Promise<{ readOnly: boolean }> {
    return this.call('prepare', { gid, participants: [0, 1], locks });
  }

  async run(
    task: Partial<Task> & Pick<Task, 'fragment' | 'shards'>,
  ): Promise<{ result: RunResult; bytes: Buffer; parts: number }> {
    const call = this.engine.local.open<RunResult>('run', {
      stamp: this.stamp,
      params: [],
      form: { kind: 'datarow', formats: task.fragment.output.map(() => 0), session: SETTINGS },
      gid: null,
      ...task,
    });
    call.end();
    call.result.catch(() => undefined);
    const parts: Buffer[] = [];
    for await (const part of call.parts) parts.push((part as RunPart).bytes);
    return { result: await call.result, bytes: Buffer.concat(parts), parts: parts.length };
  }

  /** All rows of a shard, by id. */
  async rows(shardId: number, engine: 'sqlite' | 'duckdb' = 'sqlite', gid: Gid | null = null): Promise<(string | null)[][]> {
    const answer = await this.run({
      fragment: fragment(engine, 'SELECT c1, c2, c3 FROM {{t0}} AS t0 ORDER BY c1'),
      shards: { t0: [shardId] },
      gid,
    });
    return decodeRows(answer.bytes);
  }

  close(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    return this.engine.close(mode);
  }
}
