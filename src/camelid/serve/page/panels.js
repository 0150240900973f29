// What opens beside the conversation or over it: side panels and dialogs. Focus goes in, and comes back out.
import { el, iconButton } from "./dom.js";

let open = null; // {panel, opener}

/** Show a side panel, or hide it when it is the one that is open. */
export function togglePanel(panel, opener) {
  const same = open?.panel === panel;
  closePanel();
  if (same) return;
  panel.hidden = false;
  open = { panel, opener };
  opener.setAttribute("aria-expanded", "true");
  document.body.classList.add("with-panel");
  panel.querySelector("button, input, textarea")?.focus();
}

/** True when one was open. */
export function closePanel() {
  if (!open) return false;
  const { panel, opener } = open;
  open = null;
  const within = panel.contains(document.activeElement);
  panel.hidden = true;
  opener.setAttribute("aria-expanded", "false");
  document.body.classList.remove("with-panel");
  if (within) opener.focus();
  return true;
}

/** Head of a panel: its title and a way to close it. */
export function panelHead(word) {
  return el("div", { class: "panel-head" }, el("h2", { word }), iconButton("close", "close", () => closePanel()));
}

/** Show a dialog until it is closed; one that is `fixed` stays until `dialog.done()`. */
export function showDialog(nodes, { name, fixed = false } = {}) {
  const title = el("h2", { word: name, id: "dialog-title" });
  const head = el("div", { class: "panel-head" }, title, fixed ? null : iconButton("close", "close", () => dialog.close()));
  const dialog = el("dialog", { "aria-labelledby": "dialog-title", closedby: fixed ? "none" : null }, head, ...nodes);
  // A browser may close a dialog on Escape whatever the page says: it comes back.
  dialog.addEventListener("close", () => (fixed ? dialog.showModal() : dialog.remove()));
  dialog.done = () => dialog.remove();
  dialog.addEventListener("click", (event) => event.target === dialog && !fixed && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;

/** Ask before what cannot be undone. */
export function confirmRemoval(name, remove) {
  const sure = el("button", { type: "button", class: "strong danger", word: "confirm", on: { click: () => (dialog.close(), remove()) } });
  const back = el("button", { type: "button", class: "plain", word: "cancel", on: { click: () => dialog.close() } });
  const dialog = showDialog([el("p", { word: "removeSure", args: { name } }), el("div", { class: "row end" }, back, sure)], { name: "remove" });
  back.focus();
}

/** A field for one line (`secret`: shown as dots; a password field would have the browser offer to keep it); `done(text)` may refuse by returning the key of what is wrong. */
export function askLine({ name, help, label, hint, button, value = "", secret = false, fixed = false, done }) {
  const field = el("input", { type: "text", label, hint, autocomplete: "off", spellcheck: "false", class: secret ? "line secret" : "line" });
  field.value = value;
  const fault = el("p", { class: "remark warn", role: "alert" });
  const finish = async () => {
    const wrong = await done(field.value);
    if (wrong) fault.replaceChildren(el("span", { word: wrong }));
    else dialog.done();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    finish();
  });
  const go = el("button", { type: "button", class: "strong", word: button, on: { click: finish } });
  const dialog = showDialog([help ? el("p", { class: "help", word: help }) : null, field, fault, el("div", { class: "row end" }, go)].filter(Boolean), { name, fixed });
  field.focus();
  field.select();
}
