/** Typed reading of tree nodes: a missing or differently shaped field is a defect of the reader, not of the statement. */
import { internalError } from '../../core/errors.js';
import type { Datum, TreeNode, TreeValue } from '../front/tree.js';

function isNode(value: TreeValue | undefined): value is TreeNode {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && 'node' in value;
}

/** A child node, or null where the field is absent or `<>`. */
export function kid(node: TreeNode, field: string): TreeNode | null {
  const value = node[field];
  return isNode(value) ? value : null;
}

export function mustKid(node: TreeNode, field: string): TreeNode {
  const value = kid(node, field);
  if (value === null) throw internalError(`${node.node} without ${field}`);
  return value;
}

/** Nodes of a list field; empty where it is `<>`. */
export function kids(node: TreeNode, field: string): TreeNode[] {
  const value = node[field];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** Numbers of an `(i …)`, `(o …)` or `(b …)` list. */
export function numbers(node: TreeNode, field: string): number[] {
  const value = node[field];
  return Array.isArray(value) ? value.map(Number).filter((n) => !Number.isNaN(n)) : [];
}

export function num(node: TreeNode, field: string): number {
  const value = node[field];
  return typeof value === 'number' ? value : Number(value ?? 0);
}

export function flag(node: TreeNode, field: string): boolean {
  return node[field] === true;
}

export function word(node: TreeNode, field: string): string {
  const value = node[field];
  return value === null || value === undefined ? '' : String(value);
}

/** Rows of a list of lists (VALUES). */
export function nested(node: TreeNode, field: string): TreeNode[][] {
  const value = node[field];
  if (!Array.isArray(value)) return [];
  return value.map((row) => (Array.isArray(row) ? row.filter(isNode) : []));
}

export function datum(node: TreeNode, field: string): Uint8Array | null {
  const value = node[field];
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !('datum' in value)) return null;
  return (value as Datum).datum;
}

/** The node and everything below it, parents first. `into` false: the node's children are not visited. */
export function visit(root: TreeNode, see: (node: TreeNode) => boolean | undefined): void {
  const stack: TreeValue[] = [root];
  while (stack.length > 0) {
    const value = stack.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (Array.isArray(value)) {
      for (let i = value.length - 1; i >= 0; i--) stack.push(value[i] as TreeValue);
    } else if (isNode(value)) {
      if (see(value) === false) continue;
      const fields = Object.values(value);
      for (let i = fields.length - 1; i >= 0; i--) stack.push(fields[i] as TreeValue);
    }
  }
}
