// The list of conversations.
import { el, iconButton } from "./dom.js";
import { askLine, confirmRemoval } from "./panels.js";
import { t } from "./language.js";

const DAY = 24 * 3600 * 1000;

export class Sidebar {
  constructor(list, actions) {
    this.list = list;
    this.actions = actions;
  }

  update(conversations, current) {
    if (!conversations.length) {
      this.list.replaceChildren(el("p", { class: "help", word: "noConversations" }));
      return;
    }
    const recent = conversations.filter(({ updated }) => Date.now() - updated < DAY);
    const earlier = conversations.filter(({ updated }) => Date.now() - updated >= DAY);
    const group = (word, members) => (members.length ? [el("h3", { word }), el("ul", {}, ...members.map((each) => this.entry(each, each.id === current?.id)))] : []);
    this.list.replaceChildren(...group("today", recent), ...group("earlier", earlier));
  }

  entry(conversation, chosen) {
    const title = conversation.title ? el("span", { class: "grow" }, conversation.title) : el("span", { class: "grow", word: "untitled" });
    const open = el("button", { type: "button", class: "open", "aria-current": chosen ? "true" : null, on: { click: () => this.actions.open(conversation) } }, title);
    open.title = conversation.title;
    const rename = iconButton("edit", "rename", () => this.rename(conversation), { class: "quiet small" });
    const name = conversation.title || t("untitled");
    const remove = iconButton("remove", "remove", () => confirmRemoval(name, () => this.actions.remove(conversation)), { class: "quiet small" });
    return el("li", { class: chosen ? "chosen" : null }, open, el("span", { class: "tools" }, rename, remove));
  }

  rename(conversation) {
    const done = (text) => {
      if (text.trim()) this.actions.rename(conversation, text.trim());
      return null;
    };
    askLine({ name: "rename", label: "renameHint", button: "rename", value: conversation.title, done });
  }
}
