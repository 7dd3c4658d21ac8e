// Log lines of a graph, as they come.

import { isLoggedIn } from "./api.js";
import { h } from "./dom.js";
import { when } from "./format.js";
import { badge, button, nothing, section } from "./parts.js";

const BAD = new Set(["ERROR", "CRITICAL"]);

export function logs({ page }) {
  if (!isLoggedIn()) {
    return section("Logs", h("p", {}, "Log lines may hold what clients have sent, so they are shown to those who are logged in. ", button("signIn", "Log in")));
  }
  const { filter } = page.logs;
  const nodes = Object.keys(Object.values(page.plans).find((plan) => plan.nodes)?.nodes ?? {});
  return section("Logs",
    h("div", { class: "bar-of-controls" },
      choice("Node ", "logNode", filter.node, [["", "all"], ...nodes.map((name) => [name, name])]),
      choice("Revision ", "logRevision", filter.revision, [["", "all"], ...page.graph.revisions.map(({ revision }) => [revision, `r${revision}`])]),
      h("label", {}, "Request ",
        h("input", { type: "search", "data-change": "logRequest", "data-value": filter.request, placeholder: "id", maxlength: 128 }))),
    lines(page.logs));
}

const choice = (label, name, value, options) =>
  h("label", {}, label, h("select", { "data-change": name, "data-value": value },
    options.map(([value, text]) => h("option", { value }, text))));

// {lines, error} as they were read; undefined before.
export function lines(found) {
  if (found?.error) return nothing(found.error);
  if (!found?.lines) return nothing("…");
  if (!found.lines.length) return nothing("There are no lines.");
  return h("div", { class: "log", tabindex: 0, role: "log", "aria-label": "Log lines" },
    found.lines.map((line) =>
      h("div", { class: BAD.has(line.level) ? "line-of-log bad" : "line-of-log" },
        line.time && h("time", { datetime: line.time }, when(new Date(line.time))),
        BAD.has(line.level) && badge("error"),
        h("span", { class: "fact", title: line.replica }, [line.machine, line.node, line.revision && `r${line.revision}`].filter(Boolean).join(" ")),
        h("span", { class: "text" }, line.message, line.traceback && `\n${line.traceback}`))));
}
