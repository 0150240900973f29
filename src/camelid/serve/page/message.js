// One message on the page: its text, what can be done with it, what is known of it.
import { isRunning, waitOf } from "./answer.js";
import { copyButton, el, iconButton, mark } from "./dom.js";
import { faultNotice, waitNotice } from "./faults.js";
import { MarkdownView } from "./markdown.js";
import { siblings } from "./tree.js";
import { isComposing } from "./keys.js";

/** Text of an answer that grows, and what is said below it. Shared by messages and by the two sides of a comparison. */
export class AnswerBody {
  constructor(actions) {
    this.actions = actions;
    this.text = el("div", { class: "prose", dir: "auto" });
    this.notes = el("div", { class: "notes" });
    this.view = new MarkdownView(this.text);
    this.noted = null;
  }

  update(node) {
    const writing = isRunning(node.id);
    if (this.view.source !== node.content) this.view.update(node.content);
    this.text.classList.toggle("writing", writing && !waitOf(node.id));
    // Notices hold buttons: they are made anew only when what they say has changed, or a click would miss them.
    const state = JSON.stringify([writing, waitOf(node.id)?.until, node.fault, node.finish, node.content === ""]);
    if (state === this.noted) return;
    this.noted = state;
    this.notes.replaceChildren(...this.noticesOf(node, writing));
  }

  noticesOf(node, writing) {
    const wait = waitOf(node.id);
    if (wait) return [waitNotice(wait)];
    if (node.fault) return [faultNotice(node.fault, () => this.actions.retry(node))];
    if (writing) return [];
    const notices = [];
    if (node.finish === "stop" && !node.content.trim()) notices.push("emptyAnswer");
    if (node.finish === "stopped") notices.push("cutByStop");
    if (node.finish === "length") notices.push("cutByLength");
    if (node.finish === "tool_calls") notices.push("cutByTool");
    return notices.map((word) => el("p", { class: "remark", word }));
  }
}

/** Tokens and speed of an answer. */
export function figures(node) {
  const parts = [];
  if (node.usage) parts.push(el("span", { word: "tokens", args: { n: node.usage.answer } }));
  if (node.speed) parts.push(el("span", { word: "speed", args: { n: Math.round(node.speed * 10) / 10 } }));
  return el("span", { class: "figures" }, ...parts);
}

/** ‹ 2 / 3 › for a message that has siblings. */
function switcher(conversation, node, actions) {
  const all = siblings(conversation, node.id);
  if (all.length < 2) return null;
  const at = all.indexOf(node.id);
  const step = (name, label, to) => iconButton(name, label, () => actions.show(all[to]), { class: "quiet small", disabled: !all[to] });
  const place = el("span", { class: "place", word: "branchOf", args: { n: at + 1, all: all.length } });
  return el("span", { class: "switcher" }, step("left", "earlierBranch", at - 1), place, step("right", "laterBranch", at + 1));
}

export class AnswerView {
  constructor(node, actions) {
    this.actions = actions;
    this.body = new AnswerBody(actions);
    this.name = el("span", { class: "name" }, node.model);
    this.foot = el("div", { class: "foot" });
    const heading = el("h2", { class: "by" }, mark("mark small"), this.name);
    this.root = el("article", { class: "message answer", data: { id: node.id } }, heading, this.body.text, this.body.notes, this.foot);
  }

  update(node, conversation) {
    this.body.update(node);
    const running = isRunning(node.id);
    const state = JSON.stringify([running, siblings(conversation, node.id).length, node.usage, node.speed]);
    if (state === this.state) return;
    this.state = state;
    this.root.setAttribute("aria-busy", String(running));
    const again = iconButton("again", "again", () => this.actions.again(node), { disabled: running });
    const buttons = running ? [] : [copyButton(() => node.content), again];
    this.foot.replaceChildren(...[switcher(conversation, node, this.actions), ...buttons, figures(node)].filter(Boolean));
  }
}

export class QuestionView {
  constructor(node, actions) {
    this.actions = actions;
    this.node = node;
    this.text = el("div", { class: "prose bubble", dir: "auto" });
    this.foot = el("div", { class: "foot" });
    new MarkdownView(this.text).update(node.content);
    this.root = el("article", { class: "message question", data: { id: node.id } }, el("h2", { class: "unseen", word: "you" }), this.text, this.foot);
  }

  update(node, conversation) {
    const count = siblings(conversation, node.id).length;
    if (this.editor || count === this.count) return;
    this.count = count;
    const edit = iconButton("edit", "edit", () => this.edit());
    this.foot.replaceChildren(...[copyButton(() => node.content), edit, switcher(conversation, node, this.actions)].filter(Boolean));
  }

  /** A field in the message's place; what is sent from it becomes a sibling. */
  edit() {
    if (this.editor) return;
    const field = el("textarea", { class: "editor", label: "editLabel", rows: Math.min(12, this.node.content.split("\n").length + 1) });
    field.value = this.node.content;
    const leave = () => {
      this.editor.replaceWith(this.text);
      this.editor = null;
      this.foot.hidden = false;
      this.foot.querySelector("button")?.focus();
    };
    const send = () => {
      const text = field.value;
      if (!text.trim()) return;
      leave();
      this.actions.edit(this.node, text);
    };
    field.addEventListener("keydown", (event) => {
      if (isComposing(event)) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        leave();
      } else if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    const buttons = el("div", { class: "row end" }, el("button", { type: "button", class: "plain", word: "cancel", on: { click: leave } }), el("button", { type: "button", class: "strong", word: "editSend", on: { click: send } }));
    this.editor = el("div", { class: "bubble editing" }, field, buttons);
    this.text.replaceWith(this.editor);
    this.foot.hidden = true;
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}
