/** Intervals as PostgreSQL prints them in its default style. */
import { notSupported } from '../../core/errors.js';
import { timeText } from './datetime.js';

export interface IntervalParts {
  months: number;
  days: number;
  micros: bigint;
}

/** `1 year 2 mons -3 days +04:05:06.7`: EncodeInterval with INTSTYLE_POSTGRES. */
export function intervalText({ months, days, micros }: IntervalParts, intervalStyle: string): string {
  if (intervalStyle !== 'postgres') {
    throw notSupported(`IntervalStyle "${intervalStyle}" is not supported for this query`, "Use SET IntervalStyle = 'postgres'.");
  }
  const parts: string[] = [];
  let negativeBefore = false;
  const add = (value: number, unit: string) => {
    if (value === 0) return;
    const sign = negativeBefore && value > 0 ? '+' : '';
    parts.push(`${sign}${value} ${unit}${value === 1 ? '' : 's'}`);
    negativeBefore = value < 0;
  };
  add(Math.trunc(months / 12), 'year');
  add(months % 12, 'mon');
  add(days, 'day');
  if (micros !== 0n || parts.length === 0) {
    const size = micros < 0n ? -micros : micros;
    const sign = micros < 0n ? '-' : negativeBefore ? '+' : '';
    parts.push(sign + clockText(size));
  }
  return parts.join(' ');
}

/** Hours may be more than two digits. */
function clockText(us: bigint): string {
  const hours = us / 3600000000n;
  const rest = timeText(Number(us % 3600000000n)).slice(3);
  return `${hours < 10n ? '0' : ''}${hours}:${rest}`;
}
