/** Which statements answered with few rows when they last ran: these go back as blocks of values, all others as Parquet files. */

/** More rows than this are quicker as Parquet. */
const SMALL_ROWS = 2048;
const REMEMBERED = 500;

export class SmallResults {
  private readonly known = new Map<string, boolean>();

  expected(sql: string): boolean {
    return this.known.get(sql) === true;
  }

  /** @param rows how many came this time. A statement that once gave many, with whatever parameters, is not held in memory again. */
  note(sql: string, rows: number): void {
    if (this.known.get(sql) !== false) this.remember(sql, rows <= SMALL_ROWS);
  }

  /** Its types do not fit into blocks. */
  refuse(sql: string): void {
    this.remember(sql, false);
  }

  private remember(sql: string, small: boolean): void {
    this.known.delete(sql);
    this.known.set(sql, small);
    if (this.known.size > REMEMBERED) this.known.delete(this.known.keys().next().value as string);
  }
}
