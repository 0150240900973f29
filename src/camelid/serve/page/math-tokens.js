// LaTeX's maths as a list of tokens: {kind, text, raw}.
//
// Kinds: command (its name in `text`), number, char, open, close, sup, sub, prime, cell (&), row (\\). Commands whose
// argument is text and no maths carry it in `raw`.
const RAW = new Set(
  "text textrm textbf textit textsf texttt textnormal mbox hbox operatorname begin end tag color textcolor hspace label href".split(" "),
);
const SINGLE = { "{": "open", "}": "close", "^": "sup", _: "sub", "&": "cell", "'": "prime", "’": "prime" };
const MOST_TOKENS = 6000;

/** Raises Error for a group that does not end, and for a text that is too long. */
export function tokenise(tex) {
  const tokens = [];
  let at = 0;
  while (at < tex.length) {
    at = tex[at] === "\\" ? readCommand(tex, at, tokens) : readCharacter(tex, at, tokens);
    if (tokens.length > MOST_TOKENS) throw new Error("too long");
  }
  return tokens;
}

function readCommand(tex, at, tokens) {
  const name = /^[a-zA-Z]+\*?|^[^]/u.exec(tex.slice(at + 1, at + 41))?.[0];
  if (name === undefined) throw new Error("ends with a backslash");
  const end = at + 1 + name.length;
  if (name === "\\") {
    // a row may name the space below it: \\[4pt]
    const space = /^\s*\[[^\]]{0,12}\]/.exec(tex.slice(end, end + 20));
    tokens.push({ kind: "row", text: "\\\\" });
    return end + (space ? space[0].length : 0);
  }
  const bare = name.replace("*", "");
  if (RAW.has(bare)) return readRaw(tex, end, bare, tokens);
  tokens.push({ kind: "command", text: /\s/.test(name) ? " " : name });
  return end;
}

function readRaw(tex, at, name, tokens) {
  let i = at;
  while (/\s/.test(tex[i] ?? "")) i += 1;
  if (tex[i] !== "{") throw new Error(`${name} without a group`);
  let depth = 0;
  for (let end = i; end < tex.length; end += 1) {
    if (tex[end] === "\\") end += 1;
    else if (tex[end] === "{") depth += 1;
    else if (tex[end] === "}") depth -= 1;
    if (depth === 0) {
      tokens.push({ kind: "command", text: name, raw: tex.slice(i + 1, end) });
      return end + 1;
    }
  }
  throw new Error("a group does not end");
}

function readCharacter(tex, at, tokens) {
  const char = String.fromCodePoint(tex.codePointAt(at));
  if (/\s/.test(char)) return at + 1;
  if (char === "%") {
    const end = tex.indexOf("\n", at);
    return end < 0 ? tex.length : end;
  }
  if (char === "~") tokens.push({ kind: "command", text: " " });
  else if (/\d/.test(char)) {
    const number = /^\d+(?:[.,]\d+)*/.exec(tex.slice(at, at + 200))[0];
    tokens.push({ kind: "number", text: number });
    return at + number.length;
  } else tokens.push({ kind: SINGLE[char] ?? "char", text: char });
  return at + char.length;
}
