import { describe, expect, it } from 'vitest';
import { splitStatements } from './split.js';

describe('splitStatements', () => {
  it.each([
    ['select 1; select 2;', ['select 1', 'select 2'], ''],
    ["select ';', E'\\';', \"a;b\"; x", ["select ';', E'\\';', \"a;b\""], ' x'],
    ['select $$;$$, $a$;$$;$a$;', ['select $$;$$, $a$;$$;$a$'], ''],
    ['-- one;\nselect 1; /* ; /* ; */ ; */', ['-- one;\nselect 1'], ' /* ; /* ; */ ; */'],
    ['create rule r as on insert to t do (a; b); select 1;', ['create rule r as on insert to t do (a; b)', 'select 1'], ''],
    ["select 'open;", [], "select 'open;"],
    ["select 'it''s;'; ", ["select 'it''s;'"], ' '],
    [';;', [], ''],
    ['select $1;', ['select $1'], ''],
  ])('%s', (script, statements, rest) => {
    expect(splitStatements(script)).toEqual({ statements, rest });
  });
});
