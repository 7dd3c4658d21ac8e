// What the buttons do that change something: each says first what will happen.

import { graphPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { h } from "./dom.js";
import { percents } from "./format.js";

const WARM = "stays up, warm, for its grace period; until then a rollback to it is immediate.";

const candidate = (graph) =>
  Math.max(...graph.arms.map((arm) => arm.revision).filter((number) => number !== graph.live));

const shareOf = (graph, revision) =>
  percents(graph.arms.find((arm) => arm.revision === revision)?.share);

export const promote = (graph) => promoted(graph, candidate(graph));
export const finish = (graph) => promoted(graph, graph.rollout.revision);

function promoted(graph, revision) {
  return confirmed({
    title: `Promote r${revision} of ${graph.graph}?`,
    confirm: `Promote r${revision}`,
    content: h("p", {}, `r${revision} gets all of the traffic; it has ${shareOf(graph, revision)} now. r${graph.live} ${WARM}`),
    send: () => ["POST", `${graphPath(graph.graph)}/promote`, { revision }],
  });
}

const over = (graph, path, revision) =>
  confirmed({
    title: `Abort r${revision} of ${graph.graph}?`,
    confirm: `Abort r${revision}`,
    kind: "danger",
    content: h("p", {}, `All traffic goes to r${graph.live} at once. r${revision}, which has ${shareOf(graph, revision)} now, ${WARM}`),
    send: () => ["POST", `${graphPath(graph.graph)}${path}`],
  });

export const abort = (graph) => over(graph, "/abort", candidate(graph));
export const giveUp = (graph) => over(graph, "/rollout/abort", graph.rollout.revision);

export const pause = (graph) =>
  confirmed({
    title: `Pause the rollout of ${graph.graph}?`,
    confirm: "Pause",
    content: h("p", {}, `r${graph.rollout.revision} keeps its ${percents(graph.rollout.weight)} until the rollout is resumed. Looks at the metrics go on, and may still abort it.`),
    send: () => ["POST", `${graphPath(graph.graph)}/rollout/pause`],
  });

export const resume = (graph) =>
  confirmed({
    title: `Resume the rollout of ${graph.graph}?`,
    confirm: "Resume",
    content: h("p", {}, `r${graph.rollout.revision} goes on from step ${graph.rollout.step} of ${graph.rollout.steps.length}.`),
    send: () => ["POST", `${graphPath(graph.graph)}/rollout/resume`],
  });

export const approve = (graph) =>
  confirmed({
    title: `Approve the rollout of ${graph.graph}?`,
    confirm: "Approve",
    content: h("p", {}, `r${graph.rollout.revision} goes on from step ${graph.rollout.step} of ${graph.rollout.steps.length}. The log of events keeps that you have approved it.`),
    send: () => ["POST", `${graphPath(graph.graph)}/rollout/approve`],
  });

export function traffic(graph) {
  const up = graph.revisions.filter(({ state }) => ["live", "ready", "warm"].includes(state));
  return confirmed({
    title: `Traffic of ${graph.graph}`,
    confirm: "Set weights",
    content: [
      h("p", {}, "Weights are relative: 90 and 10 give the second a tenth of the requests. They are in force within milliseconds, and restart nothing."),
      up.map(({ revision, state }) =>
        h("label", { class: "row" }, `r${revision} (${state}) `,
          h("input", { name: revision, type: "number", min: 0, step: "any", required: true,
            "data-value": graph.arms.find((arm) => arm.revision === revision)?.weight ?? 0 }))),
    ],
    send: (data) => ["PUT", `${graphPath(graph.graph)}/traffic`, { weights: weights(data) }],
  });
}

// Those above 0, and 0 for none: a revision that is left out gets nothing.
const weights = (data) =>
  Object.fromEntries([...data].map(([name, text]) => [name, Number(text)]).filter(([, weight]) => weight > 0));

export function rollback(graph, { revision }) {
  const known = graph.revisions.filter((one) => one.live_at && one.revision !== graph.live);
  return confirmed({
    title: `Roll ${graph.graph} back?`,
    confirm: "Roll back",
    kind: "danger",
    content: [
      h("p", {}, `All traffic goes to the revision below: at once where it is warm, else once it is up again. r${graph.live} ${WARM}`),
      h("label", {}, "Revision ",
        h("select", { name: "to", "data-value": revision ?? known[0].revision },
          known.map((one) => h("option", { value: one.revision }, `r${one.revision} (${one.state})`)))),
    ],
    send: (data) => ["POST", `${graphPath(graph.graph)}/rollback`, { to: Number(data.get("to")) }],
  });
}
