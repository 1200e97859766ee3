import { describe, expect, it } from 'vitest';
import type { TreeNode, TreeValue } from './tree.js';
import { isNode, readTree, visitNodes } from './tree-reader.js';

const one = (text: string): TreeNode => readTree(`(${text})`)[0] as TreeNode;

describe('readTree', () => {
  it('reads fields, numbers, booleans and NULL', () => {
    const node = one('{QUERY :commandType 1 :canSetTag true :utilityStmt <> :x false :negative -1 :real 1.5e-3 :boolop and}');
    expect(node).toEqual({
      node: 'QUERY',
      commandType: 1,
      canSetTag: true,
      utilityStmt: null,
      x: false,
      negative: -1,
      real: 0.0015,
      boolop: 'and',
    });
  });

  it('joins lines wrapped between tokens', () => {
    expect(one('{VAR :varno 1\n:varattno\n2 :vartype 23}')).toEqual({ node: 'VAR', varno: 1, varattno: 2, vartype: 23 });
  });

  it('reads nested nodes and every kind of list', () => {
    const node = one(
      '{A :args ({B :n 1} {B :n 2}) :ints (i 1 -2) :oids (o 16384\n23) :set (b 8 9) :empty (b) :none () :names ("a" "we\\ ird" "q"uote" "")}',
    );
    expect(node.args).toEqual([
      { node: 'B', n: 1 },
      { node: 'B', n: 2 },
    ]);
    expect(node.ints).toEqual([1, -2]);
    expect(node.oids).toEqual([16384, 23]);
    expect(node.set).toEqual([8, 9]);
    expect(node.empty).toEqual([]);
    expect(node.none).toEqual([]);
    expect(node.names).toEqual(['a', 'we ird', 'q"uote', '']);
  });

  it('reads datums with signed bytes', () => {
    const node = one('{CONST :constlen -1 :constvalue 10 [ 40 0 0 0 0 -127 1 0\n-120 19 ] :location 5}');
    expect(node.constvalue).toEqual({ datum: Uint8Array.from([40, 0, 0, 0, 0, 129, 1, 0, 136, 19]) });
    expect(node.location).toBe(5);
    expect(one('{CONST :constvalue 0 [ ]}').constvalue).toEqual({ datum: new Uint8Array(0) });
  });

  it('keeps escaped tokens as strings and names as text', () => {
    const node = one('{X :relkind \\1 :y \\<> :z "" :ctename true :aliasname 12 :resname a\\ b\\(\\)\\\\}');
    expect(node).toEqual({ node: 'X', relkind: '1', y: '<>', z: '', ctename: 'true', aliasname: '12', resname: 'a b()\\' });
  });

  it('reads trees deeper than the stack', () => {
    const depth = 200_000;
    let node: TreeNode | undefined = one(`${'{E :arg '.repeat(depth)}<>${'}'.repeat(depth)}`);
    let count = 0;
    visitNodes([node], () => {
      count += 1;
    });
    expect(count).toBe(depth);
    let steps = 0;
    while (node !== undefined) {
      steps += 1;
      const next: TreeValue | undefined = node.arg;
      node = isNode(next) ? next : undefined;
    }
    expect(steps).toBe(depth);
  });

  it('refuses what is not a list of nodes, or is cut off', () => {
    expect(() => readTree('{QUERY')).toThrow(/ends too early/);
    expect(() => readTree('({QUERY :a 1)')).toThrow(/unexpected \)/);
    expect(() => readTree('(1 2)')).toThrow(/not a node/);
    expect(() => readTree('{QUERY}')).toThrow(/not a list/);
    expect(() => readTree('({CONST :constvalue 4 [ 1 2')).toThrow(/no end/);
  });
});
