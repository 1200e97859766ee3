/**
 * The router's hot way: a read is told once for a connection, and then each execution names it and brings shards and parameters. It is
 * answered in the turn of its arrival, so at its place in the order of publications, or refused: the caller then sends it as `run`.
 */
import type Database from 'better-sqlite3';
import type { HeapValue } from '../../model/storage.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import { type KnownRead, type QuickAnswer, QuickRefusal } from '../../model/task.js';
import type { ServerConnection } from '../../rpc/types.js';
import { heapRowEncoder } from '../codec/encode-heap.js';
import { RowWriter } from '../codec/rowwriter.js';
import type { Stores } from '../store/types.js';
import { readError } from './errors.js';
import { readsWide } from './heap-run.js';
import { sqliteParams } from './params.js';
import type { Publisher } from './publisher.js';
import { bySet, type Placed } from './relations.js';
import { putRelations, quoteIdent } from './sql-text.js';
import { type RowStatement, rowStatement } from './statements.js';

/** Reads that are kept for one connection; the caller tells one again that is not known any more. */
const MAX_KNOWN = 4096;
/** Sets for which one read keeps its statement. */
const MAX_SITES = 512;
/** What one turn may read. */
const MAX_ROWS = 512;
const MAX_BYTES = 256 * 1024;

interface Known {
  read: KnownRead;
  encode: (row: HeapValue[], out: RowWriter) => void;
  wide: boolean;
  /** By the shard of the first relation. */
  sites: Map<number, Site>;
}

/** Where a read runs, as long as shards and store stay what they were. */
interface Site {
  shards: ShardDef[];
  setKey: SetKey;
  need: { heapSets: SetKey[]; columnar: false };
  sql: string;
  db: Database.Database;
  statement: RowStatement;
}

export class QuickReads {
  private readonly writer = new RowWriter();

  constructor(
    private readonly stores: Stores,
    private readonly publisher: Publisher,
  ) {}

  know(connection: ServerConnection, id: number, read: KnownRead): void {
    const known = knownOf(connection);
    if (known.size >= MAX_KNOWN) known.delete(known.keys().next().value as number);
    const encode = heapRowEncoder(read.fragment.output, read.formats, read.session);
    known.set(id, { read, encode, wide: readsWide(read.fragment.output), sites: new Map() });
  }

  /** @throws SqlError as `run` does. */
  run(connection: ServerConnection, id: number, shards: readonly number[], params: readonly (string | null)[]): QuickAnswer {
    const known = knownOf(connection).get(id);
    if (known === undefined) return QuickRefusal.unknown;
    const site = this.site(known, shards);
    if (!this.publisher.free(site.need)) return QuickRefusal.busy;
    try {
      return this.read(known, site, params);
    } catch (error) {
      throw readError(error);
    } finally {
      this.writer.drop();
    }
  }

  private read(known: Known, site: Site, params: readonly (string | null)[]): QuickAnswer {
    const { encode } = known;
    const { writer } = this;
    let count = 0;
    for (const row of site.statement.iterate(sqliteParams(known.read.fragment.params, params))) {
      if (++count > MAX_ROWS || writer.length > MAX_BYTES) return QuickRefusal.large;
      encode(row, writer);
    }
    return [count, writer.copy()];
  }

  private site(known: Known, shards: readonly number[]): Site {
    const found = known.sites.get(shards[0] ?? 0);
    if (found !== undefined && this.holds(found, shards)) return found;
    const placed: Placed[] = known.read.fragment.relations.map((ref, i) => ({ ref, shards: [this.stores.shard(shards[i]!)] }));
    const site = this.newSite(known, placed);
    if (known.sites.size >= MAX_SITES) known.sites.clear();
    known.sites.set(shards[0] ?? 0, site);
    return site;
  }

  /** The same shards in the same open store, and a statement that nobody is reading. */
  private holds(site: Site, shards: readonly number[]): boolean {
    for (let i = 0; i < shards.length; i++) if (this.stores.shard(shards[i]!) !== site.shards[i]) return false;
    return this.stores.heapReader(site.setKey) === site.db && !site.statement.busy;
  }

  private newSite(known: Known, placed: Placed[]): Site {
    const [run] = bySet(placed);
    if (run === undefined) throw readError(new Error('the read has no relation'));
    const { setKey, relations } = run;
    const sql = putRelations(known.read.fragment.sql, (alias) => {
      const shard = relations.get(alias);
      return shard === undefined ? undefined : quoteIdent(shard.relation);
    });
    const db = this.stores.heapReader(setKey);
    return {
      shards: placed.map((one) => one.shards[0]!),
      setKey,
      need: { heapSets: [setKey], columnar: false },
      sql,
      db,
      statement: rowStatement(db, sql, known.wide),
    };
  }
}

function knownOf(connection: ServerConnection): Map<number, Known> {
  let known = connection.state.get('knownReads') as Map<number, Known> | undefined;
  if (known === undefined) {
    known = new Map();
    connection.state.set('knownReads', known);
  }
  return known;
}
