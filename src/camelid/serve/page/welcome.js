// What is seen before the first message.
import { el, mark, svg } from "./dom.js";
import { setWord, t } from "./language.js";

const STARTERS = ["starterOne", "starterTwo", "starterThree", "starterFour"];

export class Welcome {
  constructor(root, ask) {
    this.root = root;
    this.more = el("p", { class: "more", word: "greetingMore" });
    const starters = STARTERS.map((word) => el("button", { type: "button", class: "starter", word, on: { click: () => ask(t(word)) } }));
    root.append(mark("mark large"), el("h1", { word: "greeting" }), this.more, el("div", { class: "starters" }, ...starters), dunes());
  }

  update(shown, comparing) {
    this.root.hidden = !shown;
    setWord(this.more, comparing ? "greetingCompare" : "greetingMore");
  }
}

/** The horizon. */
function dunes() {
  const hills = ["M0 88C170 18 330 30 480 74S800 132 1200 40V160H0z", "M0 122C220 70 420 92 640 118S1010 128 1200 84V160H0z"];
  return svg("svg", { class: "dunes", viewBox: "0 0 1200 160", preserveAspectRatio: "none", "aria-hidden": "true" }, ...hills.map((d) => svg("path", { d })));
}
