// Markdown on the page: blocks to DOM nodes, and a view that follows a text while it streams.
import { parseBlocks, splitLines } from "./blocks.js";
import { copyButton, el } from "./dom.js";
import { colour } from "./highlight.js";
import { renderInline } from "./inline.js";
import { renderMath } from "./math.js";

/** Nodes of a whole text. */
export function renderMarkdown(text) {
  return parseBlocks(splitLines(text)).map(renderBlock);
}

/**
 * An element that shows a growing text. Blocks before the last one are final: only what comes after their end is parsed
 * and drawn again, so a long answer costs no more per token than a short one, and a selection in it stays.
 */
export class MarkdownView {
  constructor(root) {
    this.root = root;
    this.reset();
  }

  reset() {
    this.root.replaceChildren();
    this.source = "";
    this.settled = 0; // characters of blocks that are final
    this.blocks = 0; // how many
  }

  update(source) {
    if (!source.startsWith(this.source.slice(0, this.settled))) this.reset();
    this.source = source;
    const lines = splitLines(source.slice(this.settled));
    while (this.root.childNodes.length > this.blocks) this.root.lastChild.remove();
    this.root.append(...parseBlocks(lines).map(renderBlock));
    // Half a line may look like another block than the whole one ("#" of "#1"): only whole lines settle anything.
    const whole = parseBlocks(lines.slice(0, -1));
    if (whole.length > 1) {
      this.settled += lengthOf(source.slice(this.settled), whole.at(-1).line);
      this.blocks += whole.length - 1;
    }
  }
}

/** Characters of the first `count` lines, with their ends. */
function lengthOf(text, count) {
  const ends = /\r\n|\n|\r/g;
  for (let i = 0; i < count; i += 1) ends.exec(text);
  return ends.lastIndex;
}

function renderBlock(block) {
  switch (block.type) {
    case "heading":
      // A page has its own first headings; an answer's begin below them.
      return el(`h${Math.min(block.level + 2, 6)}`, { class: `level-${block.level}` }, ...renderInline(block.text));
    case "code":
      return codeBlock(block);
    case "math":
      return mathBlock(block);
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, ...block.blocks.map(renderBlock));
    case "list":
      return list(block);
    case "table":
      return tableBlock(block);
    default:
      return el("p", {}, ...renderInline(block.text));
  }
}

function codeBlock({ language, text }) {
  const code = el("code", {}, ...colour(text, language));
  const name = language ? el("span", { class: "code-language" }, language) : el("span", { class: "code-language", word: "code" });
  const head = el("div", { class: "code-head" }, name, copyButton(() => text, "copyCode"));
  return el("div", { class: "code" }, head, el("pre", { tabindex: "0", dir: "ltr" }, code));
}

function mathBlock({ tex, open, opening }) {
  if (open) return el("p", { class: "unfinished" }, `${opening}${tex}`); // half a formula is no formula yet
  return el("div", { class: "formula", tabindex: "0" }, renderMath(tex.trim(), true));
}

function list({ ordered, start, items, loose }) {
  const node = el(ordered ? "ol" : "ul", ordered && start !== 1 ? { start } : {});
  for (const item of items) node.append(listItem(item, loose));
  if (items.some((item) => item.checked !== null)) node.className = "tasks";
  return node;
}

function listItem({ blocks, checked }, loose) {
  const nodes = blocks.flatMap((block) => (block.type === "paragraph" && !loose ? renderInline(block.text) : [renderBlock(block)]));
  if (checked === null) return el("li", {}, ...nodes);
  const box = el("input", { type: "checkbox", disabled: true, checked, label: checked ? "taskDone" : "taskOpen" });
  return el("li", { class: "task" }, box, ...nodes);
}

function tableBlock({ align, head, rows }) {
  const row = (cells, tag) =>
    el("tr", {}, ...cells.map((cell, i) => el(tag, { class: align[i], scope: tag === "th" ? "col" : null }, ...renderInline(cell))));
  const body = rows.length ? el("tbody", {}, ...rows.map((cells) => row(cells, "td"))) : null;
  return el("div", { class: "table-box", tabindex: "0" }, el("table", {}, el("thead", {}, row(head, "th")), body));
}
