/** Offsets of time zones from UTC, by the tz database that is built into Node (Intl). */
import { SqlError } from '../../core/errors.js';

interface Zone {
  /** Seconds east of UTC where the zone never changes. */
  fixed?: number;
  format?: Intl.DateTimeFormat;
  /** UTC day (since 1970) → offset where it is the same at both ends of the day. */
  days: Map<number, number>;
}

const zones = new Map<string, Zone>();
const MAX_ZONES = 256;
const MAX_DAYS = 20000;
const UTC_NAMES = new Set([
  'utc',
  'gmt',
  'etc/utc',
  'etc/gmt',
  'z',
  'zulu',
  'uct',
  'universal',
  'etc/uct',
  'etc/universal',
  'etc/zulu',
]);
/** JavaScript's dates end before PostgreSQL's do; beyond, the rule of the last years they know is used. */
const LAST_SECOND = 8.64e12;
const CYCLE = 400 * 365.2425 * 86400;

function zoneOf(name: string): Zone {
  let zone = zones.get(name);
  if (zone === undefined) {
    zone = makeZone(name);
    if (zones.size >= MAX_ZONES) zones.clear();
    zones.set(name, zone);
  }
  return zone;
}

function makeZone(name: string): Zone {
  if (UTC_NAMES.has(name.toLowerCase())) return { fixed: 0, days: new Map() };
  const fixed = posixOffset(name);
  if (fixed !== undefined) return { fixed, days: new Map() };
  try {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    return { format, days: new Map() };
  } catch (cause) {
    throw new SqlError('22023', `time zone "${name}" not recognized`, { cause });
  }
}

/** `<+02>-02`, as PostgreSQL shows `SET TIME ZONE 2`; POSIX counts west of Greenwich. */
function posixOffset(name: string): number | undefined {
  const match = /^<[^<>]*>([+-]?)(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?$/.exec(name);
  if (match === null) return undefined;
  const seconds = Number(match[2]) * 3600 + Number(match[3] ?? 0) * 60 + Number(match[4] ?? 0);
  return match[1] === '-' ? seconds : -seconds;
}

/** Seconds east of UTC at an instant (seconds since 1970). */
export function offsetSecondsAt(name: string, utcSeconds: number): number {
  const zone = zoneOf(name);
  if (zone.fixed !== undefined) return zone.fixed;
  const seconds = withinDates(utcSeconds);
  const day = Math.floor(seconds / 86400);
  const known = zone.days.get(day);
  if (known !== undefined) return known;
  const start = rawOffset(zone, day * 86400);
  if (start !== rawOffset(zone, day * 86400 + 86399)) return rawOffset(zone, seconds);
  if (zone.days.size >= MAX_DAYS) zone.days.clear();
  zone.days.set(day, start);
  return start;
}

function withinDates(seconds: number): number {
  let within = seconds;
  while (within >= LAST_SECOND - 86400) within -= CYCLE;
  return within;
}

function rawOffset(zone: Zone, utcSeconds: number): number {
  const field: Record<string, number> = {};
  let bc = false;
  for (const part of zone.format!.formatToParts(utcSeconds * 1000)) {
    if (part.type === 'era') bc = part.value.startsWith('B');
    else if (part.type !== 'literal') field[part.type] = Number(part.value);
  }
  const year = bc ? 1 - field['year']! : field['year']!;
  const local = new Date(0);
  local.setUTCFullYear(year, field['month']! - 1, field['day']!);
  local.setUTCHours(field['hour']!, field['minute']!, field['second']!);
  return local.getTime() / 1000 - utcSeconds;
}

/**
 * Seconds east of UTC for a wall clock time (seconds since 1970 as if it were UTC), as PostgreSQL resolves it: a time that
 * a change skips is read with the offset before the change, a time that occurs twice with the one after it.
 */
export function localOffsetSeconds(name: string, wallSeconds: number): number {
  const zone = zoneOf(name);
  if (zone.fixed !== undefined) return zone.fixed;
  const before = offsetSecondsAt(name, wallSeconds - 86400);
  const after = offsetSecondsAt(name, wallSeconds + 86400);
  if (before === after) {
    const here = offsetSecondsAt(name, wallSeconds - before);
    return here;
  }
  const byBefore = offsetSecondsAt(name, wallSeconds - before) === before;
  const byAfter = offsetSecondsAt(name, wallSeconds - after) === after;
  if (byAfter) return after;
  if (byBefore) return before;
  return before;
}
