// Light colouring of code: comments, texts, numbers, words of the language. Enough to read by, and never wrong enough to
// mislead: what is not recognised stays plain.
const LONGEST = 40_000; // characters; longer code stays plain

const PYTHON = words(`and as assert async await break case class continue def del elif else except finally for from global if
  import in is lambda match nonlocal not or pass raise return try while with yield None True False self`);
const JAVASCRIPT = words(`async await break case catch class const continue debugger default delete do else export extends false
  finally for from function if import in instanceof interface let new null of return static super switch this throw true try type
  typeof undefined var void while yield`);
const BASH = words("if then else elif fi for in do done while until case esac function return exit local export source set unset shift echo cd sudo");

const DOUBLE = /"(?:[^"\\\n]|\\[^])*"?/;
const SINGLE = /'(?:[^'\\\n]|\\[^])*'?/;
const NUMBER = /\b(?:0[xob][\da-f_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b/i;
const WORD = /[\p{L}_$][\p{L}\p{N}_$]*/u;

const LANGUAGES = {
  python: { keywords: PYTHON, rules: [["comment", /#.*/], ["string", /[rbfu]{0,2}(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$))/i], ["string", DOUBLE], ["string", SINGLE], ["meta", /@[\w.]+/], ["number", NUMBER]] },
  javascript: { keywords: JAVASCRIPT, rules: [["comment", /\/\/.*|\/\*[^]*?(?:\*\/|$)/], ["string", /`(?:[^`\\]|\\[^])*`?/], ["string", DOUBLE], ["string", SINGLE], ["number", NUMBER]] },
  json: { keywords: words("true false null"), rules: [["key", /"(?:[^"\\\n]|\\[^])*"(?=\s*:)/], ["string", DOUBLE], ["number", /-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/i]] },
  bash: { keywords: BASH, rules: [["comment", /(?<=^|\s)#.*/m], ["string", DOUBLE], ["string", /'[^']*'?/], ["meta", /\$\{?[\w@#?*!]+\}?/], ["key", /(?<=\s)--?[\w-]+/], ["number", NUMBER]] },
};
const NAMES = { py: "python", python3: "python", js: "javascript", mjs: "javascript", ts: "javascript", typescript: "javascript", jsx: "javascript", tsx: "javascript", jsonl: "json", json5: "json", sh: "bash", shell: "bash", console: "bash", zsh: "bash" };

for (const language of Object.values(LANGUAGES)) {
  const groups = language.rules.map(([, rule]) => `(${rule.source})`);
  language.kinds = language.rules.map(([kind]) => kind);
  language.pattern = new RegExp([...groups, `(${WORD.source})`].join("|"), "gimu");
}

function words(text) {
  return new Set(text.trim().split(/\s+/));
}

/** Nodes of a piece of code: text, and spans of a class for its kind. */
export function colour(code, name) {
  const language = LANGUAGES[NAMES[name.toLowerCase()] ?? name.toLowerCase()];
  if (!language || code.length > LONGEST) return [document.createTextNode(code)];
  const nodes = [];
  let last = 0;
  for (const found of code.matchAll(language.pattern)) {
    const kind = kindOf(found, language, code);
    if (!kind || !found[0]) continue;
    if (found.index > last) nodes.push(document.createTextNode(code.slice(last, found.index)));
    nodes.push(span(kind, found[0]));
    last = found.index + found[0].length;
  }
  if (last < code.length) nodes.push(document.createTextNode(code.slice(last)));
  return nodes;
}

function kindOf(found, language, code) {
  const rule = language.kinds.findIndex((_, i) => found[i + 1] !== undefined);
  if (rule >= 0) return language.kinds[rule];
  if (language.keywords.has(found[0])) return "keyword";
  return code[found.index + found[0].length] === "(" ? "call" : "";
}

function span(kind, text) {
  const node = document.createElement("span");
  node.className = `code-${kind}`;
  node.textContent = text;
  return node;
}
