// What the page shows but events do not bring: plans, differences, examples, replies and traces.

import { graphPath, read } from "./api.js";
import { example, follow, newTrace, send } from "./requests.js";
import { pair } from "./revisions.js";
import { isAlive, state } from "./state.js";
import { drawnRevision } from "./traffic.js";

const RETRY_MS = 2000;

export function fetchMissing(render, say) {
  const { page, route } = state;
  if (!page.graph || !isAlive()) return;
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
    say(error instanceof SyntaxError ? `The request is not JSON: ${error.message}` : "The engine does not answer.");
  }
  page.play.busy = false;
  render();
}
