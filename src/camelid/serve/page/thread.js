// The messages of the path that is shown, and the scrolling that follows an answer as it is written.
import { DuelView } from "./duel.js";
import { iconButton } from "./dom.js";
import { AnswerView, QuestionView } from "./message.js";
import { ROOT, shownPath } from "./tree.js";

const NEAR = 80; // pixels from the end within which the page follows the newest words

export class Thread {
  constructor({ scroller, list, actions }) {
    this.scroller = scroller;
    this.list = list;
    this.actions = actions;
    this.views = new Map();
    this.follows = true;
    this.jump = iconButton("down", "toBottom", () => this.toBottom(), { class: "quiet jump", hidden: true });
    scroller.after(this.jump);
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    // Growing text scrolls along, unless someone has gone back to read.
    new ResizeObserver(() => this.follows && this.toBottom()).observe(list);
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    this.jump.hidden = this.follows;
  }

  toBottom() {
    this.follows = true;
    this.jump.hidden = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** Show a conversation; views of messages that stay are kept, so what is being read or typed there stays too. */
  render(conversation) {
    if (conversation !== this.conversation) this.views.clear();
    this.conversation = conversation;
    const views = new Map();
    for (const [key, node, make] of this.items(conversation)) {
      const view = this.views.get(key) ?? make();
      view.update(node, conversation);
      views.set(key, view);
    }
    this.views = views;
    const roots = [...views.values()].map((view) => view.root);
    if (roots.length !== this.list.children.length || roots.some((root, i) => root !== this.list.children[i])) {
      this.list.replaceChildren(...roots);
    }
  }

  items(conversation) {
    const path = shownPath(conversation);
    const { actions } = this;
    return path.map((node, i) => {
      const parent = conversation.nodes[node.parent];
      const last = i === path.length - 1;
      if (node.role === "user") return [`m${node.id}`, node, () => new QuestionView(node, actions)];
      const { duel } = parent;
      if (last && duel && [duel.left, duel.right].includes(node.id)) {
        return [`d${parent.id}`, parent, () => new DuelView(parent, conversation, actions)];
      }
      return [`m${node.id}`, node, () => new AnswerView(node, actions)];
    });
  }

  /** Begin to edit the last question that is shown. */
  editLast() {
    const last = shownPath(this.conversation ?? { nodes: { [ROOT]: { shown: null } } }).findLast((node) => node.role === "user");
    this.views.get(`m${last?.id}`)?.edit();
  }
}
