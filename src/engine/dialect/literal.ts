import { decline } from './decline.js';

/** `{{…}}` marks a relation wherever it stands in the SQL: a constant must not look like one. */
export function textLiteral(text: string): string {
  if (text.includes('\0')) decline('a text constant with a zero byte');
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return quoted.includes('{{') ? `(${quoted.replaceAll('{{', "{'||'{")})` : quoted;
}
