/**
 * Makes dist/engine/front/template.tar.gz, the data directory with which each front opens, and catalog.json, the names of its
 * operators, functions and types by OID. Skipped where bootstrap, PGlite and this script are the ones that made what is there.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { PGlite } from '@electric-sql/pglite';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const output = join(root, 'dist', 'engine', 'front');
const stampFile = join(output, 'template.stamp');
const readText = (...path) => readFileSync(join(root, ...path), 'utf8');

const version = JSON.parse(readText('package.json')).version;
const pgliteVersion = JSON.parse(readText('node_modules', '@electric-sql', 'pglite', 'package.json')).version;
const bootstrap = readText('src', 'engine', 'front', 'bootstrap.sql').replaceAll('@VERSION@', version);
const stamp = createHash('sha256')
  .update(JSON.stringify([pgliteVersion, bootstrap, readFileSync(fileURLToPath(import.meta.url), 'utf8')]))
  .digest('hex');

const products = ['template.tar.gz', 'catalog.json'].map((name) => join(output, name));
const fresh = products.every(existsSync) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
if (!fresh) {
  await build().catch((error) => {
    // PGlite's errors carry the whole statement: the message and the place are enough.
    console.error(
      `front template: ${error.message}${error.position === undefined ? '' : ` near: ${bootstrap.slice(error.position - 1, +error.position + 120)}`}`,
    );
    process.exitCode = 1;
  });
}

async function build() {
  mkdirSync(output, { recursive: true });
  // Small WAL segments: the data directory is held in memory by every front.
  const initDbStartParams = [
    '--wal-segsize=1',
    '--encoding=UTF8',
    '--locale-provider=libc',
    '--lc-collate=C',
    '--lc-ctype=C.UTF-8',
  ];
  const pg = await PGlite.create({ dataDir: 'memory://', initDbStartParams });
  try {
    await checkLocale(pg);
    await pg.exec(bootstrap);
    await pg.exec('VACUUM (FREEZE, ANALYZE)');
    const catalog = JSON.stringify(await readCatalog(pg));
    await pg.exec('CHECKPOINT');
    const tar = Buffer.from(await (await pg.dumpDataDir('none')).arrayBuffer());
    writeWhole('catalog.json', catalog);
    writeWhole('template.tar.gz', gzipSync(tar, { level: 6 }));
    writeWhole('template.stamp', stamp);
  } finally {
    await pg.close();
  }
}

function writeWhole(name, content) {
  const path = join(output, name);
  const temporary = `${path}.tmp.${process.pid}`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
}

/** All three engines compare text by its bytes: a front with another collation would give other answers. */
async function checkLocale(pg) {
  const { rows } = await pg.query(
    `SELECT datcollate, datctype, pg_encoding_to_char(encoding) AS encoding FROM pg_database WHERE datname = 'postgres'`,
  );
  const { datcollate, datctype, encoding } = rows[0];
  if (datcollate !== 'C' || datctype !== 'C.UTF-8' || encoding !== 'UTF8') {
    throw new Error(`unexpected locale of PGlite: collation ${datcollate}, ctype ${datctype}, encoding ${encoding}`);
  }
}

/**
 * Names by OID, for the planner's allow-lists: `operators[oid]` is `=(int4,int4)` (`-(NONE,int4)` where it is a prefix), `functions[oid]` is
 * `lower(text)`; `functionInfo[oid]` = { kind: prokind, ret: result type's name, set, volatile: provolatile, strict, schema, variadic },
 * `operatorInfo[oid]` = { code: function's OID, ret }, `types[oid]` = { name, typtype, typcategory, typlen, elem, typalign, typbyval }.
 */
async function readCatalog(pg) {
  const catalog = { pglite: pgliteVersion, operators: {}, operatorInfo: {}, functions: {}, functionInfo: {}, types: {} };
  const types = await pg.query(
    'SELECT oid, typname, typtype, typcategory, typlen, typelem, typalign, typbyval FROM pg_type ORDER BY oid',
  );
  const typeName = (oid) => catalog.types[oid]?.name ?? 'NONE';
  for (const t of types.rows) {
    const { typname: name, typtype, typcategory, typlen, typelem: elem, typalign, typbyval } = t;
    catalog.types[t.oid] = { name, typtype, typcategory, typlen, elem, typalign, typbyval };
  }
  const operators = await pg.query(
    'SELECT oid, oprname, oprleft, oprright, oprcode::oid AS code, oprresult FROM pg_operator ORDER BY oid',
  );
  for (const o of operators.rows) {
    catalog.operators[o.oid] = `${o.oprname}(${typeName(o.oprleft)},${typeName(o.oprright)})`;
    catalog.operatorInfo[o.oid] = { code: o.code, ret: typeName(o.oprresult) };
  }
  const functions =
    await pg.query(`SELECT p.oid, proname, nspname, prokind, prorettype, proretset, provolatile, proisstrict, provariadic,
    string_to_array(proargtypes::text, ' ')::oid[] AS args FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace ORDER BY p.oid`);
  for (const f of functions.rows) {
    catalog.functions[f.oid] = `${f.proname}(${f.args.map(typeName).join(',')})`;
    catalog.functionInfo[f.oid] = {
      kind: f.prokind,
      ret: typeName(f.prorettype),
      set: f.proretset,
      volatile: f.provolatile,
      strict: f.proisstrict,
      schema: f.nspname,
      variadic: f.provariadic !== 0,
    };
  }
  return catalog;
}
