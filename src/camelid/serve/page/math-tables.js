// Environments of LaTeX's maths: matrices, cases, aligned equations. All are MathML tables between two fences.
import { MATRIX_FENCES } from "./math-symbols.js";
import { mathml } from "./mathml.js";

const ALIGNED = new Set(["aligned", "align", "alignat", "split", "eqnarray"]);
const DISPLAYED = new Set([...ALIGNED, "gathered", "gather", "equation", "multline"]);

/** The table of an environment whose \begin has just been read. Raises Error for one that is not known. */
export function readTable(parser, rawName) {
  const name = rawName.replace("*", "");
  const fences = MATRIX_FENCES.get(name);
  if (!fences) throw new Error(`no environment ${rawName}`);
  const columns = name === "array" ? columnLetters(parser) : "";
  if (name === "alignat") parser.argument();
  const rows = readRows(parser, rawName);
  const table = mathml("mtable", { class: `table ${kindOf(name)}` });
  if (DISPLAYED.has(name)) table.setAttribute("displaystyle", "true");
  for (const row of rows) {
    table.append(mathml("mtr", {}, ...row.map((cell, i) => mathml("mtd", { class: side(name, columns, i) }, ...cell))));
  }
  return between(table, fences);
}

function kindOf(name) {
  if (ALIGNED.has(name)) return "aligned";
  return name === "cases" || name === "rcases" ? "cases" : name === "smallmatrix" ? "small" : "matrix";
}

/** On which side a cell's content stands. */
function side(name, columns, index) {
  if (ALIGNED.has(name)) return index % 2 ? "left" : "right";
  if (name === "cases" || name === "rcases") return "left";
  return { l: "left", r: "right" }[columns[index]] ?? "middle";
}

/** The letters of \begin{array}{l|cr}. */
function columnLetters(parser) {
  let letters = "";
  parser.next();
  for (let token = parser.next(); token.kind !== "close"; token = parser.next()) letters += "lcr".includes(token.text) ? token.text : "";
  return letters;
}

function readRows(parser, rawName) {
  const isEnd = (token) => token.kind === "command" && token.text === "end";
  const ends = (token) => token.kind === "cell" || token.kind === "row" || isEnd(token);
  const rows = [[]];
  for (;;) {
    while (parser.isCommand("hline")) parser.next();
    rows.at(-1).push(parser.row(ends));
    const token = parser.next();
    if (token.kind === "row") rows.push([]);
    else if (isEnd(token)) {
      if (token.raw !== rawName) throw new Error("another environment ends");
      const last = rows.at(-1);
      if (rows.length > 1 && last.every((cell) => cell.length === 0)) rows.pop(); // a row's end behind the last row
      return rows;
    }
  }
}

function between(table, [left, right]) {
  if (!left && !right) return table;
  const mark = (text, form) => (text ? [mathml("mo", { stretchy: "true", fence: "true", form }, text)] : []);
  return mathml("mrow", {}, ...mark(left, "prefix"), table, ...mark(right, "postfix"));
}
