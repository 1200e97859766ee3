import Table from 'cli-table3';

/** Only the rule below the header and the bars between columns. */
const LINES = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: ' ',
  'left-mid': ' ',
  mid: '-',
  'mid-mid': '-+-',
  right: '',
  'right-mid': '',
  middle: ' | ',
};

/** A table as psql shows one: header, rule, rows; numbers to the right. Columns line up also where letters are two columns wide. */
export function renderTable(header: string[], rows: (string | null)[][], options: { numeric?: boolean[] } = {}): string {
  if (header.length === 0) return ' --';
  const table = new Table({
    chars: LINES,
    head: header,
    // compact: no rules between rows.
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
    colAligns: header.map((_, index) => (options.numeric?.[index] ? 'right' : 'left')),
  });
  table.push(...(rows.length === 0 ? [header.map(() => '')] : rows.map((row) => row.map(shown))));
  const lines = table.toString().split('\n');
  return (rows.length === 0 ? lines.slice(0, -1) : lines).map((line) => line.trimEnd()).join('\n');
}

/** Control characters would move the cursor: they are shown as escapes, but for line ends. */
function shown(cell: string | null): string {
  return (cell ?? '')
    .replaceAll('\t', '    ')
    .replace(/(?!\n)\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** `key = value` lines whose values line up. */
export function renderPairs(pairs: [string, string][]): string {
  const width = Math.max(0, ...pairs.map(([key]) => key.length));
  return pairs.map(([key, value]) => `${key.padEnd(width)} = ${value}`).join('\n');
}

/** 1536 → `1.5 kB`. */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds as `1h 02m 03s`; `-` for unknown. */
export function durationText(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return '-';
  const seconds = Math.round(ms / 1000);
  const h = Math.floor(seconds / 3600);
  const m = Math.floor((seconds % 3600) / 60);
  const s = seconds % 60;
  if (h > 0) return `${h}h ${String(m).padStart(2, '0')}m ${String(s).padStart(2, '0')}s`;
  return m > 0 ? `${m}m ${String(s).padStart(2, '0')}s` : `${s}s`;
}
