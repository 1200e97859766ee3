/** `SELECT create_distributed_table('t', 'c')`: one of our own functions, alone at the top of a SELECT. */
import { notSupported } from '../../core/errors.js';
import type { OutputColumn } from '../../model/task.js';
import { constOf, constText } from '../dialect/constants.js';
import { attempt, Decline } from '../dialect/decline.js';
import { flag, kid, kids, mustKid, num, visit } from '../dialect/node.js';
import { RTE } from '../dialect/query.js';
import type { TreeNode } from '../front/tree.js';
import type { AdminCallPlan, ValueRef } from './types.js';

/** A function of ours, by OID; undefined for every other one. */
export type OwnFunction = (oid: number) => { schema: string; name: string; argNames: string[] } | undefined;

/**
 * @returns the call; null where the statement calls none of our functions.
 * @throws SqlError 0A000 where such a call is a part of something larger, or its arguments are no plain values.
 */
export function adminCall(query: TreeNode, output: OutputColumn[], own: OwnFunction): AdminCallPlan | null {
  let calls = 0;
  visit(query, (node) => {
    if (node.node === 'FUNCEXPR' && own(num(node, 'funcid')) !== undefined) calls++;
    return undefined;
  });
  if (calls === 0) return null;
  const call = topCall(query);
  const found = call === null ? undefined : own(num(call, 'funcid'));
  if (calls !== 1 || call === null || found === undefined) {
    throw notSupported(
      "Damson's own functions can only be called alone",
      'Write SELECT function(arguments), one call in each statement.',
    );
  }
  return { kind: 'call', name: found.name, args: argumentsOf(call, found), output };
}

/** The call as the one column of a SELECT without FROM, or as its one FROM item with all columns selected. */
function topCall(query: TreeNode): TreeNode | null {
  if (num(query, 'commandType') !== 1 || kids(query, 'sortClause').length > 0 || kid(query, 'limitCount') !== null) return null;
  if (flag(query, 'hasSubLinks') || flag(query, 'hasAggs') || kid(query, 'setOperations') !== null) return null;
  const jointree = mustKid(query, 'jointree');
  const items = kids(jointree, 'fromlist');
  if (kid(jointree, 'quals') !== null) return null;
  const entries = kids(query, 'targetList');
  if (items.length === 0) {
    const expr = entries.length === 1 ? mustKid(entries[0] as TreeNode, 'expr') : null;
    return expr?.node === 'FUNCEXPR' ? expr : null;
  }
  const rte = kids(query, 'rtable')[num(items[0] as TreeNode, 'rtindex') - 1];
  if (items.length !== 1 || rte === undefined || num(rte, 'rtekind') !== RTE.function) return null;
  const functions = kids(rte, 'functions');
  const allColumns = entries.every((entry, i) => {
    const expr = mustKid(entry, 'expr');
    return expr.node === 'VAR' && num(expr, 'varattno') === i + 1;
  });
  const call = functions.length === 1 && allColumns ? kid(functions[0] as TreeNode, 'funcexpr') : null;
  return call?.node === 'FUNCEXPR' ? call : null;
}

function argumentsOf(call: TreeNode, { name, argNames }: { name: string; argNames: string[] }): AdminCallPlan['args'] {
  const args: AdminCallPlan['args'] = {};
  kids(call, 'args').forEach((arg, i) => {
    const position = arg.node === 'NAMEDARGEXPR' ? num(arg, 'argnumber') : i;
    const value = plainValue(arg.node === 'NAMEDARGEXPR' ? mustKid(arg, 'arg') : arg);
    if (value === undefined)
      throw notSupported(`arguments of ${name} must be constants or parameters`, 'Compute the value first.');
    args[argNames[position] ?? `arg${position + 1}`] = value;
  });
  return args;
}

function plainValue(node: TreeNode): ValueRef | null | undefined {
  if (node.node === 'RELABELTYPE' || node.node === 'COERCEVIAIO') return plainValue(mustKid(node, 'arg'));
  if (node.node === 'PARAM' && num(node, 'paramkind') === 0)
    return { kind: 'param', n: num(node, 'paramid'), typeOid: num(node, 'paramtype') };
  if (node.node !== 'CONST') return undefined;
  const text = attempt(() => constText(constOf(node)));
  if (text instanceof Decline) return undefined;
  return text === null ? null : { kind: 'const', typeOid: num(node, 'consttype'), text };
}
