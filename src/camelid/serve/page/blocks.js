// Markdown's blocks: lines in, a list of plain objects out, each with the line on which it starts.
//
// CommonMark with tables, task lists and maths, and with what chats need: a line break is a line break; `---` under a
// paragraph is a rule and no heading; nothing is code for being indented; raw HTML is text. Nested lists may be indented
// by two spaces under `1.`, as models write them.
const MOST_DEPTH = 8; // levels of quotes and lists; deeper ones stay text

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?: +(.*))?$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +(?=\S)| *$)/;
const TASK = /^\[([ xX])\] +(?=\S)/;
const MATH = /^ {0,3}(\$\$|\\\[|\\begin\{(?:equation|align|gather|multline)\*?\})/;
const DELIMITER_CELL = /^:?-+:?$/;

/** Blocks of a list of lines. */
export function parseBlocks(lines, depth = 0) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const [block, next] = readBlock(lines, at, depth);
    blocks.push({ ...block, line: at });
    at = next;
  }
  return blocks;
}

/** The lines of a text, tabs at their beginnings made spaces. */
export function splitLines(text) {
  return text.split(/\r\n|\n|\r/).map((line) => (line.includes("\t") ? line.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    ")) : line));
}

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

function readBlock(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return readFence(lines, at);
  if (MATH.test(line)) return readMath(lines, at);
  const heading = HEADING.exec(line);
  if (heading) return [{ type: "heading", level: heading[1].length, text: bareTitle(heading[2] ?? "") }, at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < MOST_DEPTH && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < MOST_DEPTH && ITEM.test(line)) return readList(lines, at, depth);
  if (isTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at, depth);
}

const bareTitle = (text) => text.trim().replace(/(^| )#+$/, "").trim();

function readFence(lines, at) {
  const [, marker, information] = FENCE.exec(lines[at]);
  const indent = indentOf(lines[at]);
  const body = [];
  for (let i = at + 1; i < lines.length; i += 1) {
    const trimmed = lines[i].trim();
    if (trimmed.length >= marker.length && indentOf(lines[i]) < 4 && trimmed === marker[0].repeat(trimmed.length)) {
      return [{ type: "code", language: languageOf(information), text: body.join("\n"), open: false }, i + 1];
    }
    body.push(lines[i].slice(Math.min(indent, indentOf(lines[i]))));
  }
  return [{ type: "code", language: languageOf(information), text: body.join("\n"), open: true }, lines.length];
}

const languageOf = (information) => information.trim().split(/\s+/)[0].replace(/[^\w+#.-]/g, "").slice(0, 20);

function readMath(lines, at) {
  const opening = MATH.exec(lines[at])[1];
  const environment = opening.startsWith("\\begin");
  const closing = environment ? opening.replace("begin", "end") : opening === "$$" ? "$$" : "\\]";
  const first = environment ? lines[at].trim() : lines[at].trim().slice(opening.length);
  const body = [];
  for (let i = at; i < lines.length; i += 1) {
    const line = i === at ? first : lines[i];
    const end = line.indexOf(closing);
    if (end < 0) {
      if (isBlank(line) && i > at && !environment) break; // a formula has no blank line: this was none
      body.push(line);
      continue;
    }
    const rest = line.slice(end + closing.length).trim();
    if (rest) return readParagraph(lines, at, MOST_DEPTH, i); // text goes on behind it: a formula inside a paragraph
    body.push(environment ? line : line.slice(0, end));
    return [{ type: "math", tex: body.join("\n"), open: false }, i + 1];
  }
  const complete = at + body.length >= lines.length;
  return complete ? [{ type: "math", tex: body.join("\n"), open: true, opening }, lines.length] : readParagraph(lines, at, MOST_DEPTH);
}

function readQuote(lines, at, depth) {
  const inner = [];
  let i = at;
  for (; i < lines.length; i += 1) {
    if (QUOTE.test(lines[i])) inner.push(lines[i].replace(QUOTE, ""));
    else if (isBlank(lines[i]) || startsBlock(lines, i, depth)) break;
    else inner.push(lines[i]); // a paragraph's line that left its mark out
  }
  return [{ type: "quote", blocks: parseBlocks(inner, depth + 1) }, i];
}

function readList(lines, at, depth) {
  const first = marker(lines[at]);
  const items = [];
  let i = at;
  let loose = false;
  while (i < lines.length) {
    const here = marker(lines[i]);
    if (!here || here.indent >= first.indent + 2 || here.kind !== first.kind || RULE.test(lines[i])) break;
    const [item, next, blankAfter] = readItem(lines, i, here, depth);
    items.push(item);
    loose ||= item.loose || (blankAfter && next < lines.length && marker(lines[next])?.kind === first.kind);
    i = next;
  }
  return [{ type: "list", ordered: first.number !== null, start: first.number ?? 1, items, loose }, i];
}

function marker(line) {
  const found = ITEM.exec(line);
  if (!found) return null;
  const number = /\d/.test(found[2]) ? Number.parseInt(found[2], 10) : null;
  const width = found[0].length - found[1].length - found[2].length;
  const content = found[1].length + found[2].length + (width > 4 ? 1 : Math.max(width, 1));
  return { indent: found[1].length, kind: found[2].at(-1), number, content };
}

function readItem(lines, at, here, depth) {
  const inner = [lines[at].slice(here.content)];
  let i = at + 1;
  let blank = false;
  for (; i < lines.length; i += 1) {
    const line = lines[i];
    if (isBlank(line)) {
      blank = true;
      inner.push("");
      continue;
    }
    const indent = indentOf(line);
    const nested = indent >= here.indent + 2 && (indent >= here.content || marker(line) || blank === false);
    if (!nested && (blank || marker(line) || startsBlock(lines, i, depth))) break;
    inner.push(line.slice(Math.min(indent, here.content)));
    blank = false;
  }
  while (inner.length > 1 && inner.at(-1) === "") inner.pop();
  const task = TASK.exec(inner[0]);
  if (task) inner[0] = inner[0].slice(task[0].length);
  const blocks = parseBlocks(inner, depth + 1);
  const parted = blocks.some((block, k) => k > 0 && block.type === "paragraph" && inner[block.line - 1] === "");
  return [{ blocks, checked: task ? task[1] !== " " : null, loose: parted }, i, blank];
}

function isTable(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|") || !lines[at + 1].includes("-")) return false;
  const columns = cells(lines[at + 1]);
  return columns.every((cell) => DELIMITER_CELL.test(cell)) && columns.length === cells(lines[at]).length;
}

function readTable(lines, at) {
  const align = cells(lines[at + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left"));
  const rows = [];
  let i = at + 2;
  for (; i < lines.length && !isBlank(lines[i]) && lines[i].includes("|"); i += 1) {
    const row = cells(lines[i]).slice(0, align.length);
    rows.push([...row, ...Array(align.length - row.length).fill("")]);
  }
  return [{ type: "table", align, head: cells(lines[at]), rows }, i];
}

/** A row's cells: parted by bars that are neither escaped nor inside code. */
function cells(line) {
  const text = line.trim().replace(/^\|/, "");
  const found = [];
  let cell = "";
  let code = false;
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === "\\" && i + 1 < text.length) {
      cell += text[i + 1] === "|" ? "|" : text.slice(i, i + 2);
      i += 1;
    } else if (text[i] === "|" && !code) {
      found.push(cell.trim());
      cell = "";
    } else {
      if (text[i] === "`") code = !code && text.indexOf("`", i + 1) >= 0;
      cell += text[i];
    }
  }
  if (cell.trim() || found.length === 0) found.push(cell.trim());
  return found;
}

function readParagraph(lines, at, depth, least = at) {
  const text = [];
  let i = at;
  for (; i < lines.length && !isBlank(lines[i]); i += 1) {
    if (i > least && startsBlock(lines, i, depth)) break;
    text.push(lines[i].trimStart());
  }
  return [{ type: "paragraph", text: text.join("\n").trimEnd() }, i];
}

/** Whether a line ends the paragraph before it. */
function startsBlock(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || MATH.test(line)) return true;
  if (depth < MOST_DEPTH && QUOTE.test(line)) return true;
  const item = depth < MOST_DEPTH ? ITEM.exec(line) : null;
  if (item && line.length > item[0].length && (!/\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1)) return true;
  return isTable(lines, at);
}
