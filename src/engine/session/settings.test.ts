import { describe, expect, it } from 'vitest';
import { checkOwnSetting, durationMs, SessionSettings } from './settings.js';

function settings(base: Record<string, string> = {}): SessionSettings {
  return new SessionSettings('ana', base, { serverVersion: '18.6', isSuperuser: false });
}

describe('settings of a session', () => {
  it('report what the client has to know, once', () => {
    const s = settings({ timezone: 'Europe/Prague' });
    const first = new Map(s.takeReports());
    expect(first.get('server_version')).toBe('18.6');
    expect(first.get('TimeZone')).toBe('Europe/Prague');
    expect(first.get('session_authorization')).toBe('ana');
    expect(first.get('integer_datetimes')).toBe('on');
    expect(s.takeReports()).toEqual([]);
    s.set('timezone', 'UTC', false);
    expect(s.takeReports()).toEqual([['TimeZone', 'UTC']]);
    s.set('TimeZone', null, false);
    expect(s.get('timezone')).toBe('Europe/Prague');
  });

  it('go back with the transaction', () => {
    const s = settings();
    s.set('search_path', 'a', false);
    s.transactionBegins();
    s.set('search_path', 'b', false);
    s.set('role', 'bob', false);
    s.transactionEnds(false);
    expect([s.get('search_path'), s.currentRole]).toEqual(['a', 'ana']);
    s.transactionBegins();
    s.set('search_path', 'c', false);
    s.set('lock_timeout', '5s', true);
    expect(s.milliseconds('lock_timeout')).toBe(5000);
    s.transactionEnds(true);
    expect([s.get('search_path'), s.milliseconds('lock_timeout')]).toEqual(['c', 0]);
  });

  it('keep our own from the front', () => {
    const s = settings();
    s.set('citus.shard_count', '7', false);
    expect(s.get('damson.shard_count')).toBe('7');
    expect(s.own('damson.shard_count')).toBe('7');
    expect(s.front().gucs).toEqual({});
    expect(() => checkOwnSetting('citus.shard_count', '0')).toThrow(/outside the valid range/);
    expect(checkOwnSetting('damson.shard_count', '12')).toBe('12');
  });

  it('give the same object to the front until something changes', () => {
    const s = settings();
    const before = s.front();
    expect(s.front()).toBe(before);
    s.set('application_name', 'x', false);
    expect(s.front()).not.toBe(before);
  });

  it.each([
    ['0', 0],
    ['250', 250],
    ['5s', 5000],
    ['1min', 60000],
    ['1.5h', 5400000],
  ])('read the time %s', (text, ms) => expect(durationMs(text)).toBe(ms));
});
