/** Storage for a page in an iframe whose cookies the browser drops: the page's own, or the platform's. */

// Not the prefix of storage.js, which manages all keys that have it.
const PREFIX = 'educa-chat-lti:';
const PLATFORM_ANSWERS_WITHIN_MS = 10_000;

/**
 * @param {string} key
 * @param {string} value
 * @returns {boolean} whether the browser has kept it
 */
export function keep(key, value) {
  try {
    sessionStorage.setItem(PREFIX + key, value);
    return sessionStorage.getItem(PREFIX + key) === value;
  } catch {
    return false;
  }
}

/**
 * @param {string} key
 * @returns {string | null}
 */
export function kept(key) {
  try {
    return sessionStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

/** @param {string} key */
export function drop(key) {
  try {
    sessionStorage.removeItem(PREFIX + key);
  } catch {
    // Nothing was kept.
  }
}

/**
 * Asks the platform to keep a value, or for one that it has kept (1EdTech LTI Platform Storage 1.0).
 *
 * @param {string} target  the name of the platform's frame, `_parent`, or empty if the platform has no storage
 * @param {'lti.put_data' | 'lti.get_data'} subject
 * @param {{key: string, value?: string}} data
 * @returns {Promise<string | null>} the value; null if the platform doesn't answer in time
 */
export function askPlatform(target, subject, data) {
  const frame = target && target !== '_parent' ? parent.frames[/** @type {any} */ (target)] : parent;
  if (!target || !frame || frame === window) return Promise.resolve(null);
  const id = crypto.randomUUID();
  return new Promise((resolve) => {
    const timer = setTimeout(() => done(null), PLATFORM_ANSWERS_WITHIN_MS);
    /** @param {string | null} value */
    function done(value) {
      clearTimeout(timer);
      removeEventListener('message', receive);
      resolve(value);
    }
    /** @param {MessageEvent} event */
    function receive({ data: answer, source }) {
      if (source !== frame || answer?.message_id !== id || answer.subject !== `${subject}.response`) return;
      done(answer.error || typeof answer.value !== 'string' ? null : answer.value);
    }
    addEventListener('message', receive);
    // Only sites of registered platforms can embed this page, and a platform may use several origins.
    frame.postMessage({ subject, message_id: id, ...data }, '*');
  });
}
