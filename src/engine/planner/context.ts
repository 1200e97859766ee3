/** What the tiers of a SELECT share. */
import type { OutputColumn } from '../../model/task.js';
import type { TreeNode } from '../front/tree.js';
import type { Analyzed } from '../front/types.js';
import { leafValues } from './facts.js';
import { type Relations, relationsOf } from './relations.js';
import type { PlannerCatalog, ReadPlan, ValueRef } from './types.js';

export interface SelectContext {
  query: TreeNode;
  catalog: PlannerCatalog;
  relations: Relations;
  /** Values of the distribution column that a leaf is restricted to. */
  values: Map<string, ValueRef[]>;
  /** The columns that the client gets. */
  output: OutputColumn[];
  declined: ReadPlan['declined'];
}

export function selectContext(query: TreeNode, output: OutputColumn[], catalog: PlannerCatalog): SelectContext {
  const relations = relationsOf(query, catalog);
  return { query, catalog, relations, values: leafValues(relations), output, declined: [] };
}

export function outputOfFields(analyzed: Analyzed): OutputColumn[] {
  return (analyzed.fields ?? []).map(({ name, typeOid, typmod }) => ({ name, typeOid, typmod }));
}

/** Names and types are PostgreSQL's; the fragment's own columns say how the values lie. */
export function named(columns: readonly OutputColumn[], output: readonly OutputColumn[]): OutputColumn[] {
  return columns.map((column, i) => ({ ...column, name: output[i]?.name ?? column.name }));
}

/** The values that all of them are restricted to, when every one is; null otherwise. */
export function commonKeys(context: SelectContext, ids: readonly string[]): ValueRef[] | null {
  const keys = new Map<string, ValueRef>();
  for (const id of ids) {
    const values = context.values.get(id);
    if (values === undefined) return null;
    for (const value of values) keys.set(JSON.stringify(value), value);
  }
  return [...keys.values()];
}
