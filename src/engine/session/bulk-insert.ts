import { listOf } from './classify.js';
import type { RawNode } from './parser.js';
import type { RawStatement } from './split.js';

/** From here on the tree of all rows costs more than it tells. */
const BULK_ROWS = 64;

/**
 * The statement with the first of its rows alone, for types, defaults and target: where an INSERT … VALUES has many rows of plain
 * constants. The front then computes all rows from the text as it stands. Null where the whole has to be analysed.
 */
export function firstRowOfBulkInsert(statement: RawStatement): string | null {
  if (statement.tag !== 'InsertStmt') return null;
  const { node, sql } = statement;
  if (
    node.onConflictClause !== undefined ||
    node.returningClause !== undefined ||
    listOf(node.returningList).length > 0 ||
    node.withClause !== undefined
  )
    return null;
  const select = (node.selectStmt as RawNode | undefined)?.SelectStmt as RawNode | undefined;
  const rows = listOf(select?.valuesLists);
  if (rows.length < BULK_ROWS || select?.sortClause !== undefined || select?.limitCount !== undefined) return null;
  if (!rows.every((row) => itemsOf(row).every(isPlain))) return null;
  return cutAfterFirstRow(sql);
}

function itemsOf(row: RawNode): RawNode[] {
  return listOf((row.List as RawNode | undefined)?.items);
}

/** A constant, with a sign or casts; DEFAULT. */
function isPlain(item: RawNode): boolean {
  if (item.A_Const !== undefined || item.SetToDefault !== undefined) return true;
  const cast = item.TypeCast as RawNode | undefined;
  if (cast !== undefined) return isPlain(cast.arg as RawNode);
  const sign = item.A_Expr as RawNode | undefined;
  return sign !== undefined && sign.lexpr === undefined && sign.rexpr !== undefined && isPlain(sign.rexpr as RawNode);
}

/** Up to the end of the first row behind VALUES; null where the text has what is not read here (comments, dollar quotes, escapes). */
function cutAfterFirstRow(sql: string): string | null {
  let depth = 0;
  let inRows = false;
  for (let i = 0; i < sql.length; i++) {
    const c = sql[i]!;
    if (c === "'" || c === '"') {
      if (c === "'" && /[eE&]/.test(sql[i - 1] ?? '')) return null;
      i = sql.indexOf(c, i + 1);
      if (i < 0) return null;
    } else if (c === '$' || (c === '-' && sql[i + 1] === '-') || (c === '/' && sql[i + 1] === '*')) return null;
    else if (c === '(') depth++;
    else if (c === ')') {
      depth--;
      if (depth === 0 && inRows) return sql.slice(0, i + 1);
    } else if (depth === 0 && !inRows && VALUES.test(sql.slice(i, i + 7)) && !/\w/.test(sql[i - 1] ?? ' ')) inRows = true;
  }
  return null;
}

const VALUES = /^values\W/i;
