// Two answers side by side, and the vote between them.
//
// A comparison is kept at the question: node.duel = {left, right, blind, vote, file}. Both answers are its children, so
// the conversation goes on from the better one, and the other one stays as a branch.
import { isRunning } from "./answer.js";
import { copyButton, el, icon } from "./dom.js";
import { setWord } from "./language.js";
import { AnswerBody, figures } from "./message.js";

export const VOTES = ["left", "right", "tie", "bad"];
const VOTE_WORDS = { left: "leftBetter", tie: "tie", bad: "bothBad", right: "rightBetter" };
const VOTED_WORDS = { left: "votedLeft", right: "votedRight", tie: "votedTie", bad: "votedBad", skip: "votedSkip" };

/** Whether both answers are there to be judged. */
export function canVote(conversation, question) {
  const [left, right] = sidesOf(conversation, question);
  return !question.duel.vote && [left, right].every((node) => !isRunning(node.id) && !node.fault && node.content.trim());
}

export const sidesOf = (conversation, { duel }) => [conversation.nodes[duel.left], conversation.nodes[duel.right]];

export class DuelView {
  constructor(question, conversation, actions) {
    this.actions = actions;
    this.sides = sidesOf(conversation, question).map((node, i) => this.makeSide(node, i));
    this.bar = el("div", { class: "vote-bar", role: "group" });
    this.root = el("section", { class: "duel", data: { id: question.id } }, el("div", { class: "sides" }, ...this.sides.map((side) => side.root)), this.bar);
  }

  makeSide(node, index) {
    const body = new AnswerBody(this.actions);
    const letter = el("span", { class: "letter", "aria-hidden": "true" }, "AB"[index]);
    const name = el("span", { class: "name" });
    const won = el("span", { class: "won", hidden: true }, icon("check"), el("span", { word: "winner" }));
    const heading = el("h2", { class: "by" }, letter, name, won);
    const foot = el("div", { class: "foot" });
    const root = el("article", { class: "side", data: { id: node.id } }, heading, body.text, body.notes, foot);
    return { index, body, name, won, foot, root };
  }

  update(question, conversation) {
    const { duel } = question;
    const hidden = duel.blind && !duel.vote;
    sidesOf(conversation, question).forEach((node, i) => {
      const { body, name, won, foot, root } = this.sides[i];
      body.update(node);
      root.setAttribute("aria-busy", String(isRunning(node.id)));
      if (hidden) setWord(name, i ? "sideB" : "sideA");
      else {
        delete name.dataset.word;
        name.textContent = node.model;
      }
      const better = duel.vote === (i ? "right" : "left");
      won.hidden = !better;
      root.classList.toggle("better", better);
      // Its length and speed could give a hidden model away.
      if (!isRunning(node.id)) foot.replaceChildren(copyButton(() => node.content), ...(hidden ? [] : [figures(node)]));
    });
    this.updateBar(question, conversation);
  }

  updateBar(question, conversation) {
    const { duel } = question;
    const [left, right] = sidesOf(conversation, question);
    const ready = canVote(conversation, question);
    const state = JSON.stringify([ready, duel.vote, duel.sending, duel.fault, isRunning(left.id) || isRunning(right.id)]);
    if (state === this.state) return;
    this.state = state;
    this.bar.replaceChildren(...(duel.vote ? this.result(question, conversation) : this.choices(question, ready && !duel.sending, left.content === right.content)));
  }

  choices(question, ready, same) {
    const button = (vote) => {
      const pointless = same && (vote === "left" || vote === "right");
      return el("button", { type: "button", class: `vote ${vote}`, word: VOTE_WORDS[vote], disabled: !ready || pointless, on: { click: () => this.actions.vote(question, vote) } });
    };
    const skip = el("button", { type: "button", class: "plain skip", word: "skipVote", label: "skipHelp", on: { click: () => this.actions.vote(question, "skip") } });
    const asked = el("p", { class: "asked", word: ready && same ? "sameAnswers" : "whichBetter" });
    const fault = question.duel.fault ? el("p", { class: "notice fault", role: "alert", word: "voteFailed", args: { message: question.duel.fault } }) : null;
    return [asked, el("div", { class: "votes" }, ...Object.keys(VOTE_WORDS).map(button)), skip, fault].filter(Boolean);
  }

  result({ duel, shown }, conversation) {
    const saved = duel.vote === "skip" ? null : duel.file ? el("span", { word: "voteSaved", args: { file: duel.file } }) : el("span", { word: "voteSavedPlain" });
    const name = conversation.nodes[shown]?.model ?? "";
    const next = el("span", { word: "goesOn", args: { name } });
    return [el("p", { class: "result" }, el("strong", { word: VOTED_WORDS[duel.vote] }), saved, next)];
  }
}

/** What the server stores: {prompt, chosen, rejected} and how it came about. */
export function voteBody(conversation, question, vote, prompt) {
  const [left, right] = sidesOf(conversation, question);
  const [chosen, rejected] = vote === "right" ? [right, left] : [left, right];
  const answer = (node) => [{ role: "assistant", content: node.content }];
  return {
    prompt,
    chosen: answer(chosen),
    rejected: answer(rejected),
    model_chosen: chosen.model,
    model_rejected: rejected.model,
    tie: vote === "tie",
    both_bad: vote === "bad",
    language: languageOf(question.content),
  };
}

/** The language of a text, told by its script. */
function languageOf(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return "ja";
  if (/\p{Script=Hangul}/u.test(text)) return "ko";
  if (/\p{Script=Han}/u.test(text)) return "zh";
  return /[a-z]/i.test(text) ? "en" : "und";
}
