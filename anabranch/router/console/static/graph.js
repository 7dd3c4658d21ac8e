// The page of one graph: its head, and what all of its tabs share.

import { at, modelPath } from "./api.js";
import { sparkline } from "./charts.js";
import { h } from "./dom.js";
import { duration, percent, rate, short } from "./format.js";
import { badge, nothing } from "./parts.js";
import { logs } from "./logs.js";
import { playground } from "./playground.js";
import { replicas } from "./replicas.js";
import { revisions } from "./revisions.js";
import { rollout } from "./rollout.js";
import { traffic } from "./traffic.js";

export const TABS = {
  "": ["Graph", traffic],
  rollout: ["Rollout", rollout],
  revisions: ["Revisions", revisions],
  replicas: ["Replicas", replicas],
  logs: ["Logs", logs],
  playground: ["Playground", playground],
};

const TILES = [
  ["Requests", "per_second", rate],
  ["Failed", "error_rate", percent],
  ["p50", "p50", duration],
  ["p99", "p99", duration],
  ["In flight", "in_flight", short],
];

export function graphPage(state) {
  const { graph: name, tab } = state.route;
  const page = state.page;
  const shown = page.graph;
  return [
    h("nav", { class: "crumbs", "aria-label": "Where you are" },
      h("a", { href: "#/" }, "Graphs"), h("span", { "aria-hidden": "true" }, "/"), h("span", {}, name)),
    h("div", { class: "title" },
      h("h1", {}, name),
      shown && badge(shown.state),
      shown && shown.live !== null && h("span", { class: "fact" }, `r${shown.live} is stable`),
      shown && shown.live !== null && h("a", { class: "outward", href: at(`${modelPath(name)}/docs`).href }, "API")),
    shown === null
      ? nothing("There is no graph of this name, or not any more.")
      : shown === undefined
        ? nothing("Waiting for the engine …")
        : [tiles(page), tabs(name, tab), (TABS[tab] ?? TABS[""])[1](state)],
  ];
}

const SPARKS = 1440; // two hours

function tiles({ numbers, past }) {
  const now = numbers?.requests ?? {};
  return h("dl", { class: "tiles" }, TILES.map(([title, field, format]) =>
    h("div", {},
      h("dt", {}, title),
      h("dd", {}, format(now[field])),
      sparkline(past?.total[field] ?? [], SPARKS))));
}

const tabs = (graph, current) =>
  h("nav", { class: "tabs", "aria-label": "Parts of the graph" }, Object.entries(TABS).map(([tab, [title]]) =>
    h("a", { href: `#/graphs/${encodeURIComponent(graph)}${tab && `/${tab}`}`,
      "aria-current": tab === current ? "page" : null }, title)));
