// DOM nodes from plain descriptions. Text only ever becomes text nodes: nothing here, or anywhere in this page, parses
// HTML, so what a model or a person writes cannot become markup.
import { setHint, setLabel, setWord } from "./language.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Beside attributes, `props` knows: `class`, `word` (a key of words.js for its text, `args` to fill it),
 * `label` (a key, for what a screen reader says and a tooltip shows), `hint` (a key, for the placeholder), `on`
 * (listeners by event), `data` (data-* values).
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProperty(node, name, value, props);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function setProperty(node, name, value, props) {
  if (value === null || value === undefined || value === false || name === "args") return;
  if (name === "class") node.className = value;
  else if (name === "word") setWord(node, value, props.args);
  else if (name === "label") setLabel(node, value, props.args);
  else if (name === "hint") setHint(node, value);
  else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  else if (name === "data") Object.assign(node.dataset, value);
  else node.setAttribute(name, value === true ? "" : String(value));
}

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

// Strokes on a grid of 24 units; drawn for this page.
const ICONS = {
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h10v11H9zM15 9V5H5v10h4",
  check: "M5 13l4.5 4.5L19 7",
  again: "M19 12a7 7 0 1 1-2-4.9M19 4v4h-4",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  remove: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  menu: "M4 7h16M4 12h16M4 17h10",
  sliders: "M4 8h8M16 8h4M14 5.5v5M4 16h4M12 16h8M10 13.5v5",
  branches: "M7 5v14M7 12c6 0 10-1 10-6M5 5h4M5 19h4M15 5.5h4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  compare: "M4 5h7v14H4zM13 5h7v14h-7z",
  close: "M6 6l12 12M18 6L6 18",
  light: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4",
  dark: "M19 14.5A7.5 7.5 0 0 1 9.500 5a7.500 7.500 0 1 0 9.500 9.500z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  keyboard: "M3 7h18v11H3zM7 11h0M11 11h0M15 11h0M8 14.500h8",
  hidden: "M4 12c3-5 13-5 16 0M5 16l2-2M12 17v-2.500M19 16l-2-2",
};

/** One of the icons, for the eye only. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, svg("path", { d: ICONS[name] }));
}

const MARK =
  "M8 15c0-4 3-7 8-7h5c2 0 3 1 3 3v3c0 2-1 3-3 3h-2c-1 0-2 1-2 2v10c0 4 2 6 5 6 3 0 4-2 5-6 1-5 3-10 7-10s5 4 6 8c1-3 3-7 6-7 6 0 9 8 10 15 1 3 2 5 3 7 1 3-1 4-3 3l-2-2v12c0 2-1 3-3 3h-2c-1 0-2-1-2-2V45H27v10c0 2-1 3-3 3h-2c-1 0-2-1-2-3V43C13 41 10 36 10 29V20c-1-1-2-3-2-5z";

/** The camel. */
export function mark(name = "mark") {
  return svg("svg", { class: name, viewBox: "0 0 64 64", "aria-hidden": "true", focusable: "false" }, svg("path", { d: MARK }));
}

/** A button with an icon and a name for screen readers. */
export function iconButton(name, label, listener, props = {}) {
  return el("button", { type: "button", class: "quiet", label, on: { click: listener }, ...props }, icon(name));
}

/** Put text on the clipboard; true when it is there. Without a secure context (a LAN address) by a selection. */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // no permission: the older way below asks for none
    }
  }
  const field = el("textarea", { class: "unseen", "aria-hidden": "true", readonly: true });
  field.value = text;
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus?.();
  return done;
}

/** A button that copies what `read()` gives, and says so for a moment. */
export function copyButton(read, label = "copy") {
  const button = iconButton("copy", label, async () => {
    const done = await copyText(read());
    button.replaceChildren(icon(done ? "check" : "close"));
    setLabel(button, done ? "copied" : "copyFailed");
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      setLabel(button, label);
    }, 1600);
  });
  return button;
}
