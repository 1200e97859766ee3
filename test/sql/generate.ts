/** Random statements that write, beside the SELECTs of the planner's generator, over the same tables. */
import { TABLES } from '../planner/fixtures.js';
import { Generator } from '../planner/generate.js';
import type { Random } from '../planner/random.js';

export interface Statement {
  sql: string;
  params?: (string | null)[];
  /** The table that it writes. */
  writes?: string;
}

interface Column {
  name: string;
  type: string;
  notNull: boolean;
}

/** Column names and types as the DDL of the fixtures spells them. */
function columnsOf(ddl: string): Column[] {
  const list = ddl.slice(ddl.indexOf('(') + 1, ddl.lastIndexOf(')'));
  return list.split(/,(?![^(]*\))/).map((one) => {
    const [, name, type] = /^\s*(\w+)\s+(\w+(?:\([\d,]+\))?)/.exec(one)!;
    return { name: name!, type: type!, notNull: /primary key/.test(one) };
  });
}

const COLUMNS = new Map(TABLES.map((table) => [table.name, columnsOf(table.ddl)]));
const KEYS = new Map(
  TABLES.map((table) => [table.name, table.distribution.kind === 'distributed' ? table.distribution.column : undefined]),
);

const WORDS = ['alpha', 'Beta', 'žluť', '', "o'clock", 'a%b', 'x_y', 'back\\slash', '$1', 'a somewhat longer text'];

export class WriteGenerator {
  private readonly selects: Generator;
  private nextKey = 1000;

  constructor(private readonly random: Random) {
    this.selects = new Generator(random);
  }

  /** A third of the statements write. */
  statement(): Statement {
    const roll = this.random.next();
    if (roll < 0.62) return this.parametrised({ sql: this.selects.query() });
    if (roll < 0.75) return this.insert();
    if (roll < 0.8) return this.insertSelect();
    if (roll < 0.92) return this.update();
    return this.delete();
  }

  /** Some of the integer literals of a condition become parameters. */
  private parametrised(statement: Statement): Statement {
    if (!this.random.chance(0.4)) return statement;
    const params: string[] = [];
    const sql = statement.sql.replace(
      /(\b[lr]\.(?:id|customer|small|line|qty|n|w|rank|a) (?:=|<>|<=?|>=?) )(\d+)(?![\d.])/g,
      (_, left, value) => {
        params.push(value);
        return `${left}$${params.length}`;
      },
    );
    return { ...statement, sql, params };
  }

  private table(): string {
    return this.random.pick(TABLES).name;
  }

  private value(column: Column): string | null {
    const { random } = this;
    if (!column.notNull && random.chance(0.12)) return null;
    const [base, size] = column.type.split('(');
    switch (base) {
      case 'int':
      case 'bigint':
      case 'smallint':
        return String(random.int(-40, random.chance(0.03) ? 3_000_000_000 : 40));
      case 'numeric':
        return (random.int(-(10 ** 6), 10 ** 6) / 10 ** random.int(0, 5)).toFixed(random.int(0, 5));
      case 'float8':
        return random.pick([
          'NaN',
          'Infinity',
          '-Infinity',
          '-0',
          '0.1',
          '1e-7',
          '123456789012345678',
          String(random.int(-80, 80) / 16),
        ]);
      case 'boolean':
        return random.pick(['t', 'f']);
      case 'date':
        return random.pick(['0001-01-01', '9999-12-31', 'infinity', '0044-03-15 BC', '2024-02-29', '1999-12-31']);
      case 'timestamp':
        return random.pick([
          '2024-02-29 23:59:59.999999',
          '0001-01-01 00:00:00',
          '-infinity',
          '1969-12-31 23:00:00.5',
          '0100-01-01 00:00:00 BC',
        ]);
      case 'uuid':
        return `00000000-0000-4000-8000-0000000000${random.int(10, 99)}`;
      case 'json':
        return random.pick(['{"a" : 1.50}', '[]', 'null', '"ž"']);
      case 'char':
        return random.pick(['a', 'ab ', '', 'abcd', 'ž']);
      default:
        return random.pick(WORDS).slice(0, size !== undefined && random.chance(0.9) ? Number.parseInt(size, 10) : 100);
    }
  }

  private literal(value: string | null, column: Column): string {
    if (value === null) return 'NULL';
    if (/^-?\d+(\.\d+)?$/.test(value) && /^(int|bigint|smallint|numeric)/.test(column.type)) return value;
    return `'${value.replaceAll("'", "''")}'`;
  }

  private insert(): Statement {
    const { random } = this;
    const table = this.table();
    const all = COLUMNS.get(table)!;
    const key = KEYS.get(table);
    const chosen = all.filter((column) => column.notNull || column.name === key || random.chance(0.75));
    const asParams = random.chance(0.5);
    const params: (string | null)[] = [];
    const rows = Array.from({ length: random.int(1, 4) }, () => {
      const values = chosen.map((column) => {
        const value = column.name === key || (column.notNull && column.type === 'int') ? String(this.key()) : this.value(column);
        if (random.chance(0.05) && column.name !== key && !column.notNull) return 'DEFAULT';
        if (!asParams) return this.literal(value, column);
        params.push(value);
        return `$${params.length}`;
      });
      return `(${values.join(', ')})`;
    });
    const returning = random.chance(0.3) ? ` RETURNING ${random.pick(chosen).name}, ${chosen[0]!.name}` : '';
    const sql = `INSERT INTO ${table} (${chosen.map((column) => column.name).join(', ')}) VALUES ${rows.join(', ')}${returning}`;
    return { sql, writes: table, ...(asParams ? { params } : {}) };
  }

  /** Mostly new; now and then one that is there. */
  private key(): number {
    return this.random.chance(0.9) ? this.nextKey++ : this.random.int(1, 60);
  }

  private insertSelect(): Statement {
    const { random } = this;
    this.nextKey += 1000;
    const base = this.nextKey;
    this.nextKey += 1000;
    return random.pick<Statement>([
      {
        sql: `INSERT INTO items (id, qty, label) SELECT id + ${base}, n, kind FROM events WHERE n > ${random.int(-5, 5)}`,
        writes: 'items',
      },
      {
        sql: `INSERT INTO events (id, value, n, day) SELECT id + ${base}, amount, small, placed FROM orders WHERE id < 20`,
        writes: 'events',
      },
      {
        sql: `INSERT INTO marks (id, tag, w) SELECT max(l.id) + ${base}, l.label, count(*) FROM items l GROUP BY l.label`,
        writes: 'marks',
      },
      {
        sql: `INSERT INTO marks (id, tag) SELECT l.id + ${base}, string_agg(l.label, ',' ORDER BY l.label, l.line) FROM items l GROUP BY l.id`,
        writes: 'marks',
      },
      {
        sql: `INSERT INTO plain (a, b) SELECT l.id, upper(l.note) FROM orders l LEFT JOIN marks r ON l.id = r.id WHERE l.id % 7 = 1`,
        writes: 'plain',
      },
      {
        sql: `INSERT INTO kinds (kind, rank) SELECT 'k' || (l.id + ${base}), l.small / (l.small - 3) FROM orders l WHERE l.id < ${random.int(2, 30)}`,
        writes: 'kinds',
      },
      { sql: `INSERT INTO items (id, price) SELECT id + ${base}, avg(value) FROM events GROUP BY id`, writes: 'items' },
      {
        sql: `INSERT INTO events (id, code, at) SELECT id + ${base}, coalesce(code, 'none'), at FROM events WHERE ok`,
        writes: 'events',
      },
      {
        sql: `INSERT INTO orders (id, status, big) SELECT DISTINCT id + ${base}, to_char(id, 'FM0000'), id FROM items`,
        writes: 'orders',
      },
    ]);
  }

  private update(): Statement {
    const { random } = this;
    const table = this.table();
    const columns = COLUMNS.get(table)!;
    const key = KEYS.get(table);
    const free = columns.filter((column) => column.name !== key && !column.notNull);
    const params: (string | null)[] = [];
    const asParams = random.chance(0.4);
    const targets = [...new Set([random.pick(free), random.pick(free)])];
    const set = targets.map((column) => `${column.name} = ${this.newValue(column, asParams ? params : null)}`);
    const returning = random.chance(0.35) ? ` RETURNING ${columns.map((column) => column.name).join(', ')}` : '';
    return {
      sql: `UPDATE ${table} SET ${set.join(', ')}${this.where(table)}${returning}`,
      writes: table,
      ...(asParams ? { params } : {}),
    };
  }

  private newValue(column: Column, params: (string | null)[] | null): string {
    const { random } = this;
    const { name } = column;
    const computed = /^(int|bigint|smallint)/.test(column.type)
      ? [
          `${name} + 1`,
          `${name} * 2 - 3`,
          `${name} / 2`,
          `-${name}`,
          `coalesce(${name}, 7)`,
          `10 / nullif(${name}, 0)`,
          `${name} * 100000`,
        ]
      : /^numeric/.test(column.type)
        ? [`${name} + 1`, `${name} * 2`, `round(${name}, 1)`, `-${name}`, `${name} / 3`, `${name} * 100000`]
        : /^(text|varchar)/.test(column.type)
          ? [`${name} || 'x'`, `upper(${name})`, `substring(${name}, 2)`, `coalesce(${name}, '-')`, `${name} || ${name}`]
          : /^date/.test(column.type)
            ? [`${name} + 1`]
            : /^timestamp/.test(column.type)
              ? [`${name} + interval '1 month'`, `date_trunc('day', ${name})`]
              : column.type === 'boolean'
                ? [`NOT ${name}`]
                : [name];
    if (random.chance(0.5)) return random.pick(computed);
    const value = this.value(column);
    if (params === null) return this.literal(value, column);
    params.push(value);
    return `$${params.length}`;
  }

  private delete(): Statement {
    const table = this.table();
    const columns = COLUMNS.get(table)!;
    const returning = this.random.chance(0.3) ? ` RETURNING ${this.random.pick(columns).name}, ${columns[0]!.name}` : '';
    return { sql: `DELETE FROM ${table}${this.where(table)}${returning}`, writes: table };
  }

  private where(table: string): string {
    const { random } = this;
    const columns = COLUMNS.get(table)!;
    const first = columns[0]!;
    const byKey =
      first.type === 'text'
        ? `${first.name} = '${random.pick(['view', 'click', 'gone'])}'`
        : `${first.name} = ${random.int(1, 60)}`;
    const number = random.pick(columns.filter((column) => /^(int|bigint|smallint|numeric)/.test(column.type))).name;
    const text = columns.find((column) => /^(text|varchar)/.test(column.type));
    return ` WHERE ${random.pick([
      byKey,
      byKey,
      `${number} > ${random.int(5, 30)}`,
      `${number} IS NULL`,
      `${number} BETWEEN 1 AND ${random.int(2, 9)} AND ${first.name} IS NOT NULL`,
      text === undefined ? byKey : `${text.name} LIKE '%a%'`,
      text === undefined ? byKey : `${text.name} IN ('alpha', '', 'new', 'été')`,
      `12 / (${number} - 3) > 2`,
    ])}`;
  }
}
