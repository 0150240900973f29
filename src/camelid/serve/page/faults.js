// Faults in plain words.
import { el } from "./dom.js";
import { setWord } from "./language.js";

/** [key, args] of words.js for a fault. */
export function faultWords({ status, code, message, retryAfter }) {
  if (code === "context_length_exceeded") return ["faultContext"];
  if (status === 429) return ["faultBusy", { seconds: retryAfter ?? 10 }];
  if (code === "broken") return ["faultBroken"];
  if (status === 0) return ["faultNetwork"];
  if (code === "model_not_found") return ["faultModel"];
  return [status >= 500 ? "faultServer" : "faultAsked", { message: message || String(status) }];
}

/** A fault with a way to try again. */
export function faultNotice(fault, retry) {
  const [word, args] = faultWords(fault);
  const button = el("button", { type: "button", class: "plain", word: "tryAgain", on: { click: retry } });
  return el("div", { class: "notice fault", role: "alert" }, el("p", { word, args }), button);
}

/** A count-down to the next try. */
export function waitNotice(wait) {
  const text = el("p");
  const tell = () => {
    const seconds = Math.ceil((wait.until - performance.now()) / 1000);
    if (seconds > 0) setWord(text, "busy", { seconds });
    else setWord(text, "busyNow");
    // The notice is taken off the page when the wait ends, and the clock with it.
    if (seconds > 0) setTimeout(() => notice.isConnected && tell(), 500);
  };
  const button = el("button", { type: "button", class: "plain", word: "tryNow", on: { click: () => wait.now() } });
  const notice = el("div", { class: "notice wait", role: "status" }, text, button);
  setTimeout(tell, 0);
  setWord(text, "busy", { seconds: Math.max(1, Math.ceil((wait.until - performance.now()) / 1000)) });
  return notice;
}
