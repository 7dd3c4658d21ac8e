// What the console knows and where it is; views are functions of it.

import { MOST_POINTS } from "./parts.js";

export const state = {
  route: { graph: "", tab: "" },
  line: { state: "connecting", since: new Date(), reason: "" },
  engine: { answers: true },
  overview: undefined,
  histories: new Map(), // requests a second of each graph
  page: newPage(),
  heard: null,
  now: new Date(),
};

// All about the graph whose page is shown.
export function newPage() {
  const play = { to: "", text: null, source: "", reply: null, trace: null, busy: false };
  return { graph: undefined, numbers: null, events: null, monitors: null, history: [], plans: {}, diffs: {}, play };
}

export const isAlive = () => state.line.state === "open" && state.engine.answers;

// Remember the numbers of another second, for the small charts.
export function tick() {
  const { page, overview, histories } = state;
  state.now = new Date();
  note(page.history, page.numbers?.requests);
  for (const { graph, numbers } of overview?.graphs ?? []) {
    if (!histories.has(graph)) histories.set(graph, []);
    note(histories.get(graph), numbers?.per_second);
  }
}

function note(history, value) {
  history.push(isAlive() ? (value ?? null) : null);
  history.splice(0, history.length - MOST_POINTS);
}
