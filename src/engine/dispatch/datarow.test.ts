import { describe, expect, it } from 'vitest';
import { RowWriter } from '../codec/rowwriter.js';
import { commandComplete, rowDescription } from '../wire/messages.js';
import { csvOfRows, frontMessages, offsetOfRow, readAnswer, rowsOf } from './datarow.js';

function messages(rows: (string | null)[][]): Buffer {
  const writer = new RowWriter(64);
  for (const row of rows) {
    writer.beginRow(row.length);
    for (const value of row) {
      if (value === null) writer.nullField();
      else writer.textField(value);
    }
    writer.endRow();
  }
  return writer.take();
}

const ROWS = [
  ['1', null, 'é,"x"\n'],
  ['', '\\.', 'z'],
];

describe('DataRow messages', () => {
  it('are read, and become canonical CSV', () => {
    const bytes = messages(ROWS);
    expect(rowsOf(bytes)).toEqual(ROWS);
    expect(csvOfRows(bytes).toString()).toBe('1,,"é,""x""\n"\n"","\\.",z\n');
    expect(csvOfRows(bytes, [2, undefined, 0]).toString()).toBe('"é,""x""\n",,1\nz,,""\n');
    expect(rowsOf(bytes.subarray(offsetOfRow(bytes, 1)))).toEqual([ROWS[1]]);
  });

  it('are told from the other messages of an answer', () => {
    const head = rowDescription([{ name: 'a', relationOid: 0, attnum: 0, typeOid: 25, typeSize: -1, typmod: -1 }]);
    const answer = readAnswer(Buffer.concat([head, messages([['1']]), messages([['2']]), commandComplete('SELECT 2')]));
    expect([answer.count, answer.tag, rowsOf(answer.rows), answer.rowDescription?.length]).toEqual([
      2,
      'SELECT 2',
      [['1'], ['2']],
      head.length,
    ]);
  });

  it('are asked of the front by Parse, Bind, Describe, Execute', () => {
    const bytes = frontMessages('select $1', ['é', null], [25, 0], [0]);
    const types: string[] = [];
    for (let at = 0; at < bytes.length; at += 1 + bytes.readInt32BE(at + 1)) types.push(String.fromCharCode(bytes[at]!));
    expect(types).toEqual(['P', 'B', 'D', 'E']);
  });
});
