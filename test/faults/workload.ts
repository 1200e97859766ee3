/**
 * Clients whose every acknowledged change is known. Numbered rows go one by one into a heap table and, some at a time, into a
 * columnar one; a counter is raised with each; money goes to and fro between accounts, whose sum never changes.
 */
import type pg from 'pg';
import type { FaultCluster } from './fault-cluster.js';
import { sleep } from './fault-cluster.js';

/** SQLSTATEs after which nothing of the transaction has happened. */
const NOTHING_HAPPENED = new Set(['40001', '40P01', '57P03', '55P03', '25P02']);
/** Longest time for which a client may wait for any answer. */
const ANSWER_MS = 60_000;
const ACCOUNTS = 64;
const BALANCE = 100;

export const TABLES = [
  'CREATE TABLE items (id bigint PRIMARY KEY, writer int, note text) DISTRIBUTED BY (id)',
  'CREATE TABLE counters (writer int PRIMARY KEY, n bigint) DISTRIBUTED BY (writer)',
  'CREATE TABLE facts (id bigint, writer int, amount numeric(12,2)) USING columnar DISTRIBUTED BY (id)',
  'CREATE TABLE accounts (id int PRIMARY KEY, balance bigint) DISTRIBUTED BY (id)',
];

export interface Known {
  acknowledged: Set<number>;
  /** Numbers of which nobody knows; each is there once or not at all. */
  unknown: Set<number>;
  /** Numbers of which a 40001 said that they are not there. They are not given again. */
  refused: Set<number>;
}

interface WriterKnown {
  items: Known;
  facts: Known;
  counted: number;
  countedUnknown: number;
}

type Outcome = 'done' | 'nothing' | 'unknown';

export class Workload {
  readonly codes = new Map<string, number>();
  readonly wrongSums: string[] = [];
  readonly unexpected: string[] = [];
  reads = 0;
  transfers = 0;
  longestMs = 0;
  private readonly writers: WriterKnown[];
  private readonly running: Promise<void>[] = [];
  private going = true;

  /** @param before of the same cluster: its numbers are not used again, and what it knows is checked again. */
  constructor(
    private readonly cluster: FaultCluster,
    before?: Workload,
  ) {
    this.first = before === undefined ? 0 : before.first + 1;
    this.writers = before?.writers ?? [];
  }

  /** Number of this workload on its cluster. */
  private readonly first: number;

  static async prepare(cluster: FaultCluster): Promise<void> {
    const client = await cluster.client();
    for (const sql of TABLES) await client.query(sql);
    const accounts = Array.from({ length: ACCOUNTS }, (_, i) => `(${i}, ${BALANCE})`).join(', ');
    await client.query(`INSERT INTO accounts VALUES ${accounts}`);
    await client.query(`INSERT INTO counters VALUES ${Array.from({ length: 16 }, (_, i) => `(${i}, 0)`).join(', ')}`);
    await client.end();
  }

  /** Starts `writers` writers, `movers` of money and one reader of the sum. */
  start(writers = 2, movers = 2, random: () => number = Math.random): void {
    for (let i = 0; i < writers; i++) this.running.push(this.write(i));
    for (let i = 0; i < movers; i++) this.running.push(this.transfer(random));
    this.running.push(this.read());
  }

  get acknowledged(): number {
    return this.writers.reduce((total, one) => total + one.items.acknowledged.size, 0);
  }

  /** Waits until more has been acknowledged. */
  async goesOn(): Promise<void> {
    const [rows, transfers] = [this.acknowledged, this.transfers];
    await this.cluster.eventually('clients go on', async () => this.acknowledged > rows + 5 && this.transfers > transfers + 5);
  }

  async stop(): Promise<void> {
    this.going = false;
    await Promise.all(this.running);
  }

  private async write(writer: number): Promise<void> {
    const known: WriterKnown = this.writers[writer] ?? newWriter();
    this.writers[writer] = known;
    await this.connected(async (client, n) => {
      const id = writer * 100_000_000 + this.first * 1_000_000 + n;
      const insert = await this.attempt(client, 'INSERT INTO items VALUES ($1, $2, $3)', [id, writer, `row ${n}`]);
      note(known.items, id, insert);
      if (insert === 'unknown') return false;
      const counted = await this.attempt(client, 'UPDATE counters SET n = n + 1 WHERE writer = $1', [writer]);
      if (counted === 'done') known.counted += 1;
      if (counted === 'unknown') known.countedUnknown += 1;
      if (counted === 'unknown') return false;
      const fact = await this.attempt(client, 'INSERT INTO facts VALUES ($1, $2, $3)', [id, writer, `${n}.25`]);
      note(known.facts, id, fact);
      await sleep(3);
      return fact !== 'unknown';
    });
  }

  private async transfer(random: () => number): Promise<void> {
    await this.connected(async (client) => {
      const [from, to] = [Math.floor(random() * ACCOUNTS), Math.floor(random() * ACCOUNTS)];
      const amount = 1 + Math.floor(random() * 5);
      const single = random() < 0.5;
      const outcome = single
        ? await this.attempt(
            client,
            `UPDATE accounts SET balance = balance + CASE WHEN id = ${from} THEN -${amount} ELSE ${amount} END WHERE id IN (${from}, ${to}) AND ${from} <> ${to}`,
            [],
          )
        : await this.block(client, [
            `UPDATE accounts SET balance = balance - ${amount} WHERE id = ${from}`,
            `UPDATE accounts SET balance = balance + ${amount} WHERE id = ${to}`,
          ]);
      if (outcome === 'done') this.transfers += 1;
      await sleep(3);
      return outcome !== 'unknown';
    });
  }

  private async read(): Promise<void> {
    await this.connected(async (client) => {
      try {
        const { rows } = await limited(client.query('SELECT sum(balance) AS total, count(*) AS accounts FROM accounts'));
        const { total, accounts } = rows[0] as { total: string; accounts: string };
        this.reads += 1;
        if (Number(total) !== ACCOUNTS * BALANCE || Number(accounts) !== ACCOUNTS)
          this.wrongSums.push(`read ${this.reads}: sum ${total} over ${accounts} accounts`);
      } catch (error) {
        this.count(error);
        if (!codeOf(error).match(/^(40001|57P03)$/)) return false;
      }
      await sleep(10);
      return true;
    });
  }

  /** Runs `turn` again and again, with a new connection after it has said false. */
  private async connected(turn: (client: pg.Client, n: number) => Promise<boolean>): Promise<void> {
    let client: pg.Client | null = null;
    for (let n = 1; this.going; n++) {
      try {
        client ??= await this.cluster.client({ connectionTimeoutMillis: 5000 });
      } catch {
        await sleep(50);
        continue;
      }
      const began = performance.now();
      const keep = await turn(client, n);
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
      if (keep) continue;
      await ended(client);
      client = null;
    }
    if (client !== null) await ended(client);
  }

  private async attempt(client: pg.Client, sql: string, values: unknown[]): Promise<Outcome> {
    try {
      await limited(client.query(sql, values));
      return 'done';
    } catch (error) {
      return this.count(error);
    }
  }

  private async block(client: pg.Client, statements: string[]): Promise<Outcome> {
    try {
      for (const sql of ['BEGIN', ...statements]) await limited(client.query(sql));
    } catch (error) {
      this.count(error);
      const rolledBack = await this.attempt(client, 'ROLLBACK', []);
      return rolledBack === 'done' ? 'nothing' : 'unknown';
    }
    return this.attempt(client, 'COMMIT', []);
  }

  private count(error: unknown): Outcome {
    const code = codeOf(error);
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
    if (code.startsWith('XX') || code === '23505') this.unexpected.push(`${code}: ${(error as Error).message}`);
    return NOTHING_HAPPENED.has(code) ? 'nothing' : 'unknown';
  }

  /** What is wrong with the tables, in words; empty when every acknowledged change is there once and nothing else is. */
  async problems(): Promise<string[]> {
    const client = await this.cluster.client();
    try {
      const problems = [...this.wrongSums.slice(0, 5), ...this.unexpected.slice(0, 5)];
      for (const [writer, known] of this.writers.entries()) {
        problems.push(...compare(`items of ${writer}`, known.items, await idsOf(client, 'items', writer)));
        problems.push(...compare(`facts of ${writer}`, known.facts, await idsOf(client, 'facts', writer)));
        const [row] = (await client.query(`SELECT n FROM counters WHERE writer = ${writer}`)).rows as { n: string }[];
        const n = Number(row?.n);
        if (!(n >= known.counted && n <= known.counted + known.countedUnknown))
          problems.push(`counter ${writer} is ${n}; ${known.counted} were acknowledged, ${known.countedUnknown} are unknown`);
      }
      const { rows } = await client.query('SELECT sum(balance) AS total, count(*) AS accounts FROM accounts');
      const { total, accounts } = rows[0] as { total: string; accounts: string };
      if (Number(total) !== ACCOUNTS * BALANCE || Number(accounts) !== ACCOUNTS)
        problems.push(`at the end: sum ${total} over ${accounts} accounts`);
      return problems;
    } finally {
      await client.end();
    }
  }

  /** No lock is left: a write of every row goes through at once. */
  async locksAreGone(): Promise<void> {
    const client = await this.cluster.client();
    await client.query("SET lock_timeout = '5s'");
    await client.query('UPDATE accounts SET balance = balance');
    await client.query('UPDATE counters SET n = n');
    await client.end();
  }

  summary(): string {
    const codes = [...this.codes].map(([code, times]) => `${code} ${times}`).join(', ');
    return `${this.acknowledged} rows, ${this.transfers} transfers, ${this.reads} reads; longest ${Math.round(this.longestMs)} ms; ${codes}`;
  }
}

function newWriter(): WriterKnown {
  return { items: emptyKnown(), facts: emptyKnown(), counted: 0, countedUnknown: 0 };
}

function emptyKnown(): Known {
  return { acknowledged: new Set(), unknown: new Set(), refused: new Set() };
}

function note(known: Known, id: number, outcome: Outcome): void {
  if (outcome === 'done') known.acknowledged.add(id);
  else if (outcome === 'unknown') known.unknown.add(id);
  else known.refused.add(id);
}

async function idsOf(client: pg.Client, table: string, writer: number): Promise<number[]> {
  const { rows } = await client.query(`SELECT id FROM ${table} WHERE writer = ${writer}`);
  return (rows as { id: string }[]).map(({ id }) => Number(id));
}

export function compare(what: string, known: Known, found: number[]): string[] {
  const there = new Set(found);
  const lost = [...known.acknowledged].filter((id) => !there.has(id));
  const strange = found.filter((id) => !known.acknowledged.has(id) && !known.unknown.has(id));
  const problems: string[] = [];
  if (found.length !== there.size) problems.push(`${what}: ${found.length - there.size} are doubled`);
  if (lost.length > 0) problems.push(`${what}: ${lost.length} acknowledged are lost (${lost.slice(0, 5).join(', ')})`);
  if (strange.length > 0) {
    const refused = strange.filter((id) => known.refused.has(id)).length;
    problems.push(`${what}: ${strange.length} were not acknowledged (${strange.slice(0, 5).join(', ')}), ${refused} refused`);
  }
  return problems;
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? (error as Error).message;
}

/** An answer that does not come is a defect, and shows as one. */
async function limited<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error(`no answer within ${ANSWER_MS} ms`), { code: 'XXLATE' })), ANSWER_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function ended(client: pg.Client): Promise<void> {
  await Promise.race([client.end().catch(() => undefined), sleep(1000)]);
}
