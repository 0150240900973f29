// The conversation's tree, drawn: questions are squares, answers circles, and the path that is shown is bright.
import { el, svg } from "./dom.js";
import { onLanguage, t } from "./language.js";
import { panelHead } from "./panels.js";
import { ROOT, shownPath } from "./tree.js";

const COLUMN = 38;
const ROW = 46;
const EDGE = 26;
const SIZE = 9; // of a mark, from its middle

export class BranchMap {
  constructor(root, onChoose) {
    this.onChoose = onChoose;
    this.board = el("div", { class: "board" });
    this.legend = el("p", { class: "legend" }, sample("user"), el("span", { word: "legendUser" }), sample("assistant"), el("span", { word: "legendAnswer" }), sample("assistant rejected"), el("span", { word: "legendRejected" }));
    this.excerpt = el("p", { class: "excerpt", "aria-hidden": "true" });
    root.append(panelHead("branches"), el("div", { class: "panel-body" }, el("p", { class: "help", word: "branchesHelp" }), this.legend, this.board, this.excerpt));
    onLanguage(() => this.conversation && this.draw(this.conversation));
  }

  draw(conversation) {
    this.conversation = conversation;
    const focused = this.board.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const places = layOut(conversation);
    if (!places.size) {
      this.board.replaceChildren(el("p", { class: "help", word: "branchesNone" }));
      return;
    }
    const bright = new Set(shownPath(conversation).map((node) => node.id));
    const width = Math.max(...[...places.values()].map((place) => place.x)) * COLUMN + 2 * EDGE;
    const height = Math.max(...[...places.values()].map((place) => place.y)) * ROW + 2 * EDGE;
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("branches") });
    for (const [id, place] of places) {
      const above = places.get(conversation.nodes[id].parent);
      if (above) picture.append(edge(above, place, bright.has(id)));
    }
    for (const [id, place] of places) picture.append(this.spot(conversation.nodes[id], place, bright.has(id)));
    this.board.replaceChildren(picture);
    if (focused) picture.querySelector(`[data-id="${focused}"]`)?.focus();
  }

  spot(node, place, bright) {
    const label = t(node.role === "user" ? "branchUser" : "branchAnswer", { name: node.model ?? "", text: node.content.slice(0, 160) || "…" });
    const kind = `spot ${node.role}${bright ? " shown" : ""}${node.rejected ? " rejected" : ""}`;
    const spot = svg("g", { class: kind, tabindex: 0, role: "button", "aria-label": label, "aria-pressed": bright, "data-id": node.id }, shape(node.role, centre(place)));
    const choose = () => this.onChoose(node.id);
    spot.addEventListener("click", choose);
    spot.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    for (const event of ["pointerenter", "focus"]) spot.addEventListener(event, () => (this.excerpt.textContent = label));
    return spot;
  }
}

/** Column and row of each message: leaves stand side by side, and a parent over the middle of its children. */
function layOut(conversation) {
  const places = new Map();
  const order = [];
  const pending = conversation.nodes[ROOT].children.map((id) => [id, 0]).reverse();
  while (pending.length) {
    const [id, y] = pending.pop();
    order.push([id, y]);
    for (const child of [...conversation.nodes[id].children].reverse()) pending.push([child, y + 1]);
  }
  let column = 0;
  const leaf = new Map();
  for (const [id] of order) if (!conversation.nodes[id].children.length) leaf.set(id, column++);
  for (const [id, y] of [...order].reverse()) {
    const below = conversation.nodes[id].children.map((child) => places.get(child).x);
    places.set(id, { x: below.length ? (below[0] + below.at(-1)) / 2 : leaf.get(id), y });
  }
  return new Map(order.map(([id]) => [id, places.get(id)])); // top first, as Tab goes through them
}

const centre = ({ x, y }) => [x * COLUMN + EDGE, y * ROW + EDGE];

function shape(role, [x, y]) {
  const halo = svg("circle", { class: "halo", cx: x, cy: y, r: SIZE + 5 });
  const form = role === "user" ? svg("rect", { x: x - SIZE + 1, y: y - SIZE + 1, width: 2 * SIZE - 2, height: 2 * SIZE - 2, rx: 4 }) : svg("circle", { cx: x, cy: y, r: SIZE });
  const group = svg("g", {}, halo, form);
  return group;
}

function edge(above, below, bright) {
  const [x1, y1] = centre(above);
  const [x2, y2] = centre(below);
  return svg("path", { class: bright ? "edge shown" : "edge", d: `M${x1} ${y1 + SIZE}C${x1} ${y1 + ROW * 0.6} ${x2} ${y2 - ROW * 0.6} ${x2} ${y2 - SIZE}` });
}

function sample(kind) {
  return svg("svg", { width: 18, height: 18, viewBox: "0 0 18 18", "aria-hidden": "true" }, svg("g", { class: `spot ${kind}` }, shape(kind.split(" ")[0], [9, 9])));
}
