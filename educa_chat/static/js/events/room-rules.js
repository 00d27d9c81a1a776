/** The rules of a room: who may write, how often, and whether anonymously. */

import { durationOf, untilOf } from '../dates.js';
import { byId } from '../dom.js';
import { ask, dialogById } from '../popover.js';
import { text } from '../strings.js';

/** @type {EventKind[]} */
export const KINDS = [
  {
    name: 'closed',
    commandName: 'close',
    systemMessage: ({ on }) => text(on ? 'rule.closed' : 'rule.open'),
    receive: ({ on }, { rules }) => rules.change({ isClosed: on }),
  },
  {
    name: 'slowed',
    commandName: 'slow',
    systemMessage: ({ seconds }) => (seconds ? text('rule.slow', { time: durationOf(seconds) }) : text('rule.not_slow')),
    receive: ({ seconds }, { rules }) => rules.change({ slowSeconds: seconds }),
  },
  {
    name: 'anonymity',
    commandName: 'anonymity',
    systemMessage: ({ on }) => text(on ? 'rule.anonymity' : 'rule.no_anonymity'),
    receive: ({ on }, { rules }) => rules.change({ anonymity: on }),
  },
  {
    name: 'muted',
    commandName: 'mute',
    systemMessage: ({ target_user: student, until }, { user, nameOf }) => {
      const time = until ? untilOf(until) : '';
      if (student === user) return text(time ? 'rule.muted_you' : 'rule.unmuted_you', { until: time });
      return text(time ? 'rule.muted' : 'rule.unmuted', { name: nameOf(student), until: time });
    },
    receive: ({ target_user: student, until }, { user, rules, muted }) => {
      if (student === user) rules.change({ mutedUntil: until });
      muted.whenOpened((opened) => opened.load());
    },
    action: {
      name: 'mute',
      icon: 'M5 9v6h4l5 4V5L9 9H5ZM17.5 9.5l4 5M21.5 9.5l-4 5',
      rank: 90,
      may: ({ role }, { isInstructor }) => isInstructor && role === 'student',
      run: async ({ user: student, name }, { outgoing }) => {
        byId('mute-title').textContent = text('action.mute_for', { name });
        const minutes = await ask(dialogById('mute-dialog'));
        if (minutes) outgoing.add({ type: 'mute', user: student, minutes: Number(minutes) });
      },
    },
  },
];
