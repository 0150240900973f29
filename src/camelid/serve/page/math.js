// LaTeX's maths to MathML: formulas as browsers draw and read them out, without fonts or code of others.
//
// A command that is not known shows its source in place; a formula that cannot be read shows its source whole.
import { tokenise } from "./math-tokens.js";
import * as symbols from "./math-symbols.js";
import { readTable } from "./math-tables.js";
import { mathml } from "./mathml.js";

const MOST_DEPTH = 60;
const BIG = { big: 1.2, Big: 1.8, bigg: 2.4, Bigg: 3 };
const STYLES = new Set("displaystyle textstyle scriptstyle limits nolimits nonumber notag allowbreak displaylimits normalsize".split(" "));

/** A formula's node: <math>, or <code> with the source where it cannot be read. */
export function renderMath(tex, display) {
  try {
    const parser = new Parser(tokenise(tex));
    const body = parser.row(() => false);
    if (parser.peek()) throw new Error("something is left");
    const root = mathml("math", { alttext: tex.trim() }, ...body);
    if (display) root.setAttribute("display", "block");
    return root;
  } catch {
    const source = document.createElement("code");
    source.className = "math-source";
    source.textContent = display ? `\\[${tex}\\]` : `\\(${tex}\\)`;
    return source;
  }
}

const operator = (text, attributes = {}) => mathml("mo", attributes, text);
const fence = (text) => operator(text, { stretchy: "false", lspace: "0", rspace: "0" });
const one = (nodes) => (nodes.length === 1 ? nodes[0] : mathml("mrow", {}, ...nodes));
const space = (width) => mathml("mspace", { width: `${width}em` });

/** Recursive descent over the tokens. An atom is {node, limits}: limits true puts scripts above and below. */
class Parser {
  constructor(tokens) {
    this.tokens = tokens;
    this.at = 0;
    this.depth = 0;
  }

  peek() {
    return this.tokens[this.at];
  }

  next() {
    const token = this.tokens[this.at];
    if (!token) throw new Error("ends too early");
    this.at += 1;
    return token;
  }

  isCommand(...names) {
    const token = this.peek();
    return token?.kind === "command" && names.includes(token.text);
  }

  /** Nodes until `ends(token)`, which is left standing, or the end of the tokens. */
  row(ends) {
    this.depth += 1;
    if (this.depth > MOST_DEPTH) throw new Error("too deep");
    const nodes = [];
    while (this.peek() && !ends(this.peek())) {
      const token = this.peek();
      if (token.kind === "close" || token.kind === "cell" || token.kind === "row") throw new Error("out of place");
      if (token.kind === "command" && token.text === "over") return this.over(nodes, ends);
      nodes.push(...this.scripted());
    }
    this.depth -= 1;
    return nodes;
  }

  /** TeX's own fraction: {a \over b}. */
  over(above, ends) {
    this.next();
    const below = this.row(ends);
    this.depth -= 1;
    return [mathml("mfrac", {}, one(above), one(below))];
  }

  /** One atom with its scripts. */
  scripted() {
    const kind = this.peek().kind;
    const base = kind === "sup" || kind === "sub" || kind === "prime" ? { node: mathml("mrow") } : this.atom();
    if (!base) return [];
    let { limits } = base;
    let [sub, sup, primes] = [null, null, 0];
    for (;;) {
      const token = this.peek();
      if (this.isCommand("limits", "nolimits")) limits = this.next().text === "limits";
      else if (token?.kind === "prime") primes += this.next() ? 1 : 0;
      else if (token?.kind === "sub" && !sub) sub = this.script();
      else if (token?.kind === "sup" && !sup) sup = this.script();
      else break;
    }
    if (primes) sup = one([operator("′".repeat(primes), { lspace: "0", rspace: "0" }), ...(sup ? [sup] : [])]);
    return [withScripts(base.node, sub, sup, limits)];
  }

  script() {
    this.next();
    return this.argument();
  }

  /** A group in braces, or the one atom that stands there. */
  argument() {
    const token = this.peek();
    if (token?.kind === "open") return one(this.group());
    if (token?.kind === "number" && token.text.length > 1) {
      // \frac12 is a half, and x^23 is x squared times three
      const rest = { kind: "number", text: token.text.slice(1) };
      this.tokens.splice(this.at, 1, { kind: "number", text: token.text[0] }, rest);
    }
    return this.atom()?.node ?? mathml("mrow");
  }

  group() {
    if (this.next().kind !== "open") throw new Error("no group");
    const nodes = this.row((token) => token.kind === "close");
    this.next();
    return nodes;
  }

  atom() {
    const token = this.next();
    if (token.kind === "number") return { node: mathml("mn", {}, token.text) };
    if (token.kind === "open") {
      this.at -= 1;
      return { node: mathml("mrow", {}, ...this.group()) };
    }
    if (token.kind === "char") return { node: character(token.text) };
    if (token.kind === "prime") return { node: operator("′") };
    if (token.kind === "command") return this.command(token);
    throw new Error("out of place");
  }

  command(token) {
    const name = token.text;
    if (token.raw !== undefined) return this.rawCommand(token);
    const symbol = symbolAtom(name);
    if (symbol) return symbol;
    if (symbols.ALPHABET_COMMANDS.has(name)) return { node: inAlphabet(symbols.ALPHABET_COMMANDS.get(name), this.argument()) };
    if (symbols.ACCENTS.has(name)) return this.accent(name);
    if (symbols.UNDER.has(name)) {
      const node = mathml("munder", { accentunder: "true" }, this.argument(), operator(symbols.UNDER.get(name), { stretchy: "true" }));
      return { node, limits: name === "underbrace" };
    }
    if (symbols.SPACES.has(name)) return { node: space(symbols.SPACES.get(name)) };
    if (STYLES.has(name)) return null;
    const size = /^(big|Big|bigg|Bigg)[lrm]?$/.exec(name);
    if (size) return { node: sized(this.delimiter(), BIG[size[1]]) };
    return this.structure(name);
  }

  accent(name) {
    const stretchy = String(symbols.STRETCHED.has(name));
    const above = operator(symbols.ACCENTS.get(name), { stretchy });
    return { node: mathml("mover", { accent: "true" }, this.argument(), above), limits: name === "overbrace" };
  }

  structure(name) {
    switch (name) {
      case "frac": case "dfrac": case "tfrac": case "cfrac":
        return { node: this.fraction(name) };
      case "binom": case "dbinom": case "tbinom":
        return { node: binomial(this.argument(), this.argument()) };
      case "sqrt":
        return { node: this.root() };
      case "left":
        return { node: this.fenced() };
      case "overset": case "stackrel":
        return this.stacked("mover");
      case "underset":
        return this.stacked("munder");
      case "xrightarrow": case "xleftarrow": case "xRightarrow":
        return { node: this.arrow(name) };
      case "not":
        return { node: negated(this.argument()) };
      case "boxed": case "fbox":
        return { node: mathml("mrow", { class: "boxed" }, this.argument()) };
      case "phantom": case "hphantom": case "vphantom":
        return { node: mathml("mphantom", {}, this.argument()) };
      case "bmod":
        return { node: operator("mod", { lspace: "0.25em", rspace: "0.25em" }) };
      case "pmod":
        return { node: mathml("mrow", {}, space(0.4), fence("("), mathml("mi", {}, "mod"), space(0.3), this.argument(), fence(")")) };
      case "substack":
        return { node: this.substack() };
      case "mathop": case "mathrel": case "mathbin": case "mathord": case "mathstrut": case "ensuremath":
        return { node: this.argument(), limits: name === "mathop" };
      default:
        return { node: mathml("mtext", { class: "unknown" }, `\\${name}`) };
    }
  }

  rawCommand({ text: name, raw }) {
    if (name === "begin") return { node: readTable(this, raw) };
    if (name === "end") throw new Error("an environment that was not begun");
    if (name === "tag") return { node: mathml("mtext", {}, `\u2003(${raw})`) };
    if (name === "operatorname") return { node: named(raw), limits: /^(arg|lim|max|min|sup|inf)/.test(raw) };
    if (["color", "hspace", "label", "textcolor", "href"].includes(name)) return null;
    const style = { textbf: "bold", textit: "italic", texttt: "mono" }[name];
    return { node: mathml("mtext", style ? { class: style } : {}, raw.replace(/ /g, "\u00a0").replace(/\\([ %$#&_{}])/g, "$1")) };
  }

  fraction(name) {
    const node = mathml("mfrac", {}, this.argument(), this.argument());
    if (name === "dfrac" || name === "cfrac") return mathml("mstyle", { displaystyle: "true", scriptlevel: "0" }, node);
    return name === "tfrac" ? mathml("mstyle", { displaystyle: "false" }, node) : node;
  }

  root() {
    if (this.peek()?.text !== "[") return mathml("msqrt", {}, this.argument());
    this.next();
    const degree = this.row((token) => token.text === "]");
    this.next();
    return mathml("mroot", {}, this.argument(), one(degree));
  }

  /** \left( ... \middle| ... \right) */
  fenced() {
    const stretched = (text, form) => operator(text, { stretchy: "true", form, fence: "true" });
    const nodes = [];
    const opening = this.delimiter();
    if (opening) nodes.push(stretched(opening, "prefix"));
    for (;;) {
      nodes.push(...this.row((token) => token.kind === "command" && (token.text === "right" || token.text === "middle")));
      const end = this.next().text;
      const mark = this.delimiter();
      if (mark) nodes.push(stretched(mark, end === "middle" ? "infix" : "postfix"));
      if (end === "right") return mathml("mrow", {}, ...nodes);
    }
  }

  delimiter() {
    const token = this.next();
    if (token.kind === "char") return token.text === "." ? "" : token.text === "<" ? "⟨" : token.text === ">" ? "⟩" : token.text;
    const found = token.kind === "command" && (symbols.FENCES.get(token.text) ?? symbols.OPERATORS.get(token.text));
    if (!found) throw new Error("no delimiter");
    return found;
  }

  stacked(tag) {
    const mark = this.argument();
    return { node: mathml(tag, {}, this.argument(), mark) };
  }

  arrow(name) {
    const shape = { xrightarrow: "→", xleftarrow: "←", xRightarrow: "⇒" }[name];
    return mathml("mover", {}, operator(shape, { stretchy: "true", minsize: "2em" }), mathml("mpadded", { width: "+0.8em", lspace: "0.4em" }, this.argument()));
  }

  substack() {
    this.next();
    const rows = [];
    do {
      const cell = mathml("mtd", {}, ...this.row((token) => token.kind === "row" || token.kind === "close"));
      rows.push(mathml("mtr", {}, cell));
    } while (this.next().kind === "row");
    return mathml("mtable", { class: "small" }, ...rows);
  }
}

function withScripts(base, sub, sup, limits) {
  const [both, below, above] = limits ? ["munderover", "munder", "mover"] : ["msubsup", "msub", "msup"];
  if (sub && sup) return mathml(both, {}, base, sub, sup);
  if (sub) return mathml(below, {}, base, sub);
  return sup ? mathml(above, {}, base, sup) : base;
}

function symbolAtom(name) {
  const { LETTERS, OPERATORS, LARGE, INTEGRALS, FENCES, FUNCTIONS, LIMITED } = symbols;
  if (LETTERS.has(name)) return { node: mathml("mi", /^[A-Z]/.test(name) ? { mathvariant: "normal" } : {}, LETTERS.get(name)) };
  if (OPERATORS.has(name)) return { node: operator(OPERATORS.get(name)) };
  if (LARGE.has(name)) return { node: operator(LARGE.get(name), { largeop: "true", movablelimits: "true" }), limits: true };
  if (INTEGRALS.has(name)) return { node: operator(INTEGRALS.get(name), { largeop: "true" }) };
  if (FENCES.has(name)) return { node: fence(FENCES.get(name)) };
  if (FUNCTIONS.has(name)) return { node: named(name) };
  if (LIMITED.has(name)) return { node: named(LIMITED.get(name), { movablelimits: "true" }), limits: true };
  return "%$#_".includes(name) ? { node: mathml("mi", { mathvariant: "normal" }, name) } : name === "&" ? { node: operator("&") } : null;
}

const named = (text, attributes = {}) => operator(text, { lspace: "0.167em", rspace: "0.167em", form: "prefix", ...attributes });
const sized = (text, size) => operator(text, { stretchy: "true", minsize: `${size}em`, maxsize: `${size}em`, lspace: "0", rspace: "0" });
const OWN_FORM = { "-": "−", "*": "∗", "`": "‘" };

function character(char) {
  if (/\p{L}/u.test(char)) return mathml(/[a-zA-Z\u0370-\u03ff]/.test(char) ? "mi" : "mtext", {}, char);
  if ("()[]|".includes(char)) return fence(char);
  if ("/".includes(char)) return operator(char, { lspace: "0", rspace: "0" });
  if (char === ",") return operator(char, { separator: "true", lspace: "0", rspace: "0.167em" });
  return /[\p{P}\p{S}]/u.test(char) ? operator(OWN_FORM[char] ?? char) : mathml("mtext", {}, char);
}

function binomial(above, below) {
  const stack = mathml("mfrac", { linethickness: "0" }, above, below);
  return mathml("mrow", {}, operator("(", { stretchy: "true" }), stack, operator(")", { stretchy: "true" }));
}

function negated(node) {
  const target = node.localName === "mo" || node.localName === "mi" ? node : null;
  if (target) target.textContent = `${target.textContent}\u0338`.normalize("NFC");
  return node;
}

/** Each letter and digit inside a node in another alphabet; upright letters are joined as a word. */
function inAlphabet(name, node) {
  const leaves = node.childElementCount ? [...node.querySelectorAll("mi, mn")] : [node];
  for (const leaf of leaves) {
    if (name === "upright") leaf.setAttribute("mathvariant", "normal");
    else if (name !== "none") leaf.textContent = [...leaf.textContent].map((char) => symbols.inAlphabet(name, char)).join("");
  }
  return node;
}
