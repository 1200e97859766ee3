import type { SqlResult } from '../cluster/sql/client.js';
import type { SqlError } from '../core/errors.js';
import { renderTable } from './table.js';

export type SqlFormat = 'table' | 'csv' | 'json';

/** A statement's result as text; an empty string where there is nothing to show. */
export function renderResult(result: SqlResult, format: SqlFormat): string {
  const { columns, rows, tag } = result;
  if (format === 'json') return JSON.stringify(resultObjects(result), null, 1);
  if (columns === null) return format === 'csv' || tag.startsWith('COPY') ? '' : tag;
  if (format === 'csv') return [columns.map(({ name }) => name), ...rows].map((row) => row.map(csvField).join(',')).join('\n');
  const table = renderTable(
    columns.map(({ name }) => name),
    rows,
    { numeric: columns.map(({ numeric }) => numeric) },
  );
  return `${table}\n(${rows.length} row${rows.length === 1 ? '' : 's'})\n`;
}

export function resultObjects(result: SqlResult): unknown {
  const { columns, rows, tag, rowCount } = result;
  if (columns === null) return { command: tag, rowCount };
  return rows.map((row) => Object.fromEntries(columns.map(({ name }, index) => [name, row[index] ?? null])));
}

function csvField(value: string | null): string {
  if (value === null) return '';
  return value === '' || /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

/** An error as psql shows it, with the place in the statement. */
export function renderSqlError(error: SqlError, statement: string): string {
  const lines = [`ERROR:  ${error.message}`];
  const { position, detail, hint, where } = error.fields;
  if (position !== undefined) {
    const before = [...statement].slice(0, position - 1).join('');
    const lineNumber = before.split('\n').length;
    const column = before.length - (before.lastIndexOf('\n') + 1);
    const prefix = `LINE ${lineNumber}: `;
    lines.push(`${prefix}${statement.split('\n')[lineNumber - 1] ?? ''}`, `${' '.repeat(prefix.length + column)}^`);
  }
  if (detail !== undefined) lines.push(`DETAIL:  ${detail}`);
  if (hint !== undefined) lines.push(`HINT:  ${hint}`);
  if (where !== undefined) lines.push(`CONTEXT:  ${where}`);
  return lines.join('\n');
}
