// Conversations in the browser's IndexedDB. Where that is blocked they live in memory, and `isKept` is false.
const memory = new Map();
let database = null;

/** Open the store; call once, before anything else. */
export async function openStore() {
  try {
    database = await request(openRequest());
  } catch {
    database = null;
  }
}

export const isKept = () => database !== null;

function openRequest() {
  const opening = indexedDB.open("camelid", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("conversations", { keyPath: "id" });
  return opening;
}

const request = (asked) =>
  new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(new Error("blocked"));
  });

const table = (mode) => database.transaction("conversations", mode).objectStore("conversations");

/** All conversations, the latest first. */
export async function loadAll() {
  const found = database ? await request(table("readonly").getAll()) : [...memory.values()];
  return found.sort((a, b) => b.updated - a.updated);
}

export async function save(conversation) {
  const copy = structuredClone(conversation);
  if (database) await request(table("readwrite").put(copy));
  else memory.set(copy.id, copy);
}

export async function forget(id) {
  if (database) await request(table("readwrite").delete(id));
  else memory.delete(id);
}
