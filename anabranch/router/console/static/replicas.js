// The replicas of a graph: where each runs, and how it is.

import { h } from "./dom.js";
import { NONE } from "./format.js";
import { badge, nothing, section, table, time } from "./parts.js";

const PARTS = { router: "router", head: "head", segments: "segment", monitors: "monitors" };

export const REPLICAS = [
  ["Replica", ({ replica }) => h("code", {}, replica)],
  ["State", ({ state }) => badge(state === "RUNNING" ? "ready" : state.toLowerCase())],
  ["Process", ({ pid }) => pid ?? NONE, "number"],
  ["Machine", ({ node }) => node ?? NONE],
  ["Since", ({ started_at }) => (started_at ? time(new Date(started_at)) : NONE)],
];

// A router changes its revision while it runs, so Serve does not tell it.
const columns = (graph) => [
  ["Part", ({ part, deployment }) => (part in PARTS && deployment === part ? PARTS[part] : `${PARTS[part] ?? part} ${deployment}`)],
  ["Revision", ({ revision }) => (revision ?? graph.inlined) === null ? NONE : `r${revision ?? graph.inlined}`],
  ...REPLICAS,
];

// The segments that are down, since when, and why.
const down = (graph) => (graph.segments ?? []).filter((one) => one.down_since).map((one) =>
  h("p", { class: "problem" }, `Segment ${one.name} is down since `, time(new Date(one.down_since)),
    one.reason ? ` (${one.reason}).` : "."));

export function replicas({ page }) {
  const found = page.replicas;
  if (found === undefined) return section("Replicas", nothing("…"));
  if (found.error) return section("Replicas", nothing(found.error));
  if (!found.found.length) return section("Replicas", nothing("No replica runs: the graph sleeps, is unloaded, or is just starting."));
  return section("Replicas",
    ...down(page.graph),
    h("p", { class: "legend" }, "Processes of the graph; those that are dead ended lately."),
    table("Replicas of the graph", columns(page.graph), found.found, ({ replica }) => replica));
}

// Those in which a segment of a revision runs; undefined while they are not known.
export function ofSegment(found, graph, revision, segment) {
  const inRouter = segment === "head" && graph.inlined === revision;
  return found?.filter((one) =>
    inRouter ? one.part === "router" : one.revision === revision && one.deployment === segment);
}
