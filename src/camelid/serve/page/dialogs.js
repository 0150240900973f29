// The page's dialogs: the key, the export, the keyboard.
import { getInfo, setKey } from "./api.js";
import { el, icon } from "./dom.js";
import { download, rowOf, rowsOfBranches, toLines } from "./export.js";
import { askLine, showDialog } from "./panels.js";
import { shownPath } from "./tree.js";

/** Ask for the key until the server knows it; `done(info)` gets what the server says of itself. */
export function askKey(done) {
  const attempt = async (text) => {
    setKey(text);
    try {
      done(await getInfo());
      return null;
    } catch (fault) {
      return fault.status === 401 ? "keyWrong" : "faultNetwork";
    }
  };
  askLine({ name: "keyTitle", help: "keyHelp", label: "keyLabel", button: "keyEnter", secret: true, fixed: true, done: attempt });
}

/** Offer a conversation, its branches, or everything as JSON Lines. */
export function showExport({ conversation, all, votesFile, tell }) {
  const path = rowOf(conversation, shownPath(conversation));
  const everything = all.flatMap(rowsOfBranches);
  const choices = [
    ["exportPath", path ? [path] : [], "conversation.jsonl"],
    ["exportBranches", rowsOfBranches(conversation), "branches.jsonl"],
    ["exportAll", everything, "conversations.jsonl"],
  ];
  const buttons = choices.map(([word, rows, name]) => {
    const save = () => {
      download(`camelid-${name}`, toLines(rows));
      tell("exported", { n: rows.length, file: `camelid-${name}` });
      dialog.close();
    };
    const count = el("span", { class: "count", word: "exportRows", args: { n: rows.length } });
    return el("button", { type: "button", class: "choice", disabled: !rows.length, data: { export: word }, on: { click: save } }, icon("download"), el("span", { class: "grow", word }), count);
  });
  const votes = votesFile ? el("p", { class: "help", word: "votesNote", args: { file: votesFile } }) : null;
  const parts = [el("p", { class: "help", word: "exportHelp" }), el("div", { class: "choices" }, ...buttons), el("p", { class: "help", word: "exportNote" }), votes];
  const dialog = showDialog(parts.filter(Boolean), { name: "export" });
}

export function showShortcuts() {
  const rows = [
    [["Enter"], "keySend"],
    [["Shift", "Enter"], "keyLine"],
    [["Esc"], "keyStop"],
    [["/"], "keyFocus"],
    [["↑"], "keyEdit"],
    [["Alt", "1…4"], "keyVote"],
    [["?"], "keyHelpKey"],
  ];
  const list = rows.flatMap(([keys, word]) => [el("dt", {}, ...keys.map((key) => el("kbd", {}, key))), el("dd", { word })]);
  showDialog([el("dl", { class: "shortcuts" }, ...list)], { name: "shortcuts" });
}
