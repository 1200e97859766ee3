import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CatalogOp } from '../../model/catalog.js';
import { openCatalog } from './catalog.js';

const setting = (name: string, value: string): CatalogOp => ({ kind: 'setting', key: name, row: { name, value } });

describe('catalog', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'catalog-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('keeps what was applied over a reopening, and ignores a record that is in already', () => {
    const first = openCatalog(directory);
    first.apply([setting('a', '1'), setting('b', '2')], 10);
    first.apply([{ kind: 'setting', key: 'b', row: null }], 20);
    first.apply([setting('a', 'again')], 20);
    first.close();
    const second = openCatalog(directory);
    expect(second.lsn).toBe(20);
    expect(second.setting('a')).toBe('1');
    expect(second.setting('b')).toBeUndefined();
    second.close();
  });

  it('notes a position that no change of its own has reached, and never goes back', () => {
    const first = openCatalog(directory);
    first.apply([setting('a', '1')], 10);
    first.settle(5);
    expect(first.lsn).toBe(10);
    first.settle(1000);
    first.apply([setting('a', 'before')], 900);
    first.apply([setting('b', '2')], 1001);
    first.close();
    const second = openCatalog(directory);
    expect([second.lsn, second.setting('a'), second.setting('b')]).toEqual([1001, '1', '2']);
    second.close();
  });

  it('gives each number once, and a late commit of a smaller one does not turn the counter back', () => {
    const catalog = openCatalog(directory);
    const early = catalog.allocate('nextShardId', 4);
    const late = catalog.allocate('nextShardId', 2);
    expect([early.first, late.first]).toEqual([102008, 102012]);
    catalog.apply([late.op], 1);
    catalog.apply([early.op], 2);
    expect(catalog.counter('nextShardId')).toBe(102014);
    catalog.close();
    const reopened = openCatalog(directory);
    expect(reopened.allocate('nextShardId').first).toBe(102014);
    reopened.close();
  });

  it('shows a transaction its own changes and nobody else', () => {
    const catalog = openCatalog(directory);
    catalog.apply([{ kind: 'placement', key: 'c2_0', row: { setKey: 'c2_0', contents: [0], version: 1 } }], 1);
    expect(catalog.setsOfContent(0)).toEqual(['c2_0']);
    const view = catalog.overlay([
      { kind: 'placement', key: 'c2_0', row: { setKey: 'c2_0', contents: [1], version: 2 } },
      setting('x', 'y'),
    ]);
    expect(view.setsOfContent(0)).toEqual([]);
    expect(view.setsOfContent(1)).toEqual(['c2_0']);
    expect(view.setting('x')).toBe('y');
    expect(catalog.setsOfContent(0)).toEqual(['c2_0']);
    expect(catalog.setting('x')).toBeUndefined();
    catalog.close();
  });

  it('tells listeners which kinds changed', () => {
    const catalog = openCatalog(directory);
    const seen: string[][] = [];
    catalog.onChange((kinds) => seen.push([...kinds]));
    catalog.apply([setting('a', '1')], 1);
    catalog.apply([], 2);
    expect(seen).toEqual([['setting']]);
    expect(catalog.version).toBe(1);
    catalog.close();
  });
});
