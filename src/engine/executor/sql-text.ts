/** Putting relations and values into generated SQL. */
import { internalError } from '../../core/errors.js';

/** Replaces `{{alias}}`; an alias without a replacement is a broken plan. */
export function putRelations(sql: string, replacement: (alias: string) => string | undefined): string {
  return sql.replace(/\{\{(\w+)\}\}/g, (_, alias: string) => {
    const text = replacement(alias);
    if (text === undefined) throw internalError(`the fragment names {{${alias}}}, the task does not`);
    return text;
  });
}

export function quoteIdent(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Strings and quoted names (left alone), or a numbered parameter. */
const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\d+)/g;

/** Replaces `$n` outside of strings and quoted names: for statements that cannot be prepared. */
export function putValues(sql: string, literal: (n: number) => string): string {
  return sql.replace(TOKEN, (token, n: string | undefined) => (n === undefined ? token : literal(Number(n))));
}
