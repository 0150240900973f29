// The server: key, requests, streams, faults.
const KEY = "camelid.key";
let key = takeKey();

/** The key from the address printed by `camelid serve` (…/#key=…), which is then cleared out of the address bar. */
function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    history.replaceState(null, "", location.pathname + location.search);
    remember(given);
    return given;
  }
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function remember(value) {
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // storage is blocked: the key holds until the page is left
  }
}

export const hasKey = () => key !== "";

export function setKey(value) {
  key = value.trim();
  remember(key);
}

/** What a server said when it did not answer: status 0 for no connection. */
export class ApiFault extends Error {
  constructor(status, message, { code = null, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds
  }
}

async function send(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, credentials: "omit", cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiFault(0, error.message);
  }
  if (!response.ok) throw await faultOf(response);
  return response;
}

async function faultOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // a proxy's page, or nothing: the status says it all
  }
  const wait = response.headers.get("Retry-After") ?? "";
  const retryAfter = /^\d{1,6}$/.test(wait) ? Number(wait) : null;
  return new ApiFault(response.status, String(error.message ?? response.statusText), { code: error.code ?? null, retryAfter });
}

export const getInfo = async () => (await send("v1/camelid/info")).json();
export const sendVote = async (vote) => (await send("v1/camelid/votes", vote)).json();

/** Server-sent events out of pieces of text: `push` gives the data of the events that are complete. */
export class EventParser {
  constructor() {
    this.rest = "";
    this.data = [];
  }

  push(text) {
    const found = [];
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.data.length) found.push(this.data.join("\n"));
        this.data = [];
      } else if (line.startsWith("data:")) this.data.push(line.slice(line[5] === " " ? 6 : 5));
    }
    return found;
  }
}

/**
 * A streamed answer: yields {text}, {finish} and {usage} as they come. Raises ApiFault, and AbortError once `signal` is
 * raised. A stream that ends without [DONE] was cut, and raises status 0.
 */
export async function* streamAnswer(ask, signal) {
  const body = { ...ask, stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventParser();
  try {
    for (;;) {
      const { value, done } = await readSome(reader);
      if (done) throw new ApiFault(0, "the stream ended early", { code: "broken" });
      for (const data of events.push(value)) {
        if (data === "[DONE]") return;
        yield* partsOf(JSON.parse(data));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function readSome(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiFault(0, error.message, { code: "broken" });
  }
}

function* partsOf(chunk) {
  if (chunk.error) throw new ApiFault(500, String(chunk.error.message ?? ""), { code: chunk.error.code ?? null });
  const choice = chunk.choices?.[0];
  if (choice?.delta?.content) yield { text: choice.delta.content };
  if (choice?.finish_reason) yield { finish: choice.finish_reason };
  if (chunk.usage) yield { usage: chunk.usage };
}
