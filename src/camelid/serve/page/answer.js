// One answer from question to last word: asks, follows the stream into the tree's node, waits when the server is busy.
import { ApiFault, streamAnswer } from "./api.js";

const MOST_TRIES = 6;
const running = new Map(); // abort controllers by node id
const waits = new Map(); // {until, now} by node id; not in the node, which is stored

export const isRunning = (id) => (id === undefined ? running.size > 0 : running.has(id));

/** While an answer waits for a busy server: until when, and `now()` to try at once. */
export const waitOf = (id) => waits.get(id) ?? null;

/** Stop one answer, or all. */
export function stop(id) {
  for (const [each, controller] of running) if (id === undefined || each === id) controller.abort();
}

/**
 * Fill `node` with the answer to `ask`. `changed()` is called at each change: node.content, waitOf(node.id), in the
 * end node.finish ("stop", "length", "stopped") or node.fault ({status, code, message, retryAfter}).
 */
export async function runAnswer(node, ask, changed) {
  const controller = new AbortController();
  running.set(node.id, controller);
  try {
    await attempts(node, ask, controller.signal, changed);
  } catch (error) {
    if (error.name === "AbortError") node.finish = "stopped";
    else if (error instanceof ApiFault) node.fault = { status: error.status, code: error.code, message: error.message, retryAfter: error.retryAfter };
    else node.fault = { status: 0, code: "broken", message: String(error.message) };
  } finally {
    running.delete(node.id);
    waits.delete(node.id);
    changed();
  }
}

async function attempts(node, ask, signal, changed) {
  for (let tries = 1; ; tries += 1) {
    try {
      await follow(node, ask, signal, changed);
      return;
    } catch (error) {
      const busy = error instanceof ApiFault && error.retryAfter !== null && (error.status === 429 || error.status === 503);
      if (!busy || node.content || tries === MOST_TRIES) throw error;
      await pause(node, Math.min(Math.max(error.retryAfter, 1), 300), signal, changed);
    }
  }
}

function pause(node, seconds, signal, changed) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, seconds * 1000);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      waits.delete(node.id);
      changed();
      resolve();
    }
    function abort() {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    }
    signal.addEventListener("abort", abort);
    waits.set(node.id, { until: performance.now() + seconds * 1000, now: done });
    changed();
  });
}

async function follow(node, ask, signal, changed) {
  let first = 0;
  for await (const part of streamAnswer(ask, signal)) {
    first ||= performance.now();
    if (part.text) node.content += part.text;
    if (part.finish) node.finish = part.finish;
    if (part.usage) {
      node.usage = { prompt: part.usage.prompt_tokens, answer: part.usage.completion_tokens };
      const seconds = (performance.now() - first) / 1000;
      // Of a stream that came in one piece no speed can be told.
      node.speed = node.usage.answer > 1 && seconds > 0.05 ? (node.usage.answer - 1) / seconds : null;
    }
    changed();
  }
}
