/**
 * A node of PostgreSQL's printed query tree, as the reader gives it: `node` is the tag (`QUERY`, `VAR`, `OPEXPR`, …), the other
 * properties are the printed fields by their names. Numbers and booleans are converted, `<>` is null, lists are arrays.
 */
export interface TreeNode {
  node: string;
  [field: string]: TreeValue;
}

/** A Datum: its bytes as printed, little-endian for by-value types. */
export interface Datum {
  datum: Uint8Array;
}

export type TreeValue = null | number | boolean | string | TreeNode | Datum | TreeValue[];
