// What the console knows and where it is; views are functions of it.

import { isDue, note, noteRates } from "./past.js";

export const state = {
  route: { graph: "", tab: "" },
  line: { state: "connecting", since: new Date(), reason: "" },
  engine: { answers: true },
  overview: undefined,
  rates: undefined, // of all graphs, see past.js
  links: undefined,
  nodes: undefined, // the machines of the engine; none for who may not see them
  me: undefined, // who is logged in
  list: { search: "", sort: "Graph", down: false },
  minutes: null, // that charts show, once somebody has chosen
  cursor: null, // time that is pointed at in a chart, in milliseconds
  page: newPage(),
  heard: null,
  now: new Date(),
};

// All about the graph whose page is shown.
export function newPage() {
  const play = { to: "", headers: "", curl: "", text: null, source: "", reply: null, trace: null, busy: false };
  const logs = { filter: { node: "", revision: "", request: "" } };
  return { graph: undefined, numbers: null, events: null, monitors: null, past: undefined, plans: {}, diffs: {}, play,
    allowed: undefined, node: null, replicas: undefined, logs, nodeLogs: {} };
}

export const isAlive = () => state.line.state === "open" && state.engine.answers;

// Another second has passed: remember the numbers, where it is time to.
export function tick() {
  const { page, overview } = state;
  state.now = new Date();
  if (!isAlive()) return;
  const now = state.now.getTime();
  if (page.graph && isDue(page.past, now)) note(page.past, now, page.numbers?.requests, page.graph.arms);
  if (overview && isDue(state.rates, now)) noteRates(state.rates, now, overview.graphs);
}
