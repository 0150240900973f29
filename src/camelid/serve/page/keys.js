// What a key press means.

/** Whether a key belongs to an input method that is composing a word: its Enter chooses a word and sends nothing. */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

/** Whether someone is typing into a field. */
export function isTyping(target) {
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "checkbox");
}
