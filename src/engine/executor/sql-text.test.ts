import { describe, expect, it } from 'vitest';
import { putRelations, putValues } from './sql-text.js';
import { positional, renumbered } from './statements.js';

describe('putting things into generated SQL', () => {
  it('puts relations in, and refuses an unknown alias', () => {
    expect(putRelations('SELECT 1 FROM {{t0}} AS t0', () => '"x"')).toBe('SELECT 1 FROM "x" AS t0');
    expect(() => putRelations('{{t1}}', () => undefined)).toThrow(/t1/);
  });

  it('leaves strings and quoted names alone', () => {
    const sql = `SELECT '$1 it''s', "a$2""b", $2::BIGINT, $10`;
    expect(putValues(sql, (n) => `<${n}>`)).toBe(`SELECT '$1 it''s', "a$2""b", <2>::BIGINT, <10>`);
  });

  it('makes numbered parameters positional', () => {
    expect(positional(`SELECT ?2, '?1', ?1, ?2`)).toEqual({ sql: `SELECT ?, '?1', ?, ?`, order: [2, 1, 2] });
    expect(renumbered(`SELECT ?7, '?1', ?2, ?7`)).toEqual({ sql: `SELECT ?1, '?1', ?2, ?1`, order: [7, 2] });
  });
});
