/**
 * Dates and times as PostgreSQL counts them: days since 2000-01-01 in the proleptic Gregorian calendar, microseconds since
 * 2000-01-01 00:00 (UTC for timestamptz), and their ISO text. Infinity is the largest and smallest int32 (date), int64 (timestamps).
 */
import { SqlError } from '../../core/errors.js';
import { localOffsetSeconds, offsetSecondsAt } from './timezone.js';

export const DATE_INFINITY = 2147483647;
export const DATE_MINUS_INFINITY = -2147483648;
export const TIMESTAMP_INFINITY = 9223372036854775807n;
export const TIMESTAMP_MINUS_INFINITY = -9223372036854775808n;
export const US_PER_DAY = 86400000000;
/** Days from 1970-01-01 to 2000-01-01. */
export const EPOCH_DAYS = 10957;
export const EPOCH_SECONDS = EPOCH_DAYS * 86400;

/** PostgreSQL's bounds: 4714-11-24 BC to 5874897-12-31 (date), to 294276-12-31 (timestamps); upper bounds exclusive. */
export const DATE_MIN = -2451545;
export const DATE_END = 2145031949;
const TIMESTAMP_MIN = -211813488000000000n;
const TIMESTAMP_END = 9223371331200000000n;

/** Days since 2000-01-01 of a proleptic Gregorian date; year 0 is 1 BC. */
export function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146097 + dayOfEra - 719468 - EPOCH_DAYS;
}

export interface Civil {
  year: number;
  month: number;
  day: number;
}

export function civilFromDays(days: number): Civil {
  const z = days + 719468 + EPOCH_DAYS;
  const era = Math.floor(z / 146097);
  const dayOfEra = z - era * 146097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const mp = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * mp + 2) / 5) + 1;
  const month = mp < 10 ? mp + 3 : mp - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

export function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function two(n: number): string {
  return n < 10 ? `0${n}` : String(n);
}

/** `YYYY-MM-DD` without the era; years of fewer than four digits are padded. */
function dayText(civil: Civil): string {
  const year = civil.year > 0 ? civil.year : 1 - civil.year;
  return `${String(year).padStart(4, '0')}-${two(civil.month)}-${two(civil.day)}`;
}

export function dateText(days: number): string {
  if (days === DATE_INFINITY) return 'infinity';
  if (days === DATE_MINUS_INFINITY) return '-infinity';
  const civil = civilFromDays(days);
  return civil.year > 0 ? dayText(civil) : `${dayText(civil)} BC`;
}

/** `HH:MM:SS[.ffffff]`, zeros at the end of the fraction cut. */
export function timeText(us: number): string {
  const seconds = Math.floor(us / 1000000);
  const fraction = us - seconds * 1000000;
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  if (fraction === 0) return clock;
  let digits = String(fraction).padStart(6, '0');
  let end = 6;
  while (digits.charCodeAt(end - 1) === 48) end--;
  if (end < 6) digits = digits.slice(0, end);
  return `${clock}.${digits}`;
}

/** Whole days (floor) and microseconds of the day. */
export function splitTimestamp(us: number | bigint): { days: number; time: number } {
  if (typeof us === 'number') {
    const days = Math.floor(us / US_PER_DAY);
    return { days, time: us - days * US_PER_DAY };
  }
  const perDay = BigInt(US_PER_DAY);
  let days = us / perDay;
  let time = us - days * perDay;
  if (time < 0n) {
    days -= 1n;
    time += perDay;
  }
  return { days: Number(days), time: Number(time) };
}

function infinityText(us: number | bigint): string | undefined {
  if (typeof us === 'number') return undefined;
  if (us === TIMESTAMP_INFINITY) return 'infinity';
  if (us === TIMESTAMP_MINUS_INFINITY) return '-infinity';
  return undefined;
}

/** timestamp, ISO: `YYYY-MM-DD HH:MM:SS[.f][ BC]`. */
export function timestampText(us: number | bigint): string {
  const special = infinityText(us);
  if (special !== undefined) return special;
  const { days, time } = splitTimestamp(us);
  const civil = civilFromDays(days);
  const text = `${dayText(civil)} ${timeText(time)}`;
  return civil.year > 0 ? text : `${text} BC`;
}

/** timestamptz in a time zone, ISO: `YYYY-MM-DD HH:MM:SS[.f]±HH[:MM[:SS]][ BC]`. */
export function timestamptzText(us: number | bigint, timeZone: string): string {
  const special = infinityText(us);
  if (special !== undefined) return special;
  const utc = splitTimestamp(us);
  const offset = offsetSecondsAt(timeZone, utc.days * 86400 + Math.floor(utc.time / 1000000) + EPOCH_SECONDS);
  let time = utc.time + offset * 1000000;
  const carry = Math.floor(time / US_PER_DAY);
  time -= carry * US_PER_DAY;
  const civil = civilFromDays(utc.days + carry);
  const text = `${dayText(civil)} ${timeText(time)}${offsetText(offset)}`;
  return civil.year > 0 ? text : `${text} BC`;
}

function offsetText(offset: number): string {
  const size = Math.abs(offset);
  const seconds = size % 60;
  const minutes = Math.floor(size / 60) % 60;
  let text = `${offset < 0 ? '-' : '+'}${two(Math.floor(size / 3600))}`;
  if (minutes !== 0 || seconds !== 0) text += `:${two(minutes)}`;
  if (seconds !== 0) text += `:${two(seconds)}`;
  return text;
}

const ISO_HINT = 'Write it in ISO form: YYYY-MM-DD HH:MM:SS.ffffff.';

function badSyntax(typeName: string, text: string): SqlError {
  return new SqlError('22007', `invalid input syntax for type ${typeName}: "${text}"`, { hint: ISO_HINT });
}

function outOfRange(text: string): SqlError {
  return new SqlError('22008', `date/time field value out of range: "${text}"`);
}

function special(text: string): 'infinity' | '-infinity' | 'epoch' | undefined {
  const word = text.trim().toLowerCase();
  return word === 'infinity' || word === '-infinity' || word === 'epoch' ? word : undefined;
}

const DATE = /^(\d{4,7})-(\d{1,2})-(\d{1,2})/;
const TIME = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d*))?)?/;
const ZONE = /^(?:[zZ]|(?:utc|gmt)|([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?)$/i;
const ERA = /\s*(?:bc|ad)$/i;

/** Takes the era off the end. */
function cutEra(text: string): { rest: string; bc: boolean } {
  const match = ERA.exec(text);
  if (match === null) return { rest: text, bc: false };
  return { rest: text.slice(0, match.index), bc: match[0].trim().toLowerCase() === 'bc' };
}

function civilDays(match: RegExpExecArray, bc: boolean, text: string): number {
  const written = Number(match[1]);
  if (written === 0) throw outOfRange(text);
  const year = bc ? 1 - written : written;
  const month = Number(match[2]);
  const day = Number(match[3]);
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) throw outOfRange(text);
  return daysFromCivil(year, month, day);
}

/** Days since 2000-01-01 from ISO text. */
export function parseDate(text: string): number {
  const word = special(text);
  if (word === 'infinity') return DATE_INFINITY;
  if (word === '-infinity') return DATE_MINUS_INFINITY;
  if (word === 'epoch') return -EPOCH_DAYS;
  const { rest, bc } = cutEra(text.trim());
  const match = DATE.exec(rest);
  if (match === null || !/^$|^[T ]\s*\d{1,2}:\d{2}/.test(rest.slice(match[0].length))) throw badSyntax('date', text);
  if (match[0].length !== rest.length) timestampParts(text, 'date');
  const days = civilDays(match, bc, text);
  if (days < DATE_MIN || days >= DATE_END) throw new SqlError('22008', `date out of range: "${text}"`);
  return days;
}

/** Microseconds of the day; 24:00:00 is allowed, a second of 60 carries over. */
function timeOfDay(match: RegExpExecArray, text: string): number {
  const hour = Number(match[1]);
  const minute = Number(match[2]);
  const second = Number(match[3] ?? 0);
  const fraction = match[4] === undefined || match[4] === '' ? 0 : roundHalfEven(Number(`0.${match[4]}`) * 1000000);
  const us = ((hour * 60 + minute) * 60 + second) * 1000000 + fraction;
  if (hour > 24 || minute > 59 || second > 60 || us > US_PER_DAY) throw outOfRange(text);
  return us;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Microseconds since midnight from `HH:MM[:SS[.f]]`, rounded to `precision` digits where it is not negative. */
export function parseTime(text: string, precision = -1): number {
  const trimmed = text.trim();
  const match = TIME.exec(trimmed);
  if (match === null || match[0].length !== trimmed.length) throw badSyntax('time', text);
  return Number(roundTo(timeOfDay(match, text), precision));
}

/** Rounds half away from zero to so many digits of a second; below 0: as it is. */
function roundTo(us: number, precision: number): number {
  if (precision < 0 || precision >= 6) return us;
  const unit = 10 ** (6 - precision);
  return us >= 0 ? Math.floor((us + unit / 2) / unit) * unit : -Math.floor((-us + unit / 2) / unit) * unit;
}

interface TimestampParts {
  days: number;
  time: number;
  /** Seconds east of UTC; undefined where the text has no zone. */
  offset: number | undefined;
}

function timestampParts(text: string, typeName: string): TimestampParts {
  const { rest, bc } = cutEra(text.trim());
  const date = DATE.exec(rest);
  if (date === null) throw badSyntax(typeName, text);
  const days = civilDays(date, bc, text);
  const afterDate = rest.slice(date[0].length);
  if (afterDate === '') return { days, time: 0, offset: undefined };
  const clock = /^(?:[Tt]|\s+)/.exec(afterDate);
  const time = clock === null ? null : TIME.exec(afterDate.slice(clock[0].length));
  if (clock === null || time === null) throw badSyntax(typeName, text);
  const us = timeOfDay(time, text);
  const zone = afterDate.slice(clock[0].length + time[0].length).trim();
  if (zone === '') return { days, time: us, offset: undefined };
  const match = ZONE.exec(zone);
  if (match === null) throw badSyntax(typeName, text);
  return { days, time: us, offset: zoneOffset(match, text) };
}

function zoneOffset(match: RegExpExecArray, text: string): number {
  if (match[1] === undefined) return 0;
  const hours = Number(match[2]);
  const minutes = Number(match[3] ?? 0);
  const seconds = Number(match[4] ?? 0);
  if (hours > 15 || minutes > 59 || seconds > 59) {
    throw new SqlError('22009', `time zone displacement out of range: "${text}"`);
  }
  return (match[1] === '-' ? -1 : 1) * (hours * 3600 + minutes * 60 + seconds);
}

/** Joins days and microseconds, rounds to the type's precision, checks PostgreSQL's range. */
function joinTimestamp(days: number, time: number, precision: number, text: string): number | bigint {
  const safe = Math.abs(days) < 100000;
  const us = safe ? days * US_PER_DAY + time : BigInt(days) * BigInt(US_PER_DAY) + BigInt(time);
  const rounded = typeof us === 'number' ? roundTo(us, precision) : roundBig(us, precision);
  if (typeof rounded === 'bigint') {
    if (rounded < TIMESTAMP_MIN || rounded >= TIMESTAMP_END) throw new SqlError('22008', `timestamp out of range: "${text}"`);
    const number = Number(rounded);
    return Number.isSafeInteger(number) ? number : rounded;
  }
  return rounded;
}

function roundBig(us: bigint, precision: number): bigint {
  if (precision < 0 || precision >= 6) return us;
  const unit = 10n ** BigInt(6 - precision);
  return us >= 0n ? ((us + unit / 2n) / unit) * unit : -((-us + unit / 2n) / unit) * unit;
}

function specialTimestamp(text: string): number | bigint | undefined {
  const word = special(text);
  if (word === 'infinity') return TIMESTAMP_INFINITY;
  if (word === '-infinity') return TIMESTAMP_MINUS_INFINITY;
  if (word === 'epoch') return -EPOCH_DAYS * US_PER_DAY;
  return undefined;
}

/** Microseconds since 2000-01-01 from ISO text; a zone is read and, as PostgreSQL does for timestamp, ignored. */
export function parseTimestamp(text: string, precision = -1): number | bigint {
  const word = specialTimestamp(text);
  if (word !== undefined) return word;
  const parts = timestampParts(text, 'timestamp');
  return joinTimestamp(parts.days, parts.time, precision, text);
}

/**
 * Microseconds since 2000-01-01 UTC from ISO text.
 * @param timeZone where the text is without offset; without it such a text is refused.
 */
export function parseTimestamptz(text: string, precision = -1, timeZone?: string): number | bigint {
  const word = specialTimestamp(text);
  if (word !== undefined) return word;
  const parts = timestampParts(text, 'timestamp with time zone');
  let offset = parts.offset;
  if (offset === undefined) {
    if (timeZone === undefined) throw badSyntax('timestamp with time zone', text);
    offset = localOffsetSeconds(timeZone, parts.days * 86400 + Math.floor(parts.time / 1000000) + EPOCH_SECONDS);
  }
  return joinTimestamp(parts.days, parts.time - offset * 1000000, precision, text);
}
