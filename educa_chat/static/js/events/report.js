/** Reports: a user reports a message to the instructors, who handle the report. Students don't see reports. */

import { byId } from '../dom.js';
import { ask, dialogById } from '../popover.js';
import { text } from '../strings.js';

/** @type {EventKind[]} */
export const KINDS = [
  {
    name: 'reported',
    commandName: 'report',
    receive: ({ target }, { reports }) => reports.whenOpened((opened) => opened.set(target, true)),
    accepted: ({ toast }) => toast.show(text('report.sent')),
    action: {
      name: 'report',
      icon: 'M6 21V4h12l-3 4 3 4H6',
      rank: 100,
      may: ({ own }, { isInstructor }) => !own && !isInstructor,
      run: async ({ seq }, { outgoing }) => {
        const reason = /** @type {HTMLTextAreaElement} */ (byId('report-reason'));
        reason.value = '';
        const isReported = await ask(dialogById('report-dialog'));
        if (isReported) outgoing.add({ type: 'report', target: seq, reason: reason.value.trim() });
      },
    },
  },
  {
    name: 'settled',
    commandName: 'settle',
    receive: ({ target }, { reports }) => reports.whenOpened((opened) => opened.set(target, false)),
  },
];
