/** Values of INSERT and UPDATE that are known at execution: constants and parameters, under coercions to their column's type. */

import { Oid, storageOf } from '../../model/storage.js';
import type { ColumnDef } from '../../model/table.js';
import { constOf, constText } from '../dialect/constants.js';
import { attempt, Decline } from '../dialect/decline.js';
import { kids, mustKid, num } from '../dialect/node.js';
import { functionOf } from '../dialect/signatures.js';
import type { TreeNode } from '../front/tree.js';
import type { ValueRef } from './types.js';

const IMPLICIT = 2;
/** Casts that keep the text of a value as it is. */
const WIDENING = new Set([
  ...['int4(int2)', 'int8(int2)', 'int8(int4)', 'numeric(int2)', 'numeric(int4)', 'numeric(int8)'],
  // Rounded once, from the text, as PostgreSQL itself does it for numeric.
  ...['float8(int2)', 'float8(int4)', 'float8(int8)', 'float8(numeric)'],
]);
/** Length coercions that the column's own conversion makes too. */
const LENGTHS = new Set(['numeric(numeric,int4)', 'varchar(varchar,int4,bool)', 'bpchar(bpchar,int4,bool)']);

/**
 * @returns the value, null for NULL, undefined where the expression must be computed.
 */
export function valueFor(node: TreeNode, column: ColumnDef, typeOid = column.typeOid): ValueRef | null | undefined {
  switch (node.node) {
    case 'CONST': {
      const type = num(node, 'consttype');
      const text = attempt(() => constText(constOf(node)));
      if (text instanceof Decline || !sameText(type, typeOid)) return undefined;
      return text === null ? null : { kind: 'const', typeOid: type, text };
    }
    case 'PARAM': {
      const type = num(node, 'paramtype');
      // What the stores keep as PostgreSQL's text has to be checked and made canonical by PostgreSQL.
      if (num(node, 'paramkind') !== 0 || !sameText(type, typeOid) || storageOf(type, -1).class === 'opaque') return undefined;
      return { kind: 'param', n: num(node, 'paramid'), typeOid: type };
    }
    case 'RELABELTYPE':
      return valueFor(mustKid(node, 'arg'), column, typeOid);
    case 'FUNCEXPR':
      return coerced(node, column);
    default:
      return undefined;
  }
}

const TEXTS: ReadonlySet<number> = new Set([Oid.text, Oid.varchar]);

function sameText(a: number, b: number): boolean {
  return a === b || (TEXTS.has(a) && TEXTS.has(b));
}

function coerced(node: TreeNode, column: ColumnDef): ValueRef | null | undefined {
  const signature = functionOf(num(node, 'funcid'));
  const [arg, length] = kids(node, 'args');
  if (signature === undefined || arg === undefined || num(node, 'funcformat') !== IMPLICIT) return undefined;
  if (LENGTHS.has(signature.text) && num(node, 'funcresulttype') === column.typeOid) {
    const value = length?.node === 'CONST' ? attempt(() => constOf(length)) : undefined;
    if (value === undefined || value instanceof Decline || value.kind !== 'int' || Number(value.value) !== column.typmod)
      return undefined;
    return valueFor(arg, column);
  }
  if (!WIDENING.has(signature.text) || num(node, 'funcresulttype') !== column.typeOid) return undefined;
  const from = Oid[signature.types[0] as 'int2' | 'int4' | 'int8' | 'numeric'];
  return valueFor(arg, column, from);
}
