import { describe, expect, it } from 'vitest';
import { RowWriter } from '../codec/rowwriter.js';
import { rowsOf } from '../dispatch/datarow.js';
import { PortalSink } from './portal.js';

function rows(values: number[]): Buffer {
  const writer = new RowWriter(64);
  for (const value of values) {
    writer.beginRow(1);
    writer.intField(value);
    writer.endRow();
  }
  return writer.take();
}

function recorder() {
  const written: Buffer[] = [];
  return {
    connection: { write: (bytes: Buffer) => void written.push(bytes), flush: async () => undefined },
    values: () => rowsOf(Buffer.concat(written)).map(([text]) => Number(text)),
  };
}

describe('a portal with a row limit', () => {
  it('gives so many rows, and the rest when it is executed again', async () => {
    const { connection, values } = recorder();
    const sink = new PortalSink(connection);
    let suspended = 0;
    sink.allow(2).then(() => suspended++);
    const producing = sink.rows(rows([1, 2, 3, 4, 5]), 5);
    await Promise.resolve();
    await Promise.resolve();
    expect([values(), suspended, sink.count]).toEqual([[1, 2], 1, 2]);

    sink.allow(2);
    expect([values(), sink.count]).toEqual([[1, 2, 3, 4], 2]);
    sink.allow(Number.POSITIVE_INFINITY);
    await producing;
    expect(sink.rows(rows([6]), 1)).toBeUndefined();
    expect([values(), sink.count]).toEqual([[1, 2, 3, 4, 5, 6], 2]);
  });

  it('lets the producer go on when it is closed', async () => {
    const { connection, values } = recorder();
    const sink = new PortalSink(connection);
    sink.allow(1);
    const producing = sink.rows(rows([1, 2]), 2);
    sink.abandon();
    await producing;
    expect(sink.rows(rows([3]), 1)).toBeUndefined();
    expect(values()).toEqual([1]);
  });
});
