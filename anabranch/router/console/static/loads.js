// What the page shows but events do not bring: plans, differences, examples, replies and traces.

import { graphPath, isLoggedIn, read, readClosed } from "./api.js";
import { isOutdated, told, toldRates } from "./past.js";
import { asCurl, example, follow, newTrace, send } from "./requests.js";
import { pair } from "./revisions.js";
import { isAlive, state } from "./state.js";
import { drawnRevision } from "./traffic.js";

const RETRY_MS = 2000;

const REPLICAS_MS = 5000;
const LOGS_MS = 2000;
const MOST_LINES = 500;
const NODE_LINES = 20;

export function fetchMissing(render, say) {
  const { page, route } = state;
  if (!isAlive()) return;
  if (state.links === undefined) timely(render, state, "links", RETRY_MS, async () => (state.links = await read("/links")));
  if (!route.graph && isOutdated(state.rates, state.now.getTime())) {
    timely(render, state, "rates", REPLICAS_MS, async () => (state.rates = toldRates(await read("/history"))));
  }
  if (!route.graph) {
    timely(render, state, "nodes", REPLICAS_MS, async () => {
      state.nodes = await read("/nodes").catch(() => ({ nodes: [], waiting: [] }));
    });
  }
  if (!isLoggedIn()) state.me = undefined;
  else if (state.me === undefined) timely(render, state, "me", RETRY_MS, async () => (state.me = await read("/access/me")));
  if (!page.graph) return;
  if (isLoggedIn() && page.allowed === undefined) {
    timely(render, page, "allowed", RETRY_MS, async () => (page.allowed = (await read(`/access/me?graph=${encodeURIComponent(route.graph)}`)).actions));
  }
  past(render);
  if (route.tab === "replicas" || page.node) {
    timely(render, page, "replicas", REPLICAS_MS, async () => {
      const found = await read(`${graphPath(route.graph)}/replicas`).catch((error) => ({ error: error.message }));
      page.replicas = { found: found.replicas ?? [], error: found.error };
    });
  }
  logs(render);
  const below = `${graphPath(route.graph)}/revisions`;
  for (const revision of [drawnRevision(state), Number(page.play.to) || undefined]) {
    if (revision !== undefined) once(render, page.plans, revision, () => read(`${below}/${revision}/plan`));
  }
  if (route.tab === "revisions" && page.graph.revisions.length > 1) {
    const { from, to } = pair(page);
    once(render, page.diffs, `${from} ${to}`, () => read(`${below}/${to}/diff?from=${from}`));
  }
  if (route.tab === "playground" && page.play.text === null && page.graph.live !== null) fill(render, say);
}

// The past of the graph where it is missing, and the looks of its rollout after each.
function past(render) {
  const { page, route } = state;
  const path = `${graphPath(route.graph)}/history`;
  if (isOutdated(page.past, state.now.getTime())) {
    return timely(render, page, "past", REPLICAS_MS, async () => (page.past = told(await read(path))));
  }
  const { revision, step, next_look: next, phase } = page.graph.rollout ?? {};
  const key = [revision, step, next, phase].join(" ");
  if (revision === undefined || page.looked === key) return;
  timely(render, page, "looks", 1000, async () => {
    page.past.looks = told(await read(`${path}?points=0`)).looks;
    page.looked = key;
  });
}

// Log lines: those of the tab as they come, and the last ones of the chosen node.
function logs(render) {
  const { page, route } = state;
  if (!isLoggedIn()) return;
  if (route.tab === "logs") timely(render, page.logs, "lines", LOGS_MS, () => nextLines(route.graph, page.logs));
  if (route.tab === "" && page.node) {
    const { nodeLogs } = page;
    const filter = { node: page.node, revision: drawnRevision(state), request: "" };
    timely(render, nodeLogs, "lines", REPLICAS_MS, async () => {
      nodeLogs.lines = (await readLines(route.graph, filter, { tail: NODE_LINES })).lines;
    });
  }
}

async function nextLines(graph, logs) {
  const more = logs.cursor === undefined ? { tail: MOST_LINES } : { after: logs.cursor };
  const found = await readLines(graph, logs.filter, more);
  logs.lines = [...(logs.lines ?? []), ...found.lines].slice(-MOST_LINES);
  logs.cursor = found.cursor;
}

function readLines(graph, { node, revision, request }, more) {
  const query = new URLSearchParams({ ...more, ...(node && { node }), ...(revision && { revision }), ...(request && { request_id: request }) });
  return readClosed(`${graphPath(graph)}/logs?${query}`);
}

// Load what is of `owner` again and again, with a pause; what goes wrong is in its `error`.
const loading = new WeakMap();
async function timely(render, owner, name, pause, load) {
  if (!loading.has(owner)) loading.set(owner, new Map());
  const due = loading.get(owner);
  if ((due.get(name) ?? 0) > Date.now()) return;
  due.set(name, Infinity);
  try {
    await load();
    delete owner.error;
  } catch (error) {
    owner.error = error.message;
  }
  due.set(name, Date.now() + pause);
  render();
}

const asked = new WeakMap();
async function once(render, kept, key, load) {
  if (!asked.has(kept)) asked.set(kept, new Set());
  if (key in kept || asked.get(kept).has(key)) return;
  asked.get(kept).add(key);
  try {
    kept[key] = await load();
  } catch (error) {
    if (error.status) kept[key] = { error: error.message };
    else setTimeout(() => asked.get(kept).delete(key), RETRY_MS);
  }
  render();
}

// Fill the playground in with a request that fits.
export async function fill(render, say) {
  const { page } = state;
  page.play.text = "";
  const revision = page.play.to || page.graph.live;
  try {
    Object.assign(page.play, await example(state.route.graph, revision));
  } catch (error) {
    say(error.message);
  }
  render();
}

// Send what stands in the playground, and follow its trace.
export async function play(render, say, explainer) {
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
    say(error instanceof SyntaxError ? error.message : "The engine does not answer.");
  }
  page.play.busy = false;
  render();
}

// Copy what stands in the playground as a command; where the browser does not let us, show it.
export async function copyCurl(render, say) {
  const { page, route } = state;
  try {
    const command = asCurl(route.graph, page.play);
    page.play.curl = command;
    await navigator.clipboard.writeText(command);
    say("Copied.");
  } catch (error) {
    say(error instanceof SyntaxError ? error.message : "The browser does not let the page copy: the command stands below.");
  }
  render();
}
