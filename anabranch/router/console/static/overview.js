// The list of graphs.

import { sparkline } from "./charts.js";
import { h } from "./dom.js";
import { duration, NONE, percent, percents, rate } from "./format.js";
import { badge, MOST_POINTS, nothing, table } from "./parts.js";

const lately = ({ numbers }) => numbers ?? {};

const columns = (histories) => [
  ["Graph", ({ graph }) => h("a", { href: `#/graphs/${encodeURIComponent(graph)}` }, graph)],
  ["State", ({ state }) => badge(state)],
  ["Stable", ({ live }) => (live === null ? NONE : `r${live}`)],
  ["Requests", (row) => rate(lately(row).per_second), "number"],
  ["Last two minutes", ({ graph }) => sparkline(histories.get(graph) ?? [], MOST_POINTS), "spark-cell"],
  ["Failed", (row) => percent(lately(row).error_rate), "number"],
  ["p50", (row) => duration(lately(row).p50), "number"],
  ["p99", (row) => duration(lately(row).p99), "number"],
  ["Rollout", ({ rollout }) => rollout &&
    [badge(rollout.phase), ` r${rollout.revision} at ${percents(rollout.weight)}`]],
];

export function overview(state) {
  const graphs = state.overview?.graphs;
  return [
    h("h1", {}, "Graphs"),
    !graphs
      ? nothing("Waiting for the engine …")
      : graphs.length
        ? table("All graphs, with what they did in the last ten seconds", columns(state.histories), graphs, ({ graph }) => graph)
        : nothing(["No graph is deployed. ", h("code", {}, "anabranch deploy FILE"), " deploys one."]),
  ];
}
