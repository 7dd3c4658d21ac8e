// The drawing of a graph with live numbers; its arms, mirrors, nodes and monitors.

import { share } from "./charts.js";
import { h } from "./dom.js";
import { drawing } from "./drawing.js";
import { duration, NONE, percent, percents, rate, short } from "./format.js";
import { nodePanel } from "./node.js";
import { badge, button, nothing, operation, section, table, time } from "./parts.js";
import { trends } from "./trends.js";

export function traffic(state) {
  const { page } = state;
  return [picture(state), panel(state), trends(state), arms(page.graph), mirrors(page.graph), nodes(state), monitors(page.monitors), watches(page.graph.watches)];
}

// The revision whose plan is drawn: what was chosen, or else the stable one.
export function drawnRevision({ page }) {
  const up = revisionsUp(page.graph);
  return up.includes(page.chosen) ? page.chosen : (page.graph.live ?? up[0]);
}

// Those whose numbers may be looked at, the newest first.
export const revisionsUp = (graph) =>
  graph.revisions.map((one) => one.revision).filter((number) =>
    number === graph.live || [...graph.arms, ...graph.mirrors].some((one) => one.revision === number));

export function numbersOf(page, revision) {
  const { nodes = {}, routes = {}, hops = {}, replicas = {} } = page.numbers ?? {};
  const arm = page.graph.arms.find((one) => one.revision === revision);
  return {
    requests: arm?.requests_per_second ?? null,
    nodes: nodes[revision] ?? {},
    routes: routes[revision] ?? {},
    hops: hops[revision] ?? {},
    replicas: replicas[revision] ?? {},
  };
}

function picture(state) {
  const { page, route } = state;
  const revision = drawnRevision(state);
  if (revision === undefined) return section("Drawing", nothing("No revision is up yet."));
  const plan = page.plans[revision];
  const up = revisionsUp(page.graph);
  return section("Drawing",
    h("div", { class: "bar-of-controls" },
      h("label", {}, "Revision ",
        h("select", { "data-change": "choose", "data-value": revision }, up.map((number) =>
          h("option", { value: number }, `r${number}`)))),
      h("span", { class: "legend" }, "Calls a second and median time of each node, over the last ten seconds. A click on a node shows more.")),
    plan === undefined
      ? h("div", { class: "drawing empty" })
      : plan.error
        ? nothing(plan.error)
        : drawing(`${route.graph} r${revision}`, plan, numbersOf(page, revision)));
}

function panel(state) {
  const revision = drawnRevision(state);
  const plan = state.page.plans[revision];
  const name = state.page.node;
  if (!plan?.nodes || !(name in plan.nodes)) return null;
  return nodePanel(state, revision, plan, name, numbersOf(state.page, revision).nodes[name]);
}

const ARMS = [
  ["Revision", (arm) => [`r${arm.revision} `, badge(arm.state)]],
  ["Share", (arm) => [share(arm.share), ` ${percents(arm.share)}`], "share-cell"],
  ["Requests", (arm) => rate(arm.requests_per_second), "number"],
  ["Failed", (arm) => percent(arm.error_rate), "number"],
  ["p50", (arm) => duration(arm.latency.p50), "number"],
  ["p95", (arm) => duration(arm.latency.p95), "number"],
  ["p99", (arm) => duration(arm.latency.p99), "number"],
  ["Reward", (arm) => short(arm.feedback.reward), "number"],
];

const wasLive = (graph) => graph.revisions.some((one) => one.live_at && one.revision !== graph.live);

function arms(graph) {
  const several = graph.arms.length > 1;
  return section("Arms",
    table("Revisions that take part in the traffic", ARMS, graph.arms, (arm) => `r${arm.revision}`),
    h("div", { class: "actions" },
      several && operation("promote", "Promote …"),
      several && operation("abort", "Abort candidate …"),
      operation("traffic", "Set traffic …"),
      wasLive(graph) && operation("rollback", "Roll back …")));
}

const MIRRORS = [
  ["Revision", (mirror) => [`r${mirror.revision} `, badge(mirror.state)]],
  ["Copies", (mirror) => percents(mirror.percent), "number"],
  ["Sent", (mirror) => rate(mirror.sent_per_second), "number"],
  ["Dropped", (mirror) => rate(mirror.dropped_per_second), "number"],
  ["Agreement", (mirror) => percent(mirror.agreement), "number"],
  ["Failed", (mirror) => percent(mirror.error_rate), "number"],
];

const mirrors = (graph) =>
  graph.mirrors.length > 0 &&
  section("Mirrors", table("Revisions that get copies", MIRRORS, graph.mirrors, (mirror) => `r${mirror.revision}`));

const NODES = [
  ["Node", ({ name }) => button("node", name, { "data-name": name }, "plain")],
  ["Type", ({ node }) => node.type],
  ["Segment", ({ node }) => node.segment],
  ["Calls", ({ lately }) => rate(lately?.per_second), "number"],
  ["p50", ({ lately }) => duration(lately?.p50), "number"],
  ["p99", ({ lately }) => duration(lately?.p99), "number"],
  ["Failed", ({ lately }) => (lately ? rate(lately.failed_per_second ?? 0) : NONE), "number"],
  ["Waits p99", ({ lately }) => duration(lately?.queue_p99), "number"],
];

function nodes(state) {
  const revision = drawnRevision(state);
  const plan = state.page.plans[revision];
  if (!plan?.nodes) return null;
  const found = numbersOf(state.page, revision).nodes;
  const rows = Object.entries(plan.nodes).map(([name, node]) => ({ name, node, lately: found[name] }));
  return section("Nodes", table(`Nodes of revision ${revision}`, NODES, rows, ({ name }) => name));
}

const MONITORS = [
  ["Monitor", (one) => [`${one.monitor} `, badge(one.state)]],
  ["Revision", (one) => `r${one.revision}`],
  ["Method", (one) => one.method],
  ["Score", (one) => short(one.score), "number"],
  ["Rows", (one) => one.rows, "number"],
  ["Outliers", (one) => percent(one.outlier_share), "number"],
  ["Furthest features", (one) => one.error || furthest(one.features), "wide"],
];
const MOST_FEATURES = 4;

const furthest = (features) =>
  features.slice(0, MOST_FEATURES).map(({ name, score }) => `${name} ${short(score)}`).join(", ");

const monitors = (found) =>
  found?.length > 0 &&
  section("Monitors",
    h("p", { class: "legend" }, "A score above 1 is drift."),
    table("What watches the data", MONITORS, found, (one) => `${one.revision} ${one.monitor}`));

const WATCHES = [
  ["Model", (one) => one.model],
  ["Nodes", (one) => one.nodes.join(", ")],
  ["Stable has", (one) => version(one.pin)],
  ["Found", (one) => version(one.found)],
  ["Looked", (one) => (one.looked_at ? time(new Date(one.looked_at)) : NONE)],
  ["Trouble", (one) => one.trouble && [badge("unfollowed"), ` ${one.trouble}, since `, time(new Date(one.since))], "wide"],
];
const SHOWN = 12; // digits of a mark or digest, which stand behind a colon

// A version of a registry comes last in its pin: models:/name/3.
const version = (pin) => (pin ? pin.split("/").at(-1).split(":").at(-1).slice(0, SHOWN) : NONE);

const watches = (found) =>
  found?.length > 0 &&
  section("Watched models", table("Models that the graph follows", WATCHES, found, (one) => one.model));
