// From the state to what is on the page.

import { isLoggedIn } from "./api.js";
import { h, patch, setValues } from "./dom.js";
import { span, when } from "./format.js";
import { graphPage } from "./graph.js";
import { fetchMissing } from "./loads.js";
import { overview } from "./overview.js";
import { button } from "./parts.js";
import { isAlive, state } from "./state.js";

const [top, banner, main, notice] = ["top", "banner", "main", "notice"].map((id) => document.getElementById(id));
const NOTICE_MS = 6000;

// Bring the page in line with the state, with the next frame.
let due = false;
export function render() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    patch(top, head());
    patch(banner, problem());
    patch(main, state.route.graph ? graphPage(state) : overview(state));
    setValues(main);
    centre();
    fetchMissing(render, say);
  });
}

function head() {
  const alive = isAlive();
  return [
    h("a", { class: "brand", href: "#/" }, "anabranch"),
    h("span", { class: `line ${alive ? "good" : "bad"}` }, alive ? "connected" : state.line.state === "connecting" ? "connecting" : "not connected"),
    link("Ray", state.links?.ray),
    link("Grafana", dashboard(state.links?.grafana, state.route)),
    isLoggedIn() ? [h("span", { class: "who" }, who(state.me)), button("signOut", "Log out")] : button("signIn", "Log in"),
  ];
}

const who = (me) => (!me ? "" : me.name ? `${me.kind} ${me.name}` : `the engine's ${me.kind}`);

// The dashboard of what is shown: of a graph's rollout, of a graph, or of all graphs.
const dashboard = (pages, { graph, tab }) =>
  pages && (graph ? `${pages[tab === "rollout" ? "rollout" : "graph"]}?var-graph=${encodeURIComponent(graph)}` : pages.overview);

const link = (name, url) => url && h("a", { class: "outward", href: url, rel: "noreferrer" }, name);

function problem() {
  const { line, engine, heard, now } = state;
  const from = heard && ` What you see is from ${when(heard)}.`;
  const ticking = (since) => h("span", { "aria-hidden": "true" }, ` for ${span((now - since) / 1000)}`);
  if (line.state === "locked") {
    return h("p", {}, "Reading needs a key here. ", button("signIn", "Log in"));
  }
  if (line.state === "lost") {
    return h("p", {}, h("strong", {}, "The engine has been gone", ticking(line.since)), `: ${line.reason}.`, from, " Trying again.");
  }
  if (line.state === "refused") {
    return h("p", {}, h("strong", {}, "This page is not kept up to date", ticking(line.since)), `: ${line.reason}.`, from);
  }
  if (!engine.answers) {
    return h("p", {}, h("strong", {}, "The controller has been gone", ticking(new Date(engine.since * 1000))), `: ${engine.reason}.`,
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

// Tell what became of something, for a while.
export function say(text) {
  patch(notice, h("p", {}, text));
  clearTimeout(say.timer);
  say.timer = setTimeout(() => patch(notice), NOTICE_MS);
}
