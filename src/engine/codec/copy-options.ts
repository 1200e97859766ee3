/** Options of COPY, checked as PostgreSQL checks them (ProcessCopyOptions). */
import { notSupported, SqlError } from '../../core/errors.js';

export interface CopyOptions {
  format: 'text' | 'csv';
  /** One byte. */
  delimiter: string;
  /** The text that stands for NULL. */
  nullText: string;
  /** COPY FROM: the text that stands for the column's default; null without. */
  defaultText: string | null;
  /** match: COPY FROM compares the names in it. */
  header: false | true | 'match';
  /** CSV only; one byte each. */
  quote: string;
  escape: string;
  /** COPY TO: columns whose values are quoted always. */
  forceQuote: '*' | string[];
  /** COPY FROM: columns whose values are never, or also when quoted, compared with the NULL text. */
  forceNotNull: '*' | string[];
  forceNull: '*' | string[];
}

/** As the parser gives an option's argument: a word or string, a list of names, `*` as text, or nothing (true). */
export type CopyOptionValue = string | string[] | boolean | number | null | undefined;

const KNOWN = new Set([
  'format',
  'freeze',
  'delimiter',
  'null',
  'default',
  'header',
  'quote',
  'escape',
  'force_quote',
  'force_not_null',
  'force_null',
  'encoding',
  'on_error',
  'log_verbosity',
  'reject_limit',
]);

function invalid(text: string): SqlError {
  return new SqlError('22023', text);
}

/** @throws SqlError with PostgreSQL's SQLSTATE and message; 0A000 for what Damson does not do. */
export function parseCopyOptions(
  pairs: readonly [name: string, value: CopyOptionValue][],
  direction: 'from' | 'to',
): CopyOptions {
  const given = new Map<string, CopyOptionValue>();
  for (const [rawName, value] of pairs) {
    const name = rawName.toLowerCase();
    if (!KNOWN.has(name)) throw new SqlError('42601', `option "${rawName}" not recognized`);
    if (given.has(name)) throw new SqlError('42601', 'conflicting or redundant options');
    given.set(name, value);
  }
  refuseUnsupported(given);
  const format = formatOf(given.get('format'));
  const csv = format === 'csv';
  const options: CopyOptions = {
    format,
    delimiter: text(given, 'delimiter') ?? (csv ? ',' : '\t'),
    nullText: text(given, 'null') ?? (csv ? '' : '\\N'),
    defaultText: text(given, 'default') ?? null,
    header: headerOf(given, direction),
    quote: text(given, 'quote') ?? '"',
    escape: text(given, 'escape') ?? text(given, 'quote') ?? '"',
    forceQuote: names(given, 'force_quote'),
    forceNotNull: names(given, 'force_not_null'),
    forceNull: names(given, 'force_null'),
  };
  checkCharacters(options);
  checkModes(given, csv, direction);
  return options;
}

function refuseUnsupported(given: Map<string, CopyOptionValue>): void {
  if (booleanOf(given, 'freeze')) throw notSupported('COPY FREEZE is not supported', 'Leave FREEZE out.');
  const encoding = text(given, 'encoding');
  if (encoding !== undefined && !/^(utf-?8|unicode)$/i.test(encoding)) {
    throw notSupported(`COPY with encoding "${encoding}" is not supported`, 'Convert the data to UTF8.');
  }
  const onError = text(given, 'on_error');
  if (onError !== undefined && onError.toLowerCase() !== 'stop')
    throw notSupported(`COPY ON_ERROR "${onError}" is not supported`, 'Use ON_ERROR stop.');
  if (given.has('reject_limit')) throw notSupported('COPY REJECT_LIMIT is not supported', 'Leave REJECT_LIMIT out.');
  const verbosity = text(given, 'log_verbosity');
  if (verbosity !== undefined && verbosity.toLowerCase() !== 'default') {
    throw notSupported(`COPY LOG_VERBOSITY "${verbosity}" is not supported`, 'Leave LOG_VERBOSITY out.');
  }
}

function formatOf(value: CopyOptionValue): 'text' | 'csv' {
  if (value === undefined) return 'text';
  if (value === 'text' || value === 'csv') return value;
  if (value === 'binary') throw notSupported('COPY in binary format is not supported', 'Use FORMAT csv or text.');
  throw invalid(`COPY format "${String(value)}" not recognized`);
}

function text(given: Map<string, CopyOptionValue>, name: string): string | undefined {
  if (!given.has(name)) return undefined;
  const value = given.get(name);
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  throw new SqlError('42601', `${name} requires a parameter`);
}

function booleanOf(given: Map<string, CopyOptionValue>, name: string): boolean {
  if (!given.has(name)) return false;
  const value = given.get(name);
  const word = String(value ?? true).toLowerCase();
  if (word === 'true' || word === 'on' || word === '1') return true;
  if (word === 'false' || word === 'off' || word === '0') return false;
  throw new SqlError('42601', `${name} requires a Boolean value`);
}

function headerOf(given: Map<string, CopyOptionValue>, direction: 'from' | 'to'): false | true | 'match' {
  const value = given.get('header');
  if (typeof value === 'string' && value.toLowerCase() === 'match') {
    if (direction === 'to') throw new SqlError('0A000', 'cannot use "match" with HEADER in COPY TO');
    return 'match';
  }
  try {
    return booleanOf(given, 'header');
  } catch {
    throw new SqlError('42601', 'header requires a Boolean value or "match"');
  }
}

function names(given: Map<string, CopyOptionValue>, option: string): '*' | string[] {
  const value = given.get(option);
  if (value === undefined) return [];
  if (value === '*' || Array.isArray(value)) return value;
  if (typeof value === 'string') return [value];
  throw invalid(`argument to option "${option}" must be a list of column names`);
}

function oneByte(value: string): boolean {
  return value.length === 1 && value.charCodeAt(0) < 128;
}

function checkCharacters({ format, delimiter, nullText, defaultText, quote, escape: escaping }: CopyOptions): void {
  if (!oneByte(delimiter)) throw new SqlError('0A000', 'COPY delimiter must be a single one-byte character');
  if (/[\r\n]/.test(delimiter)) throw invalid('COPY delimiter cannot be newline or carriage return');
  if (/[\r\n]/.test(nullText)) throw invalid('COPY null representation cannot use newline or carriage return');
  if (defaultText !== null && /[\r\n]/.test(defaultText))
    throw invalid('COPY default representation cannot use newline or carriage return');
  if (format === 'text' && '\\.abcdefghijklmnopqrstuvwxyz0123456789'.includes(delimiter))
    throw invalid(`COPY delimiter cannot be "${delimiter}"`);
  if (format === 'csv') {
    if (!oneByte(quote)) throw new SqlError('0A000', 'COPY quote must be a single one-byte character');
    if (delimiter === quote) throw invalid('COPY delimiter and quote must be different');
    if (!oneByte(escaping)) throw new SqlError('0A000', 'COPY escape must be a single one-byte character');
  }
  if (nullText.includes(delimiter)) throw invalid('COPY delimiter character must not appear in the NULL specification');
  if (format === 'csv' && nullText.includes(quote))
    throw invalid('CSV quote character must not appear in the NULL specification');
  if (defaultText !== null) {
    if (defaultText.includes(delimiter)) throw invalid('COPY delimiter character must not appear in the DEFAULT specification');
    if (format === 'csv' && defaultText.includes(quote))
      throw invalid('CSV quote character must not appear in the DEFAULT specification');
    if (defaultText === nullText) throw invalid('NULL specification and DEFAULT specification cannot be the same');
  }
}

function checkModes(given: Map<string, CopyOptionValue>, csv: boolean, direction: 'from' | 'to'): void {
  for (const option of ['quote', 'escape', 'force_quote', 'force_not_null', 'force_null']) {
    if (given.has(option) && !csv) throw new SqlError('0A000', `COPY ${option.toUpperCase()} requires CSV mode`);
  }
  if (given.has('force_quote') && direction === 'from')
    throw new SqlError('0A000', 'COPY FORCE_QUOTE cannot be used with COPY FROM');
  for (const option of ['force_not_null', 'force_null', 'default']) {
    if (given.has(option) && direction === 'to')
      throw new SqlError('0A000', `COPY ${option.toUpperCase()} cannot be used with COPY TO`);
  }
}

function literal(value: string): string {
  return /[\\]/.test(value) ? `E'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'` : `'${value.replaceAll("'", "''")}'`;
}

function nameList(columns: '*' | string[]): string {
  return columns === '*' ? '*' : `(${columns.map((name) => `"${name.replaceAll('"', '""')}"`).join(', ')})`;
}

/** The options of COPY FROM as SQL, without HEADER: for blocks that CopyRouter hands back (they never hold the header line). */
export function copyOptionsSql(options: CopyOptions): string {
  const parts = [`FORMAT ${options.format}`, `DELIMITER ${literal(options.delimiter)}`, `NULL ${literal(options.nullText)}`];
  if (options.defaultText !== null) parts.push(`DEFAULT ${literal(options.defaultText)}`);
  if (options.format === 'csv') {
    parts.push(`QUOTE ${literal(options.quote)}`, `ESCAPE ${literal(options.escape)}`);
    if (options.forceNotNull.length > 0) parts.push(`FORCE_NOT_NULL ${nameList(options.forceNotNull)}`);
    if (options.forceNull.length > 0) parts.push(`FORCE_NULL ${nameList(options.forceNull)}`);
  }
  return `(${parts.join(', ')})`;
}
