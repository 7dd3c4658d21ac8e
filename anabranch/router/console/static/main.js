// The console: from events, clicks and the address to its state.

import * as actions from "./actions.js";
import { dropToken } from "./api.js";
import { signIn } from "./dialogs.js";
import { Feed } from "./feed.js";
import { fill, play } from "./loads.js";
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

// The page follows the address: #/ and #/graphs/<graph>/<tab>.
function routed() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const [, graph = "", tab = ""] = location.hash.slice(2).split("/").map(decoded);
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

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const COMMANDS = {
  signIn: async () => (await signIn()) && feed.restart(),
  signOut: () => {
    dropToken();
    feed.restart();
  },
  send: () => play(render, say, null),
  explain: ({ name }) => play(render, say, name),
  example: () => fill(render, say),
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
  tick();
  render();
}, 1000);

feed.restart();
routed();
