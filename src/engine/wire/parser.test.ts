import { describe, expect, it } from 'vitest';
import { type FrontendEvent, FrontendParser } from './parser.js';

function framed(type: string, ...parts: (string | number[] | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : Buffer.from(part))));
  const length = Buffer.alloc(4);
  length.writeInt32BE(4 + body.length);
  return Buffer.concat([Buffer.from(type), length, body]);
}

const startup = (() => {
  const body = Buffer.from('\0\x03\0\0user\0ann\0database\0shop\0\0', 'latin1');
  const length = Buffer.alloc(4);
  length.writeInt32BE(4 + body.length);
  return Buffer.concat([length, body]);
})();
const ssl = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
const gss = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]);
const cancel = Buffer.from([0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 7, 1, 2, 3, 4]);

const normal = [
  framed('Q', 'select 1 -- ä😀'),
  framed('P', 's1', 'select $1', [0, 2, 0, 0, 0, 23, 0, 0, 0, 25]),
  framed('B', '', 's1', [0, 1, 0, 1], [0, 3], [0, 0, 0, 2, 65, 66], [255, 255, 255, 255], [0, 0, 0, 0], [0, 2, 0, 0, 0, 1]),
  framed('D', [0x53], 's1'),
  framed('D', [0x50], ''),
  framed('E', '', [0, 0, 0, 10]),
  framed('C', [0x50], 'p'),
  framed('H'),
  framed('S'),
  framed('d', [1, 2, 3]),
  framed('c'),
  framed('f', 'stop'),
  framed('X'),
];

const expected = [
  { type: 'query', sql: 'select 1 -- ä😀' },
  { type: 'parse', name: 's1', sql: 'select $1', paramTypes: [23, 25] },
  {
    type: 'bind',
    portal: '',
    statement: 's1',
    paramFormats: [1],
    params: [Buffer.from('AB'), null, Buffer.alloc(0)],
    resultFormats: [0, 1],
  },
  { type: 'describe', kind: 'S', name: 's1' },
  { type: 'describe', kind: 'P', name: '' },
  { type: 'execute', portal: '', maxRows: 10 },
  { type: 'close', kind: 'P', name: 'p' },
  { type: 'flush' },
  { type: 'sync' },
  { type: 'copyData', bytes: Buffer.from([1, 2, 3]) },
  { type: 'copyDone' },
  { type: 'copyFail', reason: 'stop' },
  { type: 'terminate' },
];

function drain(parser: FrontendParser, into: FrontendEvent[]): void {
  for (let event = parser.next(); event !== undefined; event = parser.next()) {
    const before = into.at(-1);
    // The data of a COPY comes in parts as they arrive.
    if (event.type === 'copyData' && before?.type === 'copyData') before.bytes = Buffer.concat([before.bytes, event.bytes]);
    else into.push(event);
    if (event.type === 'startup') parser.phase = 'authentication';
    if (event.type === 'password') parser.phase = 'normal';
  }
}

function parseAll(chunks: Buffer[]): FrontendEvent[] {
  const parser = new FrontendParser();
  const events: FrontendEvent[] = [];
  for (const chunk of chunks) {
    parser.push(chunk);
    drain(parser, events);
  }
  expect(parser.bufferedBytes).toBe(0);
  return events;
}

describe('FrontendParser', () => {
  const all = Buffer.concat([ssl, gss, startup, framed('p', 'secret'), ...normal]);
  const whole = [
    { type: 'sslRequest' },
    { type: 'gssRequest' },
    { type: 'startup', major: 3, minor: 0, parameters: Object.assign(Object.create(null), { user: 'ann', database: 'shop' }) },
    { type: 'password', bytes: Buffer.from('secret\0') },
    ...expected,
  ];

  it('reads the same split at every byte', () => {
    expect(parseAll([all])).toEqual(whole);
    for (let at = 1; at < all.length; at++) expect(parseAll([all.subarray(0, at), all.subarray(at)])).toEqual(whole);
    expect(parseAll([...all].map((byte) => Buffer.from([byte])))).toEqual(whole);
  });

  it('reads cancel requests', () => {
    expect(parseAll([cancel])).toEqual([{ type: 'cancel', processId: 7, secret: Buffer.from([1, 2, 3, 4]) }]);
  });

  it('bounds messages by phase', () => {
    const first = new FrontendParser();
    first.push(Buffer.from([0, 1, 0, 0]));
    expect(() => first.next()).toThrow('invalid length of startup packet');
    const http = new FrontendParser();
    http.push(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    expect(() => http.next()).toThrow('invalid length of startup packet');
    const password = new FrontendParser();
    password.phase = 'authentication';
    password.push(Buffer.from([0x70, 0, 2, 0, 0]));
    expect(() => password.next()).toThrow('invalid length');
    const query = new FrontendParser(100);
    query.phase = 'normal';
    query.push(Buffer.from([0x51, 0, 0, 0, 101]));
    expect(() => query.next()).toThrow('longer than the limit of 100 bytes');
  });

  it('refuses malformed messages', () => {
    const bad: [Buffer, string][] = [
      [framed('Q', [65]), 'invalid string'],
      [framed('Q', 'a', 'b'), 'invalid message format'],
      [framed('Q', Buffer.from([0xff, 0])), 'invalid byte sequence for encoding "UTF8"'],
      [framed('E', 'x', [0, 0]), 'insufficient data'],
      [framed('D', [0x41], 'x'), 'subtype'],
      [framed('B', 'x', 'y', [0, 1, 0, 9]), 'format code'],
      [framed('B', 'x', 'y', [0, 0], [0, 1], [127, 0, 0, 0]), 'insufficient data'],
      [framed('z'), 'invalid frontend message type'],
      [Buffer.from([0x53, 0, 0, 0, 3]), 'invalid message length'],
    ];
    for (const [bytes, text] of bad) {
      const parser = new FrontendParser();
      parser.phase = 'normal';
      parser.push(bytes);
      expect(() => parser.next()).toThrow(text);
    }
  });
});
