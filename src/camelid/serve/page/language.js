// Which language the page speaks. Every text on it carries its key of words.js, so a switch rewrites them in place and
// touches nothing else: an answer goes on streaming.
import { WORDS } from "./words.js";

const STORED = "camelid.language";
const HTML_NAMES = { zh: "zh-CN", en: "en" };
const listeners = new Set();
let current = initial();

function initial() {
  const stored = readStored();
  if (stored in HTML_NAMES) return stored;
  return (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
}

function readStored() {
  try {
    return localStorage.getItem(STORED) ?? "";
  } catch {
    return ""; // storage is blocked: the browser's language decides each time
  }
}

/** "zh" or "en". */
export const language = () => current;

/** The text of a key, its {places} filled from `args`. */
export function t(key, args = {}) {
  const entry = WORDS[key];
  if (!entry) throw new Error(`words.js has no ${key}`);
  return entry[current].replace(/\{(\w+)\}/g, (whole, name) => (name in args ? shown(args[name]) : whole));
}

const shown = (value) => (typeof value === "number" ? new Intl.NumberFormat(HTML_NAMES[current]).format(value) : String(value));

export function setWord(node, key, args) {
  node.dataset.word = key;
  if (args) node.dataset.args = JSON.stringify(args);
  else delete node.dataset.args;
  node.textContent = t(key, args);
}

export function setLabel(node, key, args) {
  node.dataset.label = key;
  if (args) node.dataset.args = JSON.stringify(args);
  const text = t(key, args);
  node.setAttribute("aria-label", text);
  node.title = text;
}

export function setHint(node, key) {
  node.dataset.hint = key;
  node.placeholder = t(key);
}

/** Call `listener` after each switch. */
export const onLanguage = (listener) => listeners.add(listener);

export function setLanguage(name) {
  current = name;
  try {
    localStorage.setItem(STORED, name);
  } catch {
    // storage is blocked: the choice holds until the page is left
  }
  applyLanguage();
}

/** Rewrite all texts of the document. */
export function applyLanguage() {
  document.documentElement.lang = HTML_NAMES[current];
  document.title = t("title");
  const args = (node) => (node.dataset.args ? JSON.parse(node.dataset.args) : undefined);
  for (const node of document.querySelectorAll("[data-word]")) setWord(node, node.dataset.word, args(node));
  for (const node of document.querySelectorAll("[data-label]")) setLabel(node, node.dataset.label, args(node));
  for (const node of document.querySelectorAll("[data-hint]")) setHint(node, node.dataset.hint);
  for (const listener of listeners) listener(current);
}
