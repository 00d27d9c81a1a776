/** The server's clock is used, whatever the browser's clock says. */

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

const { calendarNow, serverNow, synchronise } = await import('../../educa_chat/static/js/clock.js');

const SERVER = '2026-03-29T00:59:59.000Z';
const HOUR_MS = 3_600_000;

let elapsed = 5000;
mock.method(performance, 'now', () => elapsed);
mock.timers.enable({ apis: ['Date'], now: Date.parse('2020-01-01T00:00:00Z') });

test('a clock that is years off makes no difference', () => {
  synchronise(SERVER);
  assert.equal(serverNow(), Date.parse(SERVER));
  assert.equal(calendarNow().toISOString(), SERVER);
});

test('a server time that arrives late counts from when it was measured', () => {
  synchronise(SERVER, 1500);
  assert.equal(serverNow(), Date.parse(SERVER) + 1500);
});

test('elapsed time is counted, and changing the clock does not end a mute', () => {
  synchronise(SERVER);
  elapsed += 2000;
  mock.timers.setTime(Date.parse('2020-01-01T05:00:00Z'));
  assert.equal(serverNow(), Date.parse(SERVER) + 2000);
});

test('the day is correct after the computer wakes up', () => {
  mock.timers.setTime(Date.parse('2020-01-01T00:00:00Z') + 9 * HOUR_MS);
  assert.equal(calendarNow().getTime(), Date.parse(SERVER) + 9 * HOUR_MS);
});

test('a clock that is set back does not turn the calendar back', () => {
  mock.timers.setTime(Date.parse('2019-12-31T00:00:00Z'));
  synchronise(SERVER);
  elapsed += 1000;
  assert.equal(calendarNow().getTime(), Date.parse(SERVER) + 1000);
});
