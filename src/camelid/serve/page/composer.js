// The field at the foot of the page.
import { el, icon } from "./dom.js";
import { isComposing } from "./keys.js";
import { setHint, setLabel, setWord } from "./language.js";

export class Composer {
  constructor(root, { onSend, onStop, onEditLast, onSystem }) {
    this.onSend = onSend;
    this.onStop = onStop;
    this.onEditLast = onEditLast;
    this.running = false;
    this.blocked = false;
    this.field = el("textarea", { id: "ask", rows: 1, label: "ask", hint: "askHint", enterkeyhint: "send", dir: "auto" });
    this.button = el("button", { type: "button", class: "send", on: { click: () => (this.running ? onStop() : this.send()) } });
    this.system = el("button", { type: "button", class: "chip", hidden: true, on: { click: onSystem } }, icon("sliders"), el("span", { word: "systemOn" }));
    this.remark = el("span", { class: "remark grow" });
    this.context = el("meter", { class: "context", min: 0, hidden: true });
    root.append(el("div", { class: "field" }, this.field, el("div", { class: "row" }, this.system, this.remark, this.context, this.button)));
    this.field.addEventListener("input", () => this.fit());
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.update({});
  }

  key(event) {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && this.field.value === "") {
      event.preventDefault();
      this.onEditLast();
    }
  }

  send() {
    const text = this.field.value;
    if (!text.trim() || this.running || this.blocked) return;
    this.field.value = "";
    this.fit();
    this.onSend(text.trimEnd());
  }

  /** As tall as its text, up to the height that the style allows. */
  fit() {
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
    this.button.disabled = !this.running && (this.blocked || !this.field.value.trim());
  }

  update({ running = false, blocked = false, begun = false, system = false, usage = null, most = 0 }) {
    this.running = running;
    this.blocked = blocked;
    this.system.hidden = !system;
    setHint(this.field, begun ? "askAgainHint" : "askHint");
    setWord(this.remark, blocked ? "voteFirst" : "keysHint");
    this.remark.classList.toggle("keys", !blocked);
    const name = running ? "stop" : "send";
    if (this.shown !== name) {
      this.shown = name;
      this.button.replaceChildren(icon(name));
      this.button.classList.toggle("stopping", running);
      setLabel(this.button, name);
    }
    this.showContext(usage, most);
    this.fit();
  }

  showContext(usage, most) {
    this.context.hidden = !usage || !most;
    if (this.context.hidden) return;
    const used = usage.prompt + usage.answer;
    Object.assign(this.context, { max: most, high: most * 0.8, value: used });
    setLabel(this.context, "contextUse", { used, most });
  }
}
