// What a person does to a conversation, and what it causes: the only place that changes trees.
import { isRunning, runAnswer, stop } from "./answer.js";
import { sendVote } from "./api.js";
import { canVote, sidesOf, voteBody } from "./duel.js";
import { samplingFields, settings } from "./settings.js";
import * as store from "./store.js";
import { addNode, messagesOf, newConversation, pathTo, ROOT, show, shownPath } from "./tree.js";

const SAVE_EVERY = 1500; // milliseconds between saves of an answer that grows

export class Chat {
  /** `changed(conversation, reason)` is called after each change; reason: "text", "tree", "done", "list". */
  constructor(changed) {
    this.changed = changed;
    this.conversations = [];
    this.current = newConversation(settings.system);
    this.timers = new Map();
  }

  async load() {
    this.conversations = (await store.loadAll()).filter((each) => each?.nodes?.[ROOT]);
    for (const conversation of this.conversations) Object.values(conversation.nodes).forEach(settle);
  }

  begin() {
    this.current = newConversation(settings.system);
    this.changed(this.current, "list");
  }

  open(conversation) {
    this.current = conversation;
    this.changed(conversation, "list");
  }

  async remove(conversation) {
    for (const id of Object.keys(conversation.nodes)) stop(id);
    clearTimeout(this.timers.get(conversation.id));
    conversation.removed = true;
    this.conversations = this.conversations.filter((each) => each !== conversation);
    if (conversation === this.current) this.current = newConversation(settings.system);
    this.changed(this.current, "list");
    await store.forget(conversation.id);
  }

  rename(conversation, title) {
    Object.assign(conversation, { title, named: true });
    this.save(conversation);
    this.changed(this.current, "list");
  }

  setSystem(text) {
    this.current.system = text;
    if (this.conversations.includes(this.current)) this.save(this.current);
  }

  /** A message at the end of the path that is shown. */
  say(text) {
    const last = shownPath(this.current).at(-1);
    this.question(last?.id ?? ROOT, text);
  }

  /** Another message in place of one; both stay. */
  edit(node, text) {
    this.question(node.parent, text);
  }

  question(parent, text) {
    const conversation = this.current;
    const question = addNode(conversation, parent, { role: "user", content: text });
    if (!conversation.named) conversation.title = titleOf(conversation);
    if (!this.conversations.includes(conversation)) this.conversations.unshift(conversation);
    else this.conversations.sort((a, b) => b.updated - a.updated);
    if (settings.compare) this.duel(conversation, question);
    else this.answer(conversation, question, settings.modelA, "a");
    this.changed(conversation, "list");
  }

  /** Another answer to the same question. */
  again(node) {
    this.answer(this.current, this.current.nodes[node.parent], settings.modelA, "a");
    this.changed(this.current, "tree");
  }

  retry(node) {
    const conversation = this.current;
    if (isRunning(node.id)) return;
    Object.assign(node, { content: "", fault: undefined, finish: undefined, usage: undefined, speed: undefined });
    if (!node.model) node.model = settings.modelA;
    this.run(conversation, node);
  }

  duel(conversation, question) {
    const sides = [["a", settings.modelA], ["b", settings.modelB]];
    if (settings.blind && crypto.getRandomValues(new Uint8Array(1))[0] % 2) sides.reverse();
    const [left, right] = sides.map(([side, model]) => this.answer(conversation, question, model, side));
    question.duel = { left: left.id, right: right.id, blind: settings.blind, vote: null };
    question.shown = left.id;
  }

  answer(conversation, question, model, side) {
    const node = addNode(conversation, question.id, { role: "assistant", content: "", model, sampling: samplingFields(side) });
    // Later, so that all of a duel is in the tree before anything is drawn.
    queueMicrotask(() => this.run(conversation, node));
    return node;
  }

  async run(conversation, node) {
    const ask = { model: node.model, messages: messagesOf(conversation, pathTo(conversation, node.parent)), ...node.sampling };
    const running = runAnswer(node, ask, () => {
      this.saveSoon(conversation);
      this.changed(conversation, "text", node);
    });
    this.changed(conversation, "text", node);
    await running;
    this.save(conversation);
    this.changed(conversation, "done", node);
  }

  show(id) {
    show(this.current, id);
    this.save(this.current);
    this.changed(this.current, "tree");
  }

  /** "left", "right", "tie" or "bad" is stored by the server; "skip" is stored nowhere. */
  async vote(question, vote) {
    const conversation = this.current;
    const { duel } = question;
    if (vote === "skip") sidesOf(conversation, question).forEach((node) => stop(node.id));
    else if (!canVote(conversation, question) || duel.sending) return;
    else if (!(await this.sendVote(conversation, question, vote))) return;
    duel.vote = vote;
    const [left, right] = sidesOf(conversation, question);
    left.rejected = vote === "right" || vote === "bad";
    right.rejected = vote === "left" || vote === "bad";
    question.shown = vote === "right" ? right.id : left.id;
    this.save(conversation);
    this.changed(conversation, "tree");
  }

  async sendVote(conversation, question, vote) {
    const { duel } = question;
    duel.sending = true;
    delete duel.fault;
    this.changed(conversation, "tree");
    try {
      const prompt = messagesOf(conversation, pathTo(conversation, question.id));
      duel.file = (await sendVote(voteBody(conversation, question, vote, prompt))).file;
      return true;
    } catch (fault) {
      duel.fault = fault.message;
      return false;
    } finally {
      delete duel.sending;
      this.changed(conversation, "tree");
    }
  }

  /** The comparison at the end of the path that waits for a vote, if there is one. */
  openDuel() {
    const last = shownPath(this.current).at(-1);
    const question = last && this.current.nodes[last.parent];
    return question?.duel && !question.duel.vote && [question.duel.left, question.duel.right].includes(last.id) ? question : null;
  }

  saveSoon(conversation) {
    if (this.timers.has(conversation.id)) return;
    this.timers.set(conversation.id, setTimeout(() => this.save(conversation), SAVE_EVERY));
  }

  save(conversation) {
    clearTimeout(this.timers.get(conversation.id));
    this.timers.delete(conversation.id);
    if (!conversation.removed) store.save(conversation).catch((error) => console.warn("not stored:", error.message));
  }
}

/** An answer that was being written when the page was left has stopped. */
function settle(node) {
  if (node.role === "assistant" && !node.finish && !node.fault) node.finish = "stopped";
  if (node.duel) delete node.duel.sending;
}

function titleOf(conversation) {
  const first = shownPath(conversation)[0]?.content ?? "";
  return [...first.trim().split("\n")[0]].slice(0, 60).join("");
}
