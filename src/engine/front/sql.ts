/** Text of SQL that the front writes itself: quoting, and rows as CSV. */

/** An identifier, always quoted. */
export function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function qualified(schema: string, name: string): string {
  return `${ident(schema)}.${ident(name)}`;
}

/** A string constant whose meaning does not depend on standard_conforming_strings. */
export function literal(text: string): string {
  const quoted = text.replaceAll("'", "''");
  return quoted.includes('\\') ? `E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`;
}

/** Rows as `COPY … (FORMAT csv)` reads them: NULL is empty, the empty string `""`. */
export function csvRows(rows: readonly (readonly (string | null)[])[]): Buffer {
  const lines = rows.map(
    (row) => `${row.map((value) => (value === null ? '' : `"${value.replaceAll('"', '""')}"`)).join(',')}\n`,
  );
  return Buffer.from(lines.join(''), 'utf8');
}
