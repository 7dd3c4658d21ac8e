// The revisions of a graph, and what differs between two of them.

import { h } from "./dom.js";
import { badge, nothing, operation, section, table, time } from "./parts.js";

export function revisions(state) {
  const { graph } = state.page;
  return [list(graph), difference(state)];
}

const list = (graph) =>
  section("Revisions", table("Revisions, the newest first", columns(graph), graph.revisions, (one) => `r${one.revision}`));

const columns = (graph) => [
  ["Revision", (one) => `r${one.revision}`],
  ["State", (one) => badge(one.state)],
  ["Created", (one) => time(new Date(one.created_at))],
  ["Author", (one) => one.author],
  ["Message", (one) => [one.message, one.message && one.reason && " · ", one.reason && h("span", { class: "fact" }, one.reason)], "wide"],
  ["Bundle", (one) => h("code", { title: one.digest }, one.digest.slice(0, 10))],
  ["Action", (one) => one.revision !== graph.live && one.live_at &&
    operation("rollback", "Roll back …", { "data-revision": one.revision, "aria-label": `Roll back to revision ${one.revision}` }), "action"],
];

function difference({ page }) {
  const all = page.graph.revisions.map((one) => one.revision);
  if (all.length < 2) return section("Differences", nothing("There is only one revision."));
  const { from, to } = pair(page);
  const found = page.diffs[`${from} ${to}`];
  const choice = (label, name, value) =>
    h("label", {}, `${label} `, h("select", { "data-change": name, "data-value": value },
      all.map((number) => h("option", { value: number }, `r${number}`))));
  return section("Differences",
    h("div", { class: "bar-of-controls" }, choice("From", "diffFrom", from), choice("to", "diffTo", to)),
    found === undefined ? nothing("…") : found.error ? nothing(found.error) : shown(found));
}

// The two revisions that are compared: what was chosen, or else the newest and the one before.
export function pair(page) {
  const [newest, before] = page.graph.revisions.map((one) => one.revision);
  return { from: page.diffFrom ?? before, to: page.diffTo ?? newest };
}

function shown(found) {
  const changes = ["spec", "plan", "models", "files"].flatMap((part) => found[part].map((text) => `${part}: ${text}`));
  if (!changes.length && !found.text) return nothing("They are equal.");
  return [
    h("ul", { class: "changes" }, changes.map((text) => h("li", {}, text))),
    found.text && h("pre", { class: "diff", tabindex: 0, role: "region", "aria-label": "Difference of the specs" },
      found.text.split("\n").map((text) => h("span", { class: kind(text) }, `${text}\n`))),
  ];
}

const kind = (text) =>
  text.startsWith("@@") || text.startsWith("---") || text.startsWith("+++")
    ? "place"
    : { "+": "added", "-": "removed" }[text[0]] ?? "";
