export const SUBPROTOCOL = 'educa-chat.v1';

export const Close = Object.freeze({
  GOING_AWAY: 1001,
  SESSION_ENDED: 4001,
  NOT_A_MEMBER: 4003,
  TOO_SLOW: 4008,
  REPLACED: 4029,
});
