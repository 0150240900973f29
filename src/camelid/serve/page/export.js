// Conversations as training data: JSON Lines of {"messages": [...]}, which `camelid train` reads.
//
// A row must not teach what nobody wanted: it ends with its last good answer, and an answer before that which was cut
// short or lost a vote gets "weight": 0 (OpenAI's sign for a turn that is not trained).
import { leaves, pathTo } from "./tree.js";

/** Whether an answer may be learnt from: it came to its own end, and no vote went against it. */
export const isGood = (node) => node.role === "assistant" && node.finish === "stop" && !node.rejected && node.content.trim() !== "";

/** The row of a path, or null when no answer in it is good. */
export function rowOf(conversation, path) {
  const spoken = path.filter((node, i) => node.content.trim() && !(node.role === "user" && path[i + 1] && !path[i + 1].content.trim()));
  const last = spoken.findLastIndex(isGood);
  if (last < 0) return null;
  const messages = spoken.slice(0, last + 1).map((node) => {
    const message = { role: node.role, content: node.content };
    return node.role === "assistant" && !isGood(node) ? { ...message, weight: 0 } : message;
  });
  if (conversation.system.trim()) messages.unshift({ role: "system", content: conversation.system });
  return { messages };
}

/** Rows of all branches, each once: branches that differ only behind their last good answer are one row. */
export function rowsOfBranches(conversation) {
  const rows = new Map();
  for (const leaf of leaves(conversation)) {
    const row = rowOf(conversation, pathTo(conversation, leaf.id));
    if (row) rows.set(JSON.stringify(row), row);
  }
  return [...rows.values()];
}

/** A lone half of a surrogate pair is no text: JSON in UTF-8 cannot carry it. */
const wellFormed = (text) => (typeof text.toWellFormed === "function" ? text.toWellFormed() : text);

export const toLines = (rows) => rows.map((row) => `${wellFormed(JSON.stringify(row))}\n`).join("");

/** Hand a text to the browser as a file. */
export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
