// Markdown inside a block: text in, DOM nodes out. Each step goes over the text once, so no text takes quadratic time.
import { renderMath } from "./math.js";

const ESCAPABLE = /[!-/:-@[-`{-~]/;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
// Chinese is written without spaces: beside its characters an emphasis may begin or end anywhere, which CommonMark's rule
// (made for words between spaces) refuses for **「这样」**的词.
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303f\uff00-\uffef]/u;
const BARE_LINK = /https?:\/\/[^\s<>"'`|\\\u3000-\u303f\uff00-\uffef\u4e00-\u9fff]+/y;
const ANGLE_LINK = /<((?:https?:\/\/|mailto:)[^\s<>]+|[\w.+-]+@[\w.-]+\.\w+)>/y;
const LINE_BREAK = /<br ?\/?>/iy;
const LONGEST_MATH = 2000; // characters between two dollars
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** Nodes of a text. `links` is false inside a link. */
export function renderInline(text, links = true) {
  return new Writer(text, links).write();
}

/** The address, if it is one that may be followed, or null. */
export function safeAddress(address) {
  try {
    const url = new URL(address.trim());
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null; // a relative address leads nowhere from here
  }
}

/** A link to another place, which learns nothing of this page. */
export function anchor(address, nodes) {
  const link = document.createElement("a");
  link.href = address;
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
  link.title = address;
  link.append(...nodes);
  return link;
}

/** Code and maths, by the place where they start: what is inside them is not looked at again. */
function findSpans(text) {
  const spans = new Map();
  const ticks = tickRuns(text);
  const absent = new Set(); // closings that were looked for and do not come any more
  for (let i = 0; i < text.length; i += 1) {
    const span = text[i] === "`" ? codeSpan(text, i, ticks) : mathSpan(text, i, absent);
    if (span) {
      spans.set(i, span);
      i = span.end - 1;
    } else if (text[i] === "\\") i += 1;
    else if (text[i] === "`") i += runLength(text, i) - 1;
  }
  return spans;
}

function tickRuns(text) {
  const runs = new Map();
  for (const match of text.matchAll(/`+/g)) {
    const starts = runs.get(match[0].length) ?? [];
    starts.push(match.index);
    runs.set(match[0].length, starts);
  }
  return runs;
}

function runLength(text, at) {
  let end = at;
  while (text[end] === text[at]) end += 1;
  return end - at;
}

function codeSpan(text, at, ticks) {
  const length = runLength(text, at);
  const starts = ticks.get(length);
  while (starts.length && starts[0] <= at) starts.shift();
  if (!starts.length) return null;
  let code = text.slice(at + length, starts[0]).replaceAll("\n", " ");
  if (/^ .* $/.test(code) && code.trim()) code = code.slice(1, -1);
  return { kind: "code", end: starts[0] + length, text: code };
}

function mathSpan(text, at, absent) {
  for (const [opening, closing] of [["\\(", "\\)"], ["\\[", "\\]"], ["$$", "$$"]]) {
    if (!text.startsWith(opening, at) || absent.has(closing)) continue;
    const end = text.indexOf(closing, at + 2);
    if (end < 0) absent.add(closing);
    else if (end > at + 2) return { kind: "math", end: end + 2, text: text.slice(at + 2, end), display: opening !== "\\(" };
  }
  return text[at] === "$" && text[at + 1] !== "$" ? dollarSpan(text, at) : null;
}

/** `$x$`, but not the prices in "from $5 to $10": as pandoc has it, with no space inside and no digit behind. */
function dollarSpan(text, at) {
  if (at + 1 >= text.length || SPACE.test(text[at + 1])) return null;
  const limit = Math.min(text.length, at + LONGEST_MATH);
  for (let i = at + 1; i < limit; i += 1) {
    if (text[i] === "\\") i += 1;
    else if (text[i] === "$") {
      if (SPACE.test(text[i - 1]) || /\d/.test(text[i + 1] ?? "")) continue;
      return { kind: "math", end: i + 1, text: text.slice(at + 1, i), display: false };
    }
  }
  return null;
}

/** Closing bracket by opening bracket, for those outside code and maths. */
function findBrackets(text, spans) {
  const pairs = new Map();
  const open = [];
  for (let i = 0; i < text.length; i += 1) {
    const span = spans.get(i);
    if (span) i = span.end - 1;
    else if (text[i] === "\\") i += 1;
    else if (text[i] === "[") open.push(i);
    else if (text[i] === "]" && open.length) pairs.set(open.pop(), i);
  }
  return pairs;
}

/** Writes nodes from left to right; emphasis that is still open is a frame on a stack. */
class Writer {
  constructor(text, links) {
    this.text = text;
    this.links = links;
    this.spans = findSpans(text);
    this.brackets = findBrackets(text, this.spans);
    this.frames = [{ nodes: [] }];
    this.plain = "";
  }

  write() {
    let at = 0;
    while (at < this.text.length) at = this.step(at);
    while (this.frames.length > 1) this.dissolve();
    this.flush();
    return this.frames[0].nodes;
  }

  /** Write what stands at `at`; returns where the next piece begins. */
  step(at) {
    const { text } = this;
    const span = this.spans.get(at);
    if (span) return this.put(spanNode(span), span.end);
    const char = text[at];
    if (char === "\\") return this.escape(at);
    if (char === "\n") return this.lineBreak(at + 1);
    if (char === "*" || char === "_" || char === "~") return this.emphasis(at);
    if (char === "[" || (char === "!" && text[at + 1] === "[")) return this.link(at);
    if (char === "<") return this.angle(at);
    if (char === "h" && this.links) return this.bareLink(at);
    this.plain += char;
    return at + 1;
  }

  put(node, next) {
    this.flush();
    this.frames.at(-1).nodes.push(node);
    return next;
  }

  flush() {
    if (this.plain) this.frames.at(-1).nodes.push(document.createTextNode(this.plain));
    this.plain = "";
  }

  escape(at) {
    const next = this.text[at + 1];
    if (next === "\n") return this.lineBreak(at + 2);
    if (next !== undefined && ESCAPABLE.test(next)) {
      this.plain += next;
      return at + 2;
    }
    this.plain += "\\";
    return at + 1;
  }

  lineBreak(next) {
    this.plain = this.plain.replace(/ {1,80}$/, "");
    return this.put(document.createElement("br"), next);
  }

  angle(at) {
    const link = this.links ? match(ANGLE_LINK, this.text, at) : null;
    const address = link && safeAddress(link[1].includes(":") ? link[1] : `mailto:${link[1]}`);
    if (address) return this.put(anchor(address, [link[1]]), at + link[0].length);
    const broken = match(LINE_BREAK, this.text, at);
    if (broken) return this.lineBreak(at + broken[0].length);
    this.plain += "<";
    return at + 1;
  }

  bareLink(at) {
    const before = this.text[at - 1];
    const found = before === undefined || !/[\w]/.test(before) ? match(BARE_LINK, this.text, at) : null;
    const shown = found ? withoutTail(found[0]) : "";
    const address = shown && safeAddress(shown);
    if (address) return this.put(anchor(address, [shown]), at + shown.length);
    this.plain += "h";
    return at + 1;
  }

  /** `[text](address "title")`; a picture becomes a link too, for nothing is fetched from elsewhere. */
  link(at) {
    const picture = this.text[at] === "!";
    const opening = picture ? at + 1 : at;
    const closing = this.brackets.get(opening);
    const target = this.links && closing !== undefined ? linkTarget(this.text, closing + 1) : null;
    const address = target && safeAddress(target.address);
    if (!address) {
      this.plain += this.text.slice(at, opening + 1);
      return opening + 1;
    }
    const inner = renderInline(this.text.slice(opening + 1, closing), false);
    const shown = inner.length ? inner : [address];
    return this.put(anchor(address, picture ? ["🖼 ", ...shown] : shown), target.end);
  }

  emphasis(at) {
    const char = this.text[at];
    let length = runLength(this.text, at);
    const next = at + length;
    const { opens, closes } = flanks(this.text, at, next);
    if (closes) length = this.close(char, length);
    if (length && opens && (char !== "~" || length === 2) && this.frames.length < 40) {
      this.flush();
      this.frames.push({ char, length, nodes: [] });
    } else this.plain += char.repeat(length);
    return next;
  }

  /** End as much emphasis as a run of `length` marks can; returns the marks that are left. */
  close(char, length) {
    while (length) {
      const index = this.frames.findLastIndex((frame) => frame.char === char && (char !== "~" || length >= 2));
      if (index < 0) break;
      while (this.frames.length - 1 > index) this.dissolve();
      this.flush();
      const frame = this.frames.at(-1);
      const used = Math.min(2, length, frame.length);
      const node = document.createElement(char === "~" ? "del" : used === 2 ? "strong" : "em");
      node.append(...frame.nodes);
      if (node.localName === "em" && CJK.test(node.textContent)) node.className = "dotted"; // there are no Chinese italics
      frame.length -= used;
      length -= used;
      frame.nodes = [node];
      if (!frame.length) this.frames.at(-2).nodes.push(...this.frames.pop().nodes);
    }
    return length;
  }

  /** An emphasis that nothing closes: its marks are text. */
  dissolve() {
    this.flush();
    const frame = this.frames.pop();
    const nodes = this.frames.at(-1).nodes;
    nodes.push(document.createTextNode(frame.char.repeat(frame.length)));
    for (const node of frame.nodes) nodes.push(node);
  }
}

function spanNode(span) {
  if (span.kind === "math") return renderMath(span.text, span.display);
  const code = document.createElement("code");
  code.textContent = span.text;
  return code;
}

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** A sentence's punctuation behind an address is not part of it; a bracket is, where it was opened inside. */
function withoutTail(address) {
  let end = address.length;
  let depth = 0;
  for (const char of address) depth += char === "(" ? 1 : char === ")" ? -1 : 0;
  for (; end > 0; end -= 1) {
    const char = address[end - 1];
    if (char === ")" && depth < 0) depth += 1;
    else if (!".,;:!?*_~".includes(char)) break;
  }
  return address.slice(0, end);
}

function linkTarget(text, at) {
  if (text[at] !== "(") return null;
  let depth = 0;
  for (let i = at; i < Math.min(text.length, at + LONGEST_MATH); i += 1) {
    if (text[i] === "\\") i += 1;
    else if (text[i] === "\n") return null;
    else if (text[i] === "(") depth += 1;
    else if (text[i] === ")") depth -= 1;
    if (depth === 0) {
      const inside = text.slice(at + 1, i).trim();
      const address = inside.startsWith("<") ? inside.slice(1).split(">")[0] : inside.split(/\s/)[0];
      return { address: address.replace(/\\([!-/:-@[-`{-~])/g, "$1"), end: i + 1 };
    }
  }
  return null;
}

/** CommonMark's rule for where emphasis may begin and end, and CJK characters as borders. */
function flanks(text, start, end) {
  const before = start === 0 ? " " : text[start - 1];
  const after = end >= text.length ? " " : String.fromCodePoint(text.codePointAt(end));
  const border = (char) => SPACE.test(char) || PUNCTUATION.test(char) || CJK.test(char);
  const left = !SPACE.test(after) && (!PUNCTUATION.test(after) || border(before));
  const right = !SPACE.test(before) && (!PUNCTUATION.test(before) || border(after));
  if (text[start] !== "_") return { opens: left, closes: right };
  return { opens: left && (!right || border(before)), closes: right && (!left || border(after)) };
}
