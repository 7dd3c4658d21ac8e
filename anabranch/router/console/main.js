// The console: its state, the way from events and clicks to it, and from it to the page.

import * as actions from "./actions.js";
import { dropToken, graphPath, read, token } from "./api.js";
import { signIn } from "./dialogs.js";
import { h, patch, setValues } from "./dom.js";
import { Feed } from "./feed.js";
import { span, when } from "./format.js";
import { graphPage } from "./graph.js";
import { overview } from "./overview.js";
import { button, MOST_POINTS } from "./parts.js";
import { example, follow, newTrace, send } from "./requests.js";
import { pair } from "./revisions.js";
import { drawnRevision } from "./traffic.js";

const [top, banner, main, notice] = ["top", "banner", "main", "notice"].map((id) => document.getElementById(id));
const state = {
  route: { graph: "", tab: "" },
  line: { state: "connecting", since: new Date(), reason: "" },
  engine: { answers: true },
  overview: undefined,
  histories: new Map(), // requests a second of each graph
  page: newPage(),
  heard: null,
  now: new Date(),
};

function newPage() {
  const play = { to: "", text: null, source: "", reply: null, trace: null, busy: false };
  return { graph: undefined, numbers: null, events: null, monitors: null, history: [], plans: {}, diffs: {}, play };
}

const feed = new Feed(
  (name, document) => {
    if (name === "engine") state.engine = document;
    else if (name === "overview") state.overview = document;
    else state.page[name] = document;
    state.heard = new Date();
    render();
  },
  (line) => {
    state.line = line;
    render();
  },
);

// The page follows the address: #/ and #/graphs/<graph>/<tab>.
function routed() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const [, graph = "", tab = ""] = location.hash.slice(2).split("/").map(decodeURIComponent);
  const isNew = graph !== state.route.graph;
  state.route = { graph, tab };
  if (isNew) {
    state.page = newPage();
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
    feed.follow(graph);
  }
  document.title = graph ? `${graph} · anabranch` : "anabranch";
  render();
}

let due = false;
function render() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    patch(top, head());
    patch(banner, problem());
    patch(main, state.route.graph ? graphPage(state) : overview(state));
    setValues(main);
    centre();
    fetchMissing();
  });
}

const isAlive = () => state.line.state === "open" && state.engine.answers;

function note(history, value) {
  history.push(value);
  history.splice(0, history.length - MOST_POINTS);
}

function head() {
  const alive = isAlive();
  return [
    h("a", { class: "brand", href: "#/" }, "anabranch"),
    h("span", { class: `line ${alive ? "good" : "bad"}` }, alive ? "live" : state.line.state === "connecting" ? "connecting" : "not live"),
    token() ? button("signOut", "Forget token") : button("signIn", "Enter token"),
  ];
}

function problem() {
  const { line, engine, heard, now } = state;
  const from = heard && ` What you see is from ${when(heard)}.`;
  const ticking = (since) => h("span", { "aria-hidden": "true" }, ` for ${span((now - since) / 1000)}`);
  if (line.state === "locked") {
    return h("p", {}, "Reading needs the engine's token here. ", button("signIn", "Enter token"));
  }
  if (line.state === "lost") {
    return h("p", {}, h("strong", {}, "The engine is gone", ticking(line.since)), `: ${line.reason}.`, from, " Trying again.");
  }
  if (line.state === "refused") {
    return h("p", {}, h("strong", {}, "This page is not kept up to date", ticking(line.since)), `: ${line.reason}.`, from);
  }
  if (!engine.answers) {
    return h("p", {}, h("strong", {}, "The controller is gone", ticking(new Date(engine.since * 1000))), `: ${engine.reason}.`,
      " Graphs answer all the same.", from);
  }
  return null;
}

// A drawing that is wider than its place begins in its middle.
const centred = new WeakSet();
function centre() {
  const drawing = main.querySelector(".drawing:has(svg)");
  if (!drawing || centred.has(drawing)) return;
  centred.add(drawing);
  drawing.scrollLeft = (drawing.scrollWidth - drawing.clientWidth) / 2;
}

// What the page shows but events do not bring: plans, differences, an example.
function fetchMissing() {
  const { page, route } = state;
  if (!page.graph) return;
  const below = `${graphPath(route.graph)}/revisions`;
  for (const revision of [drawnRevision(state), Number(page.play.to) || undefined]) {
    if (revision !== undefined) once(page.plans, revision, () => read(`${below}/${revision}/plan`));
  }
  if (route.tab === "revisions" && page.graph.revisions.length > 1) {
    const { from, to } = pair(page);
    once(page.diffs, `${from} ${to}`, () => read(`${below}/${to}/diff?from=${from}`));
  }
  if (route.tab === "playground" && page.play.text === null && page.graph.live !== null) fill(page);
}

const asked = new WeakMap();
async function once(kept, key, load) {
  if (!asked.has(kept)) asked.set(kept, new Set());
  if (key in kept || asked.get(kept).has(key)) return;
  asked.get(kept).add(key);
  try {
    kept[key] = await load();
  } catch (error) {
    asked.get(kept).delete(key);
    if (error.status) kept[key] = { error: error.message };
  }
  render();
}

async function fill(page) {
  page.play.text = "";
  const revision = page.play.to || page.graph.live;
  try {
    Object.assign(page.play, await example(state.route.graph, revision));
  } catch (error) {
    say(error.message);
  }
  render();
}

async function play(explainer) {
  const { page, route } = state;
  const traceId = newTrace();
  Object.assign(page.play, { busy: true, reply: null, trace: null });
  render();
  try {
    page.play.reply = await send(route.graph, page.play, traceId, explainer);
    page.play.trace = { id: traceId, spans: [], over: false };
    follow(traceId, (spans, over) => {
      if (page.play.trace?.id !== traceId) return;
      page.play.trace = { id: traceId, spans, over };
      render();
    });
  } catch (error) {
    say(error instanceof SyntaxError ? `The request is not JSON: ${error.message}` : "The engine does not answer.");
  }
  page.play.busy = false;
  render();
}

function say(text) {
  patch(notice, h("p", {}, text));
  clearTimeout(say.timer);
  say.timer = setTimeout(() => patch(notice), 8000);
}

const COMMANDS = {
  signIn: async () => (await signIn()) && feed.restart(),
  signOut: () => {
    dropToken();
    feed.restart();
  },
  send: () => play(null),
  explain: ({ name }) => play(name),
  example: () => fill(state.page),
};

const CHANGES = {
  choose: (value) => (state.page.chosen = Number(value)),
  diffFrom: (value) => (state.page.diffFrom = Number(value)),
  diffTo: (value) => (state.page.diffTo = Number(value)),
  playTo: (value) => (state.page.play.to = value),
};

async function act(name, fields) {
  if (COMMANDS[name]) await COMMANDS[name](fields);
  else {
    const answer = await actions[name](state.page.graph, fields);
    if (answer) say(answer.routers ? `Done: ${answer.routers.confirmed} of ${answer.routers.known} routers have confirmed it.` : "Done.");
  }
  render();
}

document.addEventListener("click", (event) => {
  const found = event.target.closest("[data-action]");
  if (found && !found.disabled) act(found.dataset.action, found.dataset);
});
document.addEventListener("change", (event) => {
  const { change } = event.target.dataset;
  if (change) {
    CHANGES[change](event.target.value);
    render();
  }
});
document.addEventListener("input", (event) => {
  if (event.target.dataset.input === "playText") state.page.play.text = event.target.value;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("visibilitychange", () => (document.hidden ? feed.stop() : feed.restart()));
addEventListener("hashchange", routed);
matchMedia("(max-width: 700px)").addEventListener("change", render);

setInterval(() => {
  state.now = new Date();
  const alive = isAlive();
  note(state.page.history, alive ? (state.page.numbers?.requests ?? null) : null);
  for (const { graph, numbers } of state.overview?.graphs ?? []) {
    if (!state.histories.has(graph)) state.histories.set(graph, []);
    note(state.histories.get(graph), alive ? (numbers?.per_second ?? null) : null);
  }
  render();
}, 1000);

feed.restart();
routed();
