// The list of graphs.

import { sparkline } from "./charts.js";
import { h } from "./dom.js";
import { duration, NONE, percent, percents, rate } from "./format.js";
import { machines } from "./machines.js";
import { badge, button, nothing, table } from "./parts.js";

const SPARKS = 120; // ten minutes
const lately = ({ numbers }) => numbers ?? {};

// Title, cell, class, and what the list is sorted by.
const columns = (rates) => [
  ["Graph", ({ graph }) => h("a", { href: `#/graphs/${encodeURIComponent(graph)}` }, graph), "", ({ graph }) => graph],
  ["State", (row) => [badge(row.state), unfollowed(row)], "", ({ state }) => state],
  ["Stable", ({ live }) => (live === null ? NONE : `r${live}`), "", ({ live }) => live],
  ["Requests", (row) => rate(lately(row).per_second), "number", (row) => lately(row).per_second],
  ["Last ten minutes", ({ graph }) => sparkline((rates?.graphs[graph] ?? []).slice(-SPARKS), SPARKS), "spark-cell"],
  ["Failed", (row) => percent(lately(row).error_rate), "number", (row) => lately(row).error_rate],
  ["p50", (row) => duration(lately(row).p50), "number spare", (row) => lately(row).p50],
  ["p99", (row) => duration(lately(row).p99), "number", (row) => lately(row).p99],
  ["Drift", ({ drifting }) => drift(drifting), "", ({ drifting }) => drifting?.length],
  ["Rollout", ({ rollout }) => rollout && h("span", { class: "together" },
    badge(rollout.phase), ` r${rollout.revision} at ${percents(rollout.weight)}`), "", ({ rollout }) => rollout?.phase],
];

// Whether some watched model of a graph cannot be followed; its page says which, and why.
const unfollowed = ({ unfollowed: models }) => models?.length > 0 && [" ", badge("unfollowed")];

// The monitors that tell of drift; nothing of graphs without monitors.
const drift = (names) =>
  names && (names.length ? h("span", {}, badge("drift"), ` ${names.join(", ")}`) : badge("ok"));

export function overview(state) {
  const graphs = state.overview?.graphs;
  return [
    h("h1", {}, "Graphs"),
    !graphs
      ? nothing("Waiting for the engine …")
      : graphs.length
        ? list(state, graphs)
        : nothing(["No graph is deployed. ", h("code", {}, "anabranch deploy FILE"), " deploys one."]),
    machines(state),
  ];
}

function list({ list: wanted, rates }, graphs) {
  const all = columns(rates);
  const found = graphs.filter(({ graph }) => graph.toLowerCase().includes(wanted.search.trim().toLowerCase()));
  return [
    h("div", { class: "bar-of-controls" },
      h("label", {}, "Search ",
        h("input", { type: "search", "data-input": "search", "data-value": wanted.search, placeholder: "name of a graph" })),
      h("label", { class: "narrow" }, "Sort by ",
        h("select", { "data-change": "sortBy", "data-value": wanted.sort }, all.filter(([, , , key]) => key).map(([title]) =>
          h("option", { value: title }, title)))),
      button("turn", wanted.down ? "Descending" : "Ascending", {}, "narrow"),
      h("span", { class: "fact", role: "status" }, found.length === graphs.length ? "" : `${found.length} of ${graphs.length}`)),
    found.length
      ? table("All graphs, with what they did in the last ten seconds", heads(all, wanted), sorted(found, all, wanted), ({ graph }) => graph)
      : nothing("No graph has such a name."),
  ];
}

const heads = (all, { sort, down }) =>
  all.map(([title, cell, kind, key]) =>
    [title, cell, kind, key && { sort: title === sort ? (down ? "descending" : "ascending") : null }]);

// What is not known comes last, either way.
function sorted(graphs, all, { sort, down }) {
  const [, , , key] = all.find(([title]) => title === sort);
  const known = (row) => key(row) ?? null;
  return graphs.toSorted((one, other) => {
    const [a, b] = [known(one), known(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "string" ? a.localeCompare(b) : a - b;
    return down ? -order : order;
  });
}
