// The bar above the conversation: which model answers, comparing, and the ways to everything else.
import { el, icon, iconButton } from "./dom.js";
import { language, onLanguage, setLabel, setLanguage } from "./language.js";
import { keep, settings } from "./settings.js";

const THEMES = ["auto", "light", "dark"];
const THEME_WORDS = { auto: "themeAuto", light: "themeLight", dark: "themeDark" };

export class Header {
  /** `actions`: toggleSidebar, toggleDrawer, toggleBranches, showExport, changed. */
  constructor(root, actions) {
    this.actions = actions;
    this.left = modelSelect("model", (id) => this.change({ modelA: id }));
    this.right = modelSelect("rightModel", (id) => this.change({ modelB: id }));
    this.versus = el("span", { class: "versus", "aria-hidden": "true" }, "·");
    this.blind = toggle("hidden", "blind", "blindHelp", () => this.change({ blind: !settings.blind }));
    this.compare = toggle("compare", "compare", "compareHelp", () => this.change({ compare: !settings.compare }));
    this.drawer = panelButton("sliders", "settings", actions.toggleDrawer, "drawer");
    this.branches = panelButton("branches", "branches", actions.toggleBranches, "branches");
    const menu = iconButton("menu", "openList", actions.toggleSidebar, { id: "open-list", "aria-controls": "sidebar" });
    const save = iconButton("download", "export", actions.showExport, { id: "open-export" });
    const models = el("div", { class: "models" }, this.left, this.versus, this.right, this.blind);
    root.append(menu, models, this.compare, el("span", { class: "grow" }), this.branches, save, this.drawer);
  }

  change(changes) {
    keep(changes);
    this.update();
    this.actions.changed();
  }

  setModels(models) {
    const ids = models.map(({ id }) => id);
    if (!ids.includes(settings.modelA)) keep({ modelA: ids[0] ?? "" });
    // The usual comparison is the tuned model against what it was made from.
    if (!ids.includes(settings.modelB)) keep({ modelB: ids.find((id) => id !== settings.modelA) ?? settings.modelA });
    for (const select of [this.left, this.right]) fillModels(select, models);
    this.update();
  }

  update() {
    const { compare, blind, modelA, modelB } = settings;
    this.left.value = modelA;
    this.right.value = modelB;
    setLabel(this.left, compare ? "leftModel" : "model");
    for (const node of [this.right, this.versus, this.blind]) node.hidden = !compare;
    this.compare.setAttribute("aria-pressed", String(compare));
    this.blind.setAttribute("aria-pressed", String(blind));
    document.body.classList.toggle("comparing", compare);
  }
}

function modelSelect(label, choose) {
  const select = el("select", { class: "model", label });
  select.addEventListener("change", () => choose(select.value));
  return select;
}

function fillModels(select, models) {
  if (!models.length) {
    select.replaceChildren(el("option", { word: "noModels", value: "" }));
    return;
  }
  const option = ({ id, kind }) => el("option", { value: id, data: { kind } }, id);
  select.replaceChildren(...models.map(option));
}

function toggle(picture, word, help, press) {
  const button = el("button", { type: "button", class: "chip", label: help, "aria-pressed": "false", on: { click: press } }, icon(picture), el("span", { class: "wide", word }));
  return button;
}

function panelButton(picture, label, open, controls) {
  const button = iconButton(picture, label, () => open(button), { "aria-expanded": "false", "aria-controls": controls, id: `open-${controls}` });
  return button;
}

/** Language and colours, at the foot of the sidebar. */
export function preferences(showShortcuts) {
  const speak = el("button", { type: "button", class: "chip language", word: "switchLanguage", on: { click: () => setLanguage(language() === "zh" ? "en" : "zh") } });
  const foreign = () => speak.setAttribute("lang", language() === "zh" ? "en" : "zh-CN");
  onLanguage(foreign);
  foreign();
  const colours = iconButton(settings.theme, THEME_WORDS[settings.theme], () => {
    keep({ theme: THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length] });
    showTheme();
    colours.replaceChildren(icon(settings.theme));
    setLabel(colours, THEME_WORDS[settings.theme]);
  }, { class: "quiet theme" });
  return [speak, el("span", { class: "grow" }), iconButton("keyboard", "shortcuts", showShortcuts, { class: "quiet keyboard" }), colours];
}

export function showTheme() {
  const { theme } = settings;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
