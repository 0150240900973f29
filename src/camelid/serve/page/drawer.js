// The settings: system prompt and sampling, each knob with what it does in plain words.
import { el, icon } from "./dom.js";
import { setWord } from "./language.js";
import { panelHead } from "./panels.js";
import { keep, settings } from "./settings.js";

// `rest` is where a slider stands while the server chooses.
const SLIDERS = [
  { field: "temperature", word: "temperature", min: 0, max: 2, step: 0.05, rest: 1 },
  { field: "top_p", word: "topP", min: 0.05, max: 1, step: 0.05, rest: 1 },
  { field: "top_k", word: "topK", min: 0, max: 200, step: 1, rest: 0 },
  { field: "min_p", word: "minP", min: 0, max: 0.5, step: 0.01, rest: 0 },
  { field: "repetition_penalty", word: "repetition", min: 1, max: 2, step: 0.01, rest: 1 },
  { field: "presence_penalty", word: "presence", min: -2, max: 2, step: 0.1, rest: 0 },
];
const NUMBERS = [
  { field: "max_tokens", word: "maxTokens", min: 1, max: 1_000_000 },
  { field: "seed", word: "seed", min: 0, max: Number.MAX_SAFE_INTEGER },
];

export class Drawer {
  constructor(root, { onSystem, onForget }) {
    this.root = root;
    this.side = "a";
    this.system = el("textarea", { rows: 4, hint: "systemHint", id: "system-prompt", class: "line" });
    this.system.addEventListener("input", () => onSystem(this.system.value));
    this.tabs = el("div", { class: "tabs", role: "group", label: "samplingFor" });
    this.knobs = el("div", { class: "knobs" });
    this.facts = el("div", { class: "facts" });
    this.forget = el("button", { type: "button", class: "plain", word: "forget", on: { click: onForget } });
    const system = el("section", {}, el("label", { for: "system-prompt", word: "systemPrompt" }), el("p", { class: "help", word: "systemHelp" }), this.system);
    const sampling = el("section", {}, el("h3", { word: "sampling" }), el("p", { class: "help", word: "samplingHelp" }), this.tabs, this.knobs);
    root.append(panelHead("settings"), el("div", { class: "panel-body" }, system, sampling, el("section", {}, el("h3", { word: "server" }), this.facts, this.forget)));
  }

  /** Show the settings as they are. */
  update({ system, info }) {
    if (this.system.value !== system) this.system.value = system;
    if (!settings.compare) this.side = "a";
    this.tabs.hidden = !settings.compare;
    this.tabs.replaceChildren(...["a", "b"].map((side) => this.tab(side)));
    const set = settings.sampling[this.side] ?? {};
    this.knobs.replaceChildren(...SLIDERS.map((knob) => this.slider(knob, set[knob.field])), ...NUMBERS.map((knob) => this.number(knob, set[knob.field])), this.stops(set.stop));
    this.facts.replaceChildren(...(info ? factsOf(info) : []));
  }

  tab(side) {
    const chosen = side === this.side;
    const choose = () => {
      this.side = side;
      this.update({ system: this.system.value, info: this.info });
      this.tabs.children[side === "a" ? 0 : 1].focus();
    };
    return el("button", { type: "button", "aria-pressed": chosen, class: chosen ? "tab chosen" : "tab", word: side === "a" ? "leftModel" : "rightModel", on: { click: choose } });
  }

  set(field, value) {
    const mine = { ...settings.sampling[this.side] };
    if (value === undefined) delete mine[field];
    else mine[field] = value;
    keep({ sampling: { ...settings.sampling, [this.side]: mine } });
  }

  slider({ field, word, min, max, step, rest }, value) {
    const input = el("input", { type: "range", id: `knob-${field}`, min, max, step, "aria-describedby": `help-${field}` });
    const shown = el("output", { for: `knob-${field}` });
    const reset = el("button", { type: "button", class: "quiet small", label: "reset" }, icon("again"));
    const tell = (now) => {
      input.value = String(now ?? rest);
      reset.hidden = now === undefined;
      if (now === undefined) setWord(shown, "auto");
      else {
        delete shown.dataset.word;
        shown.textContent = String(now);
      }
      input.classList.toggle("auto", now === undefined);
    };
    input.addEventListener("input", () => {
      this.set(field, Number(input.value));
      tell(Number(input.value));
    });
    reset.addEventListener("click", () => {
      this.set(field, undefined);
      tell(undefined);
      input.focus();
    });
    tell(value);
    return knob(field, word, [shown, reset], input);
  }

  number({ field, word, min, max }, value) {
    const input = el("input", { type: "number", id: `knob-${field}`, min, max, step: 1, hint: "auto", class: "line", "aria-describedby": `help-${field}` });
    input.value = value ?? "";
    input.addEventListener("input", () => {
      const number = input.value.trim() === "" ? undefined : Number(input.value);
      const sound = number === undefined ? !input.validity.badInput : Number.isInteger(number) && number >= min && number <= max;
      input.setAttribute("aria-invalid", String(!sound));
      if (sound) this.set(field, number);
    });
    return knob(field, word, [], input);
  }

  stops(value) {
    const input = el("textarea", { id: "knob-stop", rows: 2, hint: "stopsHint", class: "line", "aria-describedby": "help-stop" });
    input.value = value ?? "";
    input.addEventListener("input", () => this.set("stop", input.value === "" ? undefined : input.value));
    return knob("stop", "stops", [], input);
  }
}

function knob(field, word, beside, input) {
  const head = el("div", { class: "knob-head" }, el("label", { for: `knob-${field}`, class: "grow", word }), ...beside);
  return el("div", { class: "knob" }, head, input, el("p", { class: "help", id: `help-${field}`, word: `${word}Help` }));
}

function factsOf({ version, engine, context, slots, votes_file: votes }) {
  const lines = [el("p", { class: "help", word: "serverFacts", args: { version, engine, context, slots } })];
  return votes ? [...lines, el("p", { class: "help", word: "votesGoTo", args: { file: votes } })] : lines;
}
