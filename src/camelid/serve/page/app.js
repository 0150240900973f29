// The page: puts its parts together and redraws them when something has changed.
import { isRunning, stop } from "./answer.js";
import { getInfo, hasKey, setKey } from "./api.js";
import { BranchMap } from "./branches.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { askKey, showExport, showShortcuts } from "./dialogs.js";
import { el, icon, mark } from "./dom.js";
import { Drawer } from "./drawer.js";
import { VOTES } from "./duel.js";
import { faultWords } from "./faults.js";
import { Header, preferences, showTheme } from "./header.js";
import { isComposing, isTyping } from "./keys.js";
import { applyLanguage, t } from "./language.js";
import { closePanel, isDialogOpen, togglePanel } from "./panels.js";
import { keep, settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import * as store from "./store.js";
import { Thread } from "./thread.js";
import { shownPath } from "./tree.js";
import { Welcome } from "./welcome.js";

const at = (id) => document.getElementById(id);
const NARROW = matchMedia("(max-width: 820px)");
const LONGEST_SPOKEN = 1500; // characters of an answer that are read out when it is complete

let info = null;
let drawing = false;
const chat = new Chat(changed);
const header = new Header(at("bar"), {
  toggleSidebar: () => setSidebar(document.body.classList.contains("no-sidebar")),
  toggleDrawer: (opener) => togglePanel(at("drawer"), opener),
  toggleBranches: (opener) => {
    togglePanel(at("branches"), opener);
    drawMap();
  },
  showExport: () => showExport({ conversation: chat.current, all: chat.conversations, votesFile: info?.votes_file, tell }),
  changed: settingsChanged,
});
const actions = {
  again: (node) => chat.again(node),
  edit: (node, text) => send(() => chat.edit(node, text)),
  retry: (node) => chat.retry(node),
  show: (id) => chat.show(id),
  vote: (question, vote) => chat.vote(question, vote),
  open: (conversation) => leaveFor(() => chat.open(conversation)),
  remove: (conversation) => chat.remove(conversation),
  rename: (conversation, title) => chat.rename(conversation, title),
};
const thread = new Thread({ scroller: at("scroller"), list: at("list"), actions });
const sidebar = makeSidebar();
const drawer = new Drawer(at("drawer"), { onSystem: setSystem, onForget: forgetKey });
const map = new BranchMap(at("branches"), (id) => chat.show(id));
const composer = new Composer(at("composer"), {
  onSend: (text) => send(() => chat.say(text)),
  onStop: () => stop(),
  onEditLast: () => thread.editLast(),
  onSystem: () => at("drawer").hidden && togglePanel(at("drawer"), at("open-drawer")),
});
const welcome = new Welcome(at("welcome"), (text) => send(() => chat.say(text)));

function makeSidebar() {
  const root = at("sidebar");
  const list = el("div", { class: "conversations" });
  const begin = el("button", { type: "button", class: "new-chat", on: { click: () => leaveFor(() => chat.begin()) } }, icon("plus"), el("span", { word: "newChat" }));
  root.append(el("div", { class: "brand" }, mark(), el("span", {}, "Camelid")), begin, list, el("div", { class: "preferences" }, ...preferences(showShortcuts)));
  return new Sidebar(list, actions);
}

/** Something in a conversation has changed; drawn at most once a frame. */
function changed(conversation, reason, node) {
  if (reason === "done") announce(node);
  if (reason === "list") sidebar.update(chat.conversations, chat.current);
  if (conversation !== chat.current && reason !== "list") return;
  if (drawing) return;
  drawing = true;
  requestFrame(() => {
    drawing = false;
    draw();
  });
}

/** A frame comes only while the page can be seen; a timer comes always. */
function requestFrame(step) {
  if (document.hidden) setTimeout(step, 100);
  else requestAnimationFrame(step);
}

function draw() {
  const conversation = chat.current;
  const path = shownPath(conversation);
  thread.render(conversation);
  welcome.update(path.length === 0, settings.compare);
  const duel = chat.openDuel();
  const running = Object.values(conversation.nodes).some((node) => isRunning(node.id));
  const usage = path.findLast((node) => node.usage)?.usage;
  composer.update({ running, blocked: duel !== null, begun: path.length > 0, system: conversation.system.trim() !== "", usage, most: info?.context ?? 0 });
  document.body.classList.toggle("wide-thread", path.length > 0 && path.at(-1).role === "assistant" && Boolean(conversation.nodes[path.at(-1).parent].duel));
  drawMap();
}

function drawMap() {
  if (!at("branches").hidden) map.draw(chat.current);
}

function send(act) {
  act();
  draw();
  thread.toBottom();
  at("ask").focus();
}

/** Go to another conversation; on a phone the list makes way. */
function leaveFor(act) {
  if (NARROW.matches) setSidebar(false);
  act();
  draw();
  drawer.update({ system: chat.current.system, info });
  thread.toBottom();
  if (!NARROW.matches) at("ask").focus();
}

function setSystem(text) {
  chat.setSystem(text);
  keep({ system: text });
  draw();
}

function settingsChanged() {
  drawer.update({ system: chat.current.system, info });
  draw();
}

function setSidebar(shown) {
  document.body.classList.toggle("no-sidebar", !shown);
  at("open-list").setAttribute("aria-expanded", String(shown));
  at("scrim").hidden = !(shown && NARROW.matches);
  at("sidebar").inert = !shown;
  if (!NARROW.matches) keep({ sidebar: shown });
}

function tell(word, args) {
  const note = el("p", { word, args });
  at("toast").replaceChildren(note);
  setTimeout(() => note.remove(), 5000);
}

/** Screen readers hear an answer once, when it is complete. */
function announce(node) {
  const fault = node.fault ? t(...faultWords(node.fault)) : "";
  const text = fault || node.content.slice(0, LONGEST_SPOKEN) || t("emptyAnswer");
  const name = settings.compare && settings.blind ? "" : node.model;
  const spoken = el("p", {}, name ? t("says", { name, text }) : text);
  // Two answers of a comparison are both heard; older ones go.
  at("announcer").append(spoken);
  while (at("announcer").children.length > 2) at("announcer").firstChild.remove();
}

function forgetKey() {
  setKey("");
  info = null;
  closePanel();
  connect();
}

async function connect() {
  try {
    welcomeServer(await getInfo());
  } catch (fault) {
    if (fault.status === 401) askKey(welcomeServer);
    else tell(...faultWords(fault));
    header.setModels([]);
  }
}

function welcomeServer(answer) {
  info = answer;
  header.setModels(info.models ?? []);
  drawer.update({ system: chat.current.system, info });
  draw();
}

function onKey(event) {
  if (isComposing(event) || event.defaultPrevented || isDialogOpen()) return;
  if (event.key === "Escape") {
    if (isRunning()) stop();
    else if (!closePanel() && NARROW.matches) setSidebar(false);
  } else if (event.altKey && /^Digit[1-4]$/.test(event.code)) voteByKey(event);
  else if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "/") {
    event.preventDefault();
    at("ask").focus();
  } else if (event.key === "?") {
    event.preventDefault();
    showShortcuts();
  }
}

function voteByKey(event) {
  const duel = chat.openDuel();
  if (!duel) return;
  event.preventDefault();
  chat.vote(duel, VOTES[Number(event.code.at(-1)) - 1]);
}

async function start() {
  showTheme();
  setSidebar(NARROW.matches ? false : settings.sidebar);
  header.update();
  applyLanguage();
  document.addEventListener("keydown", onKey);
  at("scrim").addEventListener("click", () => setSidebar(false));
  NARROW.addEventListener("change", () => setSidebar(NARROW.matches ? false : settings.sidebar));
  await store.openStore();
  if (!store.isKept()) tell("notStored");
  await chat.load();
  sidebar.update(chat.conversations, chat.current);
  draw();
  if (!NARROW.matches) at("ask").focus();
  await connect();
  document.documentElement.dataset.ready = hasKey() ? "key" : "open";
}

start();
