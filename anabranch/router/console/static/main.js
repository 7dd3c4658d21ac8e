// The console: from events, clicks and the address to its state.

import * as actions from "./actions.js";
import { logIn, logOut } from "./api.js";
import { timeAt, timeBeside } from "./chart.js";
import { signIn } from "./dialogs.js";
import { Feed } from "./feed.js";
import { copyCurl, fill, play } from "./loads.js";
import { render, say } from "./page.js";
import { newPage, state, tick } from "./state.js";

const main = document.getElementById("main");

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

// A link that carries a code: begin a session with it, and take it out of the address at once.
async function signInByLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", "#/");
  try {
    await logIn({ code });
    say("Logged in.");
  } catch (error) {
    say(error.message);
  }
}

// The page follows the address: #/ and #/graphs/<graph>/<tab>.
async function routed() {
  if (location.hash.startsWith("#code=")) {
    await signInByLink();
    asSomebodyElse();
  }
  if (location.hash && !location.hash.startsWith("#/")) return;
  const [, graph = "", tab = ""] = location.hash.slice(2).split("/").map(decoded);
  const isNew = graph !== state.route.graph;
  state.route = { graph, tab };
  state.cursor = null;
  if (isNew) {
    state.page = newPage();
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
    feed.follow(graph);
  }
  document.title = graph ? `${graph} · anabranch` : "anabranch";
  render();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// What is shown and allowed is another's from now on.
function asSomebodyElse() {
  const { graph } = state.route;
  state.me = undefined;
  state.overview = undefined;
  state.page = newPage();
  feed.follow(graph);
}

const COMMANDS = {
  signIn: async () => (await signIn()) && asSomebodyElse(),
  signOut: async () => {
    await logOut().catch((error) => say(error.message));
    asSomebodyElse();
  },
  send: () => play(render, say, null),
  explain: ({ name }) => play(render, say, name),
  example: () => fill(render, say),
  curl: () => copyCurl(render, say),
  node: ({ name }) => choose(name),
  closeNode: () => (state.page.node = null),
  sort: ({ name }) => {
    const { list } = state;
    state.list = { ...list, sort: name, down: list.sort === name ? !list.down : false };
  },
  turn: () => (state.list.down = !state.list.down),
};

const CHANGES = {
  choose: (value) => (state.page.chosen = Number(value)),
  diffFrom: (value) => (state.page.diffFrom = Number(value)),
  diffTo: (value) => (state.page.diffTo = Number(value)),
  playTo: (value) => (state.page.play.to = value),
  minutes: (value) => (state.minutes = Number(value)),
  sortBy: (value) => (state.list.sort = value),
  logNode: (node) => filterLogs({ node }),
  logRevision: (revision) => filterLogs({ revision }),
  logRequest: (request) => filterLogs({ request: request.trim() }),
};

const INPUTS = {
  playText: (value) => (state.page.play.text = value),
  playHeaders: (value) => (state.page.play.headers = value),
  search: (value) => (state.list.search = value),
};

function filterLogs(change) {
  state.page.logs = { filter: { ...state.page.logs.filter, ...change } };
}

// Show more of a node, and lead whoever uses the keyboard there.
function choose(name) {
  state.page.node = name;
  state.page.nodeLogs = {};
  render();
  requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById("node-title")?.focus()));
}

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
  const { input } = event.target.dataset;
  if (input) {
    INPUTS[input](event.target.value);
    render();
  }
});
for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);

// The time that is pointed at, in all charts; it stays while a chart has the focus.
function point(event) {
  const found = event.target.closest?.("[data-chart]");
  const cursor = found ? timeAt(found, event.clientX) : document.activeElement?.closest?.("[data-chart]") ? state.cursor : null;
  if (cursor !== state.cursor) {
    state.cursor = cursor;
    render();
  }
}
document.addEventListener("keydown", (event) => {
  const found = event.target.closest?.("g[data-action]");
  if (found && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    act(found.dataset.action, found.dataset);
  }
  const chart = event.target.closest?.("[data-chart]");
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
  if (chart && step) {
    event.preventDefault();
    state.cursor = timeBeside(chart, state.cursor, step);
    render();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("visibilitychange", () => (document.hidden ? feed.stop() : feed.restart()));
addEventListener("hashchange", routed);
addEventListener("storage", asSomebodyElse); // another tab has logged in or out
matchMedia("(max-width: 700px)").addEventListener("change", render);

setInterval(() => {
  tick();
  render();
}, 1000);

addEventListener("resize", render);

feed.restart();
routed();
