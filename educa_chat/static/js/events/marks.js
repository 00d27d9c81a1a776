/** Marks of messages: pinned, question, answer, endorsed by an instructor. */

import { PIN } from '../icons.js';

/** @type {EventKind[]} */
export const KINDS = [
  {
    name: 'pinned',
    commandName: 'pin',
    change: (_, { on }) => ({ pinned: on }),
    receive: ({ target, on }, { pins }) => {
      if (on) pins.open((opened) => opened.set(target, true));
      else pins.whenOpened((opened) => opened.set(target, false));
    },
    action: {
      name: 'pin',
      icon: PIN,
      rank: 80,
      label: ({ pinned }) => (pinned ? 'unpin' : 'pin'),
      may: (_, { isInstructor }) => isInstructor,
      run: ({ seq, pinned }, { outgoing }) => outgoing.add({ type: 'pin', target: seq, on: !pinned }),
    },
  },
  {
    name: 'questioned',
    commandName: 'question',
    makesQuestions: true,
    change: (_, { on }) => ({ question: on }),
    action: {
      name: 'question',
      icon: 'M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18h.01',
      rank: 60,
      label: ({ question }) => (question ? 'not_question' : 'question'),
      may: ({ own }, { isInstructor, mayWrite }) => isInstructor || (mayWrite && own),
      run: ({ seq, question }, { outgoing }) => outgoing.add({ type: 'question', target: seq, on: !question }),
    },
  },
  {
    name: 'answered',
    commandName: 'answer',
    changesAnswers: true,
    change: (_, { on }) => ({ answered: on }),
    action: {
      name: 'answer',
      icon: 'm5 12.5 4.5 4.5L19 7.5',
      rank: 50,
      label: ({ answered }) => (answered ? 'not_answer' : 'answer'),
      may: ({ reply_to: target }, { isInstructor, mayWrite, isOwn }) =>
        Boolean(target) && (isInstructor || (mayWrite && isOwn(target ?? 0))),
      run: ({ seq, answered }, { outgoing }) => outgoing.add({ type: 'answer', target: seq, on: !answered }),
    },
  },
  {
    name: 'endorsed',
    commandName: 'endorse',
    change: (_, { on }) => ({ endorsed: on }),
    action: {
      name: 'endorse',
      icon: 'm12 4 2.4 5 5.6.8-4 3.9.9 5.5-4.9-2.6-4.9 2.6.9-5.5-4-3.9 5.6-.8L12 4Z',
      rank: 70,
      label: ({ endorsed }) => (endorsed ? 'not_endorse' : 'endorse'),
      may: ({ role }, { isInstructor }) => isInstructor && role === 'student',
      run: ({ seq, endorsed }, { outgoing }) => outgoing.add({ type: 'endorse', target: seq, on: !endorsed }),
    },
  },
];
