/** Random SELECTs over the fixture's tables, valid for PostgreSQL, within and beyond what the engines do exactly. */
import type { Random } from './random.js';

interface Column {
  sql: string;
  type: 'int' | 'numeric' | 'text' | 'date' | 'timestamp' | 'bool' | 'char' | 'float';
}

const COLUMNS: Record<string, Column[]> = {
  orders: [
    { sql: 'id', type: 'int' },
    { sql: 'customer', type: 'int' },
    { sql: 'amount', type: 'numeric' },
    { sql: 'status', type: 'text' },
    { sql: 'placed', type: 'date' },
    { sql: 'at', type: 'timestamp' },
    { sql: 'big', type: 'int' },
    { sql: 'small', type: 'int' },
    { sql: 'flag', type: 'bool' },
    { sql: 'code', type: 'char' },
    { sql: 'note', type: 'text' },
  ],
  items: [
    { sql: 'id', type: 'int' },
    { sql: 'line', type: 'int' },
    { sql: 'qty', type: 'int' },
    { sql: 'price', type: 'numeric' },
    { sql: 'label', type: 'text' },
  ],
  events: [
    { sql: 'id', type: 'int' },
    { sql: 'kind', type: 'text' },
    { sql: 'value', type: 'numeric' },
    { sql: 'n', type: 'int' },
    { sql: 'at', type: 'timestamp' },
    { sql: 'day', type: 'date' },
    { sql: 'ok', type: 'bool' },
    { sql: 'code', type: 'char' },
    { sql: 'score', type: 'float' },
    { sql: 'wide', type: 'numeric' },
  ],
  marks: [
    { sql: 'id', type: 'int' },
    { sql: 'tag', type: 'text' },
    { sql: 'w', type: 'int' },
  ],
  kinds: [
    { sql: 'kind', type: 'text' },
    { sql: 'rank', type: 'int' },
    { sql: 'factor', type: 'numeric' },
  ],
  plain: [
    { sql: 'a', type: 'int' },
    { sql: 'b', type: 'text' },
    { sql: 'c', type: 'numeric' },
  ],
};

const JOINS: [string, string, string][] = [
  ['orders', 'items', 'l.id = r.id'],
  ['events', 'marks', 'l.id = r.id'],
  ['events', 'kinds', 'l.kind = r.kind'],
  ['orders', 'events', 'l.customer = r.id'],
  ['items', 'orders', 'l.qty = r.customer'],
  ['plain', 'orders', 'l.a = r.customer'],
  ['kinds', 'plain', 'l.rank = r.a'],
  ['marks', 'items', 'l.w = r.qty'],
];

export class Generator {
  constructor(private readonly random: Random) {}

  query(): string {
    const { random } = this;
    const shape = random.next();
    if (shape < 0.08) return this.union();
    const { from, columns } = this.from();
    const where = random.chance(0.7) ? ` WHERE ${this.condition(columns, 2)}` : '';
    if (shape < 0.5) return this.grouped(from, columns, where);
    if (shape < 0.6) return this.derived(from, columns, where);
    return this.rows(from, columns, where);
  }

  private from(): { from: string; columns: Column[] } {
    const { random } = this;
    if (random.chance(0.55)) {
      const table = random.pick(Object.keys(COLUMNS));
      return { from: `${table} l`, columns: this.qualified(table, 'l') };
    }
    const [left, right, on] = random.pick(JOINS);
    const kind = random.pick(['JOIN', 'JOIN', 'JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN']);
    const extra = kind !== 'FULL JOIN' && random.chance(0.25) ? ` AND ${this.condition(this.qualified(right, 'r'), 0)}` : '';
    return {
      from: `${left} l ${kind} ${right} r ON ${on}${extra}`,
      columns: [...this.qualified(left, 'l'), ...this.qualified(right, 'r')],
    };
  }

  private qualified(table: string, alias: string): Column[] {
    return COLUMNS[table]!.map((column) => ({ ...column, sql: `${alias}.${column.sql}` }));
  }

  private of(columns: Column[], ...types: Column['type'][]): string | null {
    const found = columns.filter((column) => types.includes(column.type));
    return found.length === 0 ? null : this.random.pick(found).sql;
  }

  private literal(type: Column['type']): string {
    const { random } = this;
    switch (type) {
      case 'int':
        return String(random.int(-3, 12));
      case 'numeric':
        return (random.int(-90000, 90000) / 10 ** random.int(0, 3)).toFixed(random.int(0, 3));
      case 'float':
        return `${random.int(-20, 20) / 4}::float8`;
      case 'text':
        return `'${random.pick(['alpha', 'new', 'view', 'x_y', "o''clock", '', 'été', 'buy'])}'`;
      case 'char':
        return `'${random.pick(['a', 'ab  ', 'abcd'])}'`;
      case 'date':
        return `date '${random.int(1996, 2026)}-0${random.int(1, 9)}-1${random.int(0, 9)}'`;
      case 'timestamp':
        return `timestamp '${random.int(1996, 2026)}-0${random.int(1, 9)}-11 12:30:00.25'`;
      case 'bool':
        return random.pick(['true', 'false']);
    }
  }

  condition(columns: Column[], depth: number): string {
    const { random } = this;
    if (depth > 0 && random.chance(0.4)) {
      const parts = [this.condition(columns, depth - 1), this.condition(columns, depth - 1)];
      return random.chance(0.2) ? `NOT (${parts[0]})` : `(${parts.join(random.pick([' AND ', ' OR ']))})`;
    }
    const column = random.pick(columns);
    const key = columns.find((one) => one.sql === 'l.id');
    if (key !== undefined && random.chance(0.15))
      return random.chance(0.6)
        ? `${key.sql} = ${random.int(1, 40)}`
        : `${key.sql} IN (${random.int(1, 20)}, ${random.int(1, 40)})`;
    const roll = random.next();
    if (roll < 0.1) return `${column.sql} IS ${random.pick(['NULL', 'NOT NULL'])}`;
    if (roll < 0.2 && column.type !== 'bool')
      return `${column.sql} IN (${[1, 2, 3].map(() => this.literal(column.type)).join(', ')})`;
    if (roll < 0.28 && column.type === 'text') return `${column.sql} LIKE ${random.pick(["'%a%'", "'_e%'", "'b%'", "'%\\_%'"])}`;
    if (roll < 0.35) return `${column.sql} IS DISTINCT FROM ${this.literal(column.type)}`;
    if (roll < 0.42 && column.type === 'int') return `${column.sql} BETWEEN ${random.int(-5, 3)} AND ${random.int(3, 20)}`;
    if (roll < 0.5) {
      const other = this.of(columns, column.type);
      if (other !== null) return `${column.sql} ${random.pick(['=', '<>', '<', '>='])} ${other}`;
    }
    return `${column.sql} ${random.pick(['=', '<>', '<', '<=', '>', '>='])} ${this.literal(column.type)}`;
  }

  scalar(columns: Column[], depth: number): string {
    const { random } = this;
    const column = random.pick(columns);
    if (depth === 0 || random.chance(0.35)) return column.sql;
    const int = this.of(columns, 'int') ?? '1';
    const numeric = this.of(columns, 'numeric') ?? '1.5';
    const text = this.of(columns, 'text') ?? "'t'";
    const date = this.of(columns, 'date') ?? "date '2001-02-03'";
    const stamp = this.of(columns, 'timestamp') ?? "timestamp '2001-02-03 04:05:06'";
    return random.pick([
      `${int} + ${random.int(-9, 9)}`,
      `${int} * 2 - ${int}`,
      `${int} / ${random.pick(['2', '3', '-4', `nullif(${int}, 0)`])}`,
      `${int} % 7`,
      `abs(${int})`,
      `-${int}`,
      `${numeric} + ${numeric}`,
      `${numeric} * ${int}`,
      `${numeric} - 0.125`,
      `round(${numeric}, 1)`,
      `round(${numeric})`,
      `trunc(${numeric}, 1)`,
      `ceil(${numeric})`,
      `floor(${numeric})`,
      `${numeric} / ${random.pick(['3', '7.5', '1000', '-0.3'])}`,
      `round(${numeric} / 3, 4)`,
      `${numeric}::int`,
      `${int}::numeric`,
      `${int}::bigint`,
      `${numeric}::numeric(12,1)`,
      `${int}::text`,
      `coalesce(${int}, 0)`,
      `coalesce(${text}, 'none')`,
      `nullif(${int}, 1)`,
      `greatest(${int}, 3)`,
      `least(${int}, 2)`,
      `CASE WHEN ${this.condition(columns, 0)} THEN ${int} ELSE 0 END`,
      `CASE WHEN ${this.condition(columns, 0)} THEN ${numeric} ELSE 0 END`,
      `CASE ${int} WHEN 1 THEN 'one' WHEN 2 THEN 'two' END`,
      `upper(${text})`,
      `length(${text})`,
      `substring(${text}, ${random.int(-1, 3)}, ${random.int(0, 4)})`,
      `left(${text}, ${random.int(-2, 3)})`,
      `right(${text}, ${random.int(-2, 3)})`,
      `${text} || '-' || ${text}`,
      `replace(${text}, 'a', 'A')`,
      `strpos(${text}, 'a')`,
      `lpad(${text}, 6, '*')`,
      `rpad(${text}, 3)`,
      `trim(${text})`,
      `ltrim(${text}, 'ab')`,
      `repeat(${text}, 2)`,
      `split_part(${text}, 'l', 1)`,
      `md5(${text})`,
      `translate(${text}, 'abc', 'xy')`,
      `starts_with(${text}, 'a')`,
      `${date} + ${random.int(-40, 40)}`,
      `${date} - date '2010-05-06'`,
      `${date} + interval '1 month'`,
      `${stamp} - interval '1 day 2 hours'`,
      `extract(year from ${date})`,
      `extract(month from ${stamp})`,
      `extract(dow from ${date})`,
      `extract(epoch from ${stamp})`,
      `date_trunc('month', ${stamp})`,
      `${stamp}::date`,
      `date_part('quarter', ${date})`,
      `${column.sql} IS NULL`,
      `(${this.condition(columns, 0)})`,
    ]);
  }

  aggregate(columns: Column[]): string {
    const { random } = this;
    const int = this.of(columns, 'int') ?? '1';
    const numeric = this.of(columns, 'numeric') ?? '2.5';
    const any = random.pick(columns).sql;
    const ordered = this.of(columns, 'int', 'numeric', 'text', 'date', 'timestamp', 'char') ?? int;
    const filter = random.chance(0.2) ? ` FILTER (WHERE ${this.condition(columns, 0)})` : '';
    const call = random.pick([
      'count(*)',
      `count(${any})`,
      `count(DISTINCT ${ordered})`,
      `sum(${int})`,
      `sum(${numeric})`,
      `avg(${int})`,
      `avg(${numeric})`,
      `min(${ordered})`,
      `max(${ordered})`,
      `sum(${numeric} * ${int})`,
      `sum(DISTINCT ${int})`,
      `bit_or(${int})`,
    ]);
    const wrapped = `${call}${filter}`;
    return random.pick([
      wrapped,
      wrapped,
      wrapped,
      `bool_and(${this.condition(columns, 0)})`,
      `bool_or(${this.condition(columns, 0)})`,
      `round(avg(${numeric}), 2)`,
      `sum(${int}) + count(*)`,
      `sum(${numeric}) / nullif(count(*), 0)`,
      `sum(CASE WHEN ${this.condition(columns, 0)} THEN ${int} ELSE 0 END)`,
      `coalesce(sum(${int}), 0)`,
      `sum(${numeric}) / count(*)`,
      `avg(${int}) > 2`,
    ]);
  }

  private grouped(from: string, columns: Column[], where: string): string {
    const { random } = this;
    const keys = random.chance(0.25)
      ? []
      : Array.from({ length: random.int(1, 2) }, () =>
          random.chance(0.75) ? random.pick(columns).sql : this.scalar(columns, 1),
        );
    const aggregates = Array.from({ length: random.int(1, 3) }, () => this.aggregate(columns));
    const having = random.chance(0.25)
      ? ` HAVING ${random.pick([`count(*) > ${random.int(0, 4)}`, `${this.of(columns, 'int') === null ? 'count(*)' : `sum(${this.of(columns, 'int')})`} > 3`])}`
      : '';
    const group = keys.length === 0 ? '' : ` GROUP BY ${keys.map((_, i) => i + 1).join(', ')}`;
    const list = [...keys, ...aggregates];
    const order = random.chance(0.5)
      ? ` ORDER BY ${list.map((_, i) => `${i + 1}${random.pick(['', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST'])}`).join(', ')}`
      : '';
    const limit = order !== '' && random.chance(0.4) ? this.limit() : '';
    return `SELECT ${list.join(', ')} FROM ${from}${where}${group}${having}${order}${limit}`;
  }

  private rows(from: string, columns: Column[], where: string): string {
    const { random } = this;
    const list = Array.from({ length: random.int(1, 4) }, () => this.scalar(columns, 1));
    const distinct = random.chance(0.15) ? 'DISTINCT ' : '';
    // A LIMIT has one answer only where the order is total over what is shown.
    const order = random.chance(0.5)
      ? ` ORDER BY ${list.map((_, i) => `${i + 1}${random.pick(['', ' DESC', ' NULLS FIRST'])}`).join(', ')}`
      : '';
    const limit = order !== '' && random.chance(0.5) ? this.limit() : '';
    const condition = random.chance(0.15) ? `${where === '' ? ' WHERE ' : `${where} AND `}${this.subquery(columns)}` : where;
    return `SELECT ${distinct}${list.join(', ')} FROM ${from}${condition}${order}${limit}`;
  }

  private subquery(columns: Column[]): string {
    const { random } = this;
    const int = this.of(columns, 'int') ?? '1';
    const key = columns.some((one) => one.sql === 'l.id') ? 'l.id' : int;
    return random.pick([
      `EXISTS (SELECT 1 FROM items s WHERE s.id = ${key} AND s.qty > 2)`,
      `NOT EXISTS (SELECT 1 FROM marks s WHERE s.id = ${key})`,
      `${key} IN (SELECT s.id FROM events s WHERE s.n > 0)`,
      `${int} NOT IN (SELECT s.rank FROM kinds s WHERE s.rank IS NOT NULL)`,
      `${int} > (SELECT avg(s.rank) FROM kinds s)`,
      `${key} = (SELECT max(s.id) FROM orders s)`,
      `${int} < ALL (SELECT s.w FROM marks s)`,
    ]);
  }

  private derived(from: string, columns: Column[], where: string): string {
    const { random } = this;
    const key = this.random.pick(columns);
    const inner = `SELECT ${key.sql} AS k, ${this.aggregate(columns)} AS v, count(*) AS c FROM ${from}${where} GROUP BY 1`;
    return random.pick([
      `SELECT k, v FROM (${inner}) d WHERE c > 1 ORDER BY 1, 2`,
      `SELECT count(*), sum(c), max(v) FROM (${inner}) d`,
      `WITH d AS (${inner}) SELECT d.k, d.c FROM d ORDER BY 2 DESC, 1 LIMIT 5`,
      `SELECT k, c, rank() OVER (ORDER BY c DESC, k) FROM (${inner}) d`,
    ]);
  }

  private union(): string {
    const arm = () => {
      const table = this.random.pick(['orders', 'items', 'events', 'marks']);
      const columns = this.qualified(table, 'l');
      return `SELECT l.id, ${this.of(columns, 'int')} FROM ${table} l WHERE ${this.condition(columns, 1)}`;
    };
    return `${arm()} ${this.random.pick(['UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT'])} ${arm()} ORDER BY 1, 2`;
  }

  private limit(): string {
    return ` LIMIT ${this.random.int(0, 9)}${this.random.chance(0.3) ? ` OFFSET ${this.random.int(0, 4)}` : ''}`;
  }
}
