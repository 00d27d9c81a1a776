/**
 * Until the other scripts are there: stores what the user types, and says so if one of them can't be loaded. This is no module, so
 * the browser runs it first.
 */
(() => {
  const field = /** @type {HTMLTextAreaElement} */ (document.getElementById('chat-message-input'));
  const form = /** @type {HTMLFormElement} */ (field.form);
  const key = `educa-chat:draft:${form.dataset.key}:early`;
  field.addEventListener('input', () => {
    if (form.dataset.ready !== undefined) return;
    try {
      localStorage.setItem(key, JSON.stringify({ draft: field.value, at: Date.now(), isLeft: true }));
    } catch {
      // The page still has it.
    }
  });
  addEventListener(
    'error',
    ({ target }) => {
      if (!(target instanceof HTMLScriptElement) || form.dataset.ready !== undefined) return;
      document.getElementById('status')?.classList.add('failed');
    },
    true,
  );
})();
