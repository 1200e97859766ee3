/** Rows of heap values to DataRow messages, specialised once for each column. */
import { assert, notSupported } from '../../core/errors.js';
import { type HeapValue, Oid, storageOf } from '../../model/storage.js';
import type { OutputColumn, OutputSettings } from '../../model/task.js';
import { binaryFromFloat, binaryFromInt32, binaryFromInt64, binaryFromText, hasBinaryFormat } from './binary.js';
import { CANONICAL_OUTPUT, checkOutputSettings, textFromHeap } from './heap.js';
import type { RowWriter } from './rowwriter.js';

type FieldEncoder = (value: HeapValue, out: RowWriter) => void;

/**
 * @param formats one format code for each column: 0 text, 1 binary.
 * @returns a function that appends one row; values may be wider than the column's class (see textFromHeap).
 */
export function heapRowEncoder(
  columns: OutputColumn[],
  formats: number[],
  settings: OutputSettings,
): (row: HeapValue[], out: RowWriter) => void {
  const encoders = columns.map((column, i) => fieldEncoder(column, formats[i] ?? 0, settings));
  const count = encoders.length;
  return (row, out) => {
    assert(row.length === count, `a row has ${row.length} values for ${count} columns`);
    out.beginRow(count);
    for (let i = 0; i < count; i++) {
      const value = row[i]!;
      if (value === null) out.nullField();
      else encoders[i]!(value, out);
    }
    out.endRow();
  };
}

function fieldEncoder(column: OutputColumn, format: number, settings: OutputSettings): FieldEncoder {
  return format === 1 ? binaryEncoder(column) : textEncoder(column, settings);
}

function textEncoder({ typeOid, typmod }: OutputColumn, settings: OutputSettings): FieldEncoder {
  switch (storageOf(typeOid, typmod).class) {
    case 'int':
      return (value, out) => {
        if (typeof value === 'number') out.intField(value);
        else out.asciiField(String(value));
      };
    case 'text':
    case 'uuid':
      return (value, out) => out.textField(typeof value === 'string' ? value : String(value));
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      checkOutputSettings(settings);
      return (value, out) => out.asciiField(textFromHeap(typeOid, typmod, value, settings));
    default:
      return (value, out) => out.textField(textFromHeap(typeOid, typmod, value, settings));
  }
}

function binaryEncoder({ name, typeOid, typmod }: OutputColumn): FieldEncoder {
  if (!hasBinaryFormat(typeOid)) {
    throw notSupported(
      `column "${name}" of type with OID ${typeOid} is not supported in binary format`,
      'Ask for text format for this column.',
    );
  }
  switch (typeOid) {
    case Oid.bytea:
      return (value, out) => out.bytesField(value as Buffer);
    case Oid.int4:
    case Oid.date:
      return (value, out) =>
        out.bytesField(typeof value === 'number' ? binaryFromInt32(value) : binaryFromText(typeOid, String(value)));
    case Oid.int8:
    case Oid.time:
    case Oid.timestamp:
    case Oid.timestamptz:
      return (value, out) =>
        out.bytesField(typeof value === 'string' ? binaryFromText(typeOid, value) : binaryFromInt64(value as number | bigint));
    case Oid.float4:
    case Oid.float8:
      return (value, out) => out.bytesField(binaryFromFloat(Number(value), typeOid === Oid.float4));
    case Oid.text:
    case Oid.varchar:
    case Oid.name:
    case Oid.json:
      return (value, out) => out.textField(String(value));
    default:
      return (value, out) => out.bytesField(binaryFromText(typeOid, textFromHeap(typeOid, typmod, value, CANONICAL_OUTPUT)));
  }
}
