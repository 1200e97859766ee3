import Table from 'cli-table3';

const PLAIN = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: ' ',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: ' | ',
};

/** A table as psql shows one: header, rule, rows; numbers to the right. */
export function renderTable(header: string[], rows: (string | null)[][], options: { numeric?: boolean[] } = {}): string {
  const aligns = header.map((_, index) => (options.numeric?.[index] ? 'right' : 'left') as 'right' | 'left');
  const table = new Table({
    chars: PLAIN,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: aligns,
  });
  const shown = rows.map((row) => row.map((cell) => cell ?? ''));
  table.push(header, ...shown);
  const lines = table
    .toString()
    .split('\n')
    .filter((line) => line.trim() !== '' || shown.length === 0);
  const widths = header.map((name, index) => Math.max(name.length, ...shown.map((row) => longestLine(row[index] ?? ''))));
  const rule = ` ${widths.map((width) => '-'.repeat(width)).join('-+-')}`;
  const [head = '', ...body] = lines;
  return [head.trimEnd(), rule, ...body.map((line) => line.trimEnd())].join('\n');
}

function longestLine(text: string): number {
  return Math.max(...text.split('\n').map((line) => [...line].length));
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
