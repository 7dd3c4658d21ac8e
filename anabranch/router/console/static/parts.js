// What several views have in common.

import { h } from "./dom.js";
import { short, when, whole } from "./format.js";
import { state } from "./state.js";

const GOOD = new Set(["live", "promoted", "pass", "ready", "passed", "ok", "alive"]);
const BAD = new Set(["failed", "unhealthy", "aborted", "fail", "error", "drift", "failing", "dead", "lost", "unfollowed"]);
const BUSY = new Set(["deploying", "running", "starting", "updating", "stopping", "paused", "pending", "inconclusive", "deleting", "gathering", "waiting", "draining"]);

// A word for a state; what it means is in the word, the colour only helps.
export function badge(state) {
  const kind = GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : BUSY.has(state) ? "busy" : "";
  return h("span", { class: `badge ${kind}` }, state ?? "–");
}

export const time = (at) =>
  h("time", { datetime: at.toISOString(), title: whole(at) }, when(at));

export const button = (action, label, fields = {}, kind = "") =>
  h("button", { type: "button", class: kind, "data-action": action, ...fields }, label);

// A button for what takes a role: nobody is asked for a login before they use it.
export const allowedButton = (permission, role, action, label, fields = {}, kind = "") =>
  button(action, label, state.page.allowed?.includes(permission) ?? true ? fields : { ...fields, disabled: true, title: `This takes the role ${role}.` }, kind);

export const operation = (action, label, fields) => allowedButton("operate", "operator", action, label, fields);

// A table whose rows turn into cards on a phone: each cell knows its column. A column is
// [title, cell of a row, class, how it can be sorted]: {sort: "ascending", "descending" or null}.
export function table(caption, columns, rows, key) {
  return h("div", { class: "scroll" },
    h("table", { class: "grid" },
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, , kind, order]) =>
        h("th", { scope: "col", class: kind, "aria-sort": order?.sort },
          order ? button("sort", title, { "data-name": title }, "sorter") : title)))),
      h("tbody", {}, rows.map((row) =>
        h("tr", { "data-key": key?.(row) }, columns.map(([title, cell, kind], index) =>
          h(index ? "td" : "th", { class: kind, "data-title": title, scope: index ? null : "row" }, cell(row))))))));
}

export const section = (title, ...content) => {
  const id = `section-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
  return h("section", { "aria-labelledby": id, "data-key": id }, h("h2", { id }, title), content);
};

export const nothing = (text) => h("p", { class: "nothing" }, text);

const MEASUREMENTS = [
  ["Metric", (one) => one.metric],
  ["Verdict", (one) => badge(one.verdict)],
  ["Value", (one) => short(one.value), "number"],
  ["Limit", (one) => short(one.limit), "number"],
  ["Samples", (one) => one.samples, "number"],
  ["Comparison", (one) => one.message, "wide"],
];

export const measurements = (found, caption) => table(caption, MEASUREMENTS, found, (one) => one.metric);
