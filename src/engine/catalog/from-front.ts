import { notSupported } from '../../core/errors.js';
import type { Distribution, IndexDef, TableDef, UniqueDef } from '../../model/table.js';
import type { FrontTable } from '../front/types.js';

/** A default that needs no computing: a number, a string, NULL or a boolean, with casts. */
const CONSTANT_DEFAULT =
  /^\(?(?:'(?:[^']|'')*'|-?[0-9]+(?:\.[0-9]+)?|true|false|NULL)\)?(?:::[a-z][a-z0-9_ ]*(?:\([0-9, ]+\))?(?:\[\])*)*$/;

/**
 * The catalog's definition of a table from what the front says of it after DDL. Refuses (0A000) what the stores
 * would have to enforce and do not: foreign keys, exclusion constraints, triggers, unique indexes over expressions.
 */
export function tableFromFront(front: FrontTable, tableId: number, distribution: Distribution): TableDef {
  refuseUnsupported(front);
  const uniqueIndexes = front.indexes.filter((index) => index.unique);
  const uniques = uniqueIndexes.map((index): UniqueDef => ({ name: index.name, attnums: index.attnums, primary: index.primary }));
  const indexes = front.indexes
    .filter((index) => !index.unique && !index.complex && index.attnums.length > 0)
    .map((index): IndexDef => ({ name: index.name, attnums: index.attnums, unique: false }));
  return {
    tableId,
    schema: front.schema,
    name: front.name,
    owner: front.owner,
    accessMethod: front.accessMethod === 'columnar' ? 'columnar' : 'heap',
    distribution,
    columns: front.columns.map((column) => ({
      attnum: column.attnum,
      name: column.name,
      typeOid: column.typeOid,
      typmod: column.typmod,
      ...(column.typtype === 'b' ? {} : { typtype: column.typtype }),
      notNull: column.notNull,
    })),
    uniques,
    indexes,
    needsFront: needsFront(front),
    rowChecks: rowChecks(front),
  };
}

/** New rows of such a table are computed by the front. */
function needsFront(front: FrontTable): boolean {
  if (rowChecks(front)) return true;
  return front.columns.some(
    (column) => column.identity !== '' || (column.defaultExpr !== null && !CONSTANT_DEFAULT.test(column.defaultExpr)),
  );
}

/** So are changed rows: CHECK constraints, generated columns, domains. A default concerns new rows alone. */
function rowChecks(front: FrontTable): boolean {
  if (front.constraints.some((constraint) => constraint.type === 'c')) return true;
  return front.columns.some((column) => column.generated !== '' || column.typtype === 'd');
}

function refuseUnsupported(front: FrontTable): void {
  for (const constraint of front.constraints) {
    if (constraint.type === 'f') {
      throw notSupported(
        'foreign key constraints are not supported',
        `Leave the constraint "${constraint.name}" out of the definition.`,
      );
    }
    if (constraint.type === 'x') {
      throw notSupported(
        'exclusion constraints are not supported',
        `Leave the constraint "${constraint.name}" out of the definition.`,
      );
    }
  }
  const complex = front.indexes.find((index) => index.unique && index.complex);
  if (complex !== undefined) {
    throw notSupported(
      `unique index "${complex.name}" has an expression, a predicate, NULLS NOT DISTINCT, or is DEFERRABLE`,
      'A unique index must be over plain columns, with NULLs distinct, and checked at once.',
    );
  }
  if (front.triggers > 0) throw notSupported(`triggers on table "${front.name}" are not supported`, 'Drop the trigger.');
  const collated = front.columns.find((column) => ![0, 100, 950].includes(column.collation));
  if (collated !== undefined) {
    throw notSupported(
      `column "${collated.name}" has a collation other than "C"`,
      'Leave COLLATE out: the cluster sorts text by bytes.',
    );
  }
}
