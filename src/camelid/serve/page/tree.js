// A conversation as a tree of messages. Editing a question or asking for another answer makes a sibling; nothing is lost.
// Each node remembers which of its children is shown, so one path leads from the root to the message at the bottom.
//
// conversation: {id, title, named, created, updated, system, nodes: {id: node}}
// node: {id, parent, children: [id], shown: id | null, role, content, ...what is known of an answer}
export const ROOT = "root";

/** An identifier; `randomUUID` is missing where the page comes over plain HTTP from another machine. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");
}

export function newConversation(system = "") {
  const root = { id: ROOT, parent: null, children: [], shown: null, role: ROOT };
  const now = Date.now();
  return { id: newId(), title: "", named: false, created: now, updated: now, system, nodes: { [ROOT]: root } };
}

/** Add a message below `parent` and show it. */
export function addNode(conversation, parent, fields) {
  const node = { id: newId(), parent, children: [], shown: null, ...fields };
  conversation.nodes[node.id] = node;
  conversation.nodes[parent].children.push(node.id);
  conversation.nodes[parent].shown = node.id;
  conversation.updated = Date.now();
  return node;
}

/** The messages that are shown, from the first to the last. */
export function shownPath(conversation) {
  return walk(conversation, ROOT, (node) => node.shown);
}

function walk(conversation, from, step) {
  const found = [];
  for (let id = step(conversation.nodes[from]); id; id = step(conversation.nodes[id])) found.push(conversation.nodes[id]);
  return found;
}

/** The messages from the first to this one. */
export function pathTo(conversation, id) {
  const node = conversation.nodes[id];
  return [...walk(conversation, id, (each) => (each.parent === ROOT ? null : each.parent)).reverse(), ...(node.role === ROOT ? [] : [node])];
}

/** All messages beside this one, it included, in the order in which they were made. */
export const siblings = (conversation, id) => conversation.nodes[conversation.nodes[id].parent].children;

/** Show the path that leads through a message. */
export function show(conversation, id) {
  for (let node = conversation.nodes[id]; node.parent; node = conversation.nodes[node.parent]) {
    conversation.nodes[node.parent].shown = node.id;
  }
}

/** The last messages of all branches. */
export function leaves(conversation) {
  return Object.values(conversation.nodes).filter((node) => node.role !== ROOT && !node.children.length);
}

/** What a model is sent: the system prompt and a path; answers that never came are left out with their questions. */
export function messagesOf(conversation, path) {
  const messages = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  path.forEach((node, i) => {
    const next = path[i + 1];
    const unanswered = node.role === "user" && next && !next.content.trim();
    if (!unanswered && node.content.trim()) messages.push({ role: node.role, content: node.content });
  });
  return messages;
}
