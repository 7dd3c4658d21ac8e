// Charts of what a graph has done lately.

import { chart } from "./chart.js";
import { h } from "./dom.js";
import { duration, percent, rate } from "./format.js";
import { nothing, section } from "./parts.js";

const WIDEST = 1192;
const NARROWEST = 240; // of a chart, also where the window has no width yet
const BESIDE = 900; // width from which two charts stand side by side
const SPANS = [[10, "10 minutes"], [30, "30 minutes"], [120, "2 hours"]];

const CHARTS = [
  ["Requests", rate, [["all", "per_second", "main"]]],
  ["Failed", percent, [["share", "error_rate", "bad"]]],
  ["Latency", duration, [["p50", "p50", "main"], ["p95", "p95", "second"], ["p99", "p99", "third"]]],
  ["In flight", (value) => (value === null ? "–" : String(Math.round(value * 10) / 10)), [["all", "in_flight", "main"]]],
];

// How wide a chart is in the page, in pixels.
export function chartWidth() {
  const room = Math.min(WIDEST, innerWidth - (innerWidth <= 700 ? 28 : 48) - 15);
  return Math.max(NARROWEST, Math.floor((innerWidth >= BESIDE ? (room - 16) / 2 : room) - 26));
}

// The minutes that charts show: what was chosen, or else the least since a time, in milliseconds.
export function shownMinutes(state, since) {
  const enough = SPANS.find(([minutes]) => state.now.getTime() - since <= minutes * 60000) ?? SPANS.at(-1);
  return state.minutes ?? enough[0];
}

// The span of time that charts show, in milliseconds.
export const shownSpan = (state, minutes) => ({ from: state.now.getTime() - minutes * 60000, to: state.now.getTime() });

export const spanChoice = (minutes) =>
  h("label", {}, "Time ",
    h("select", { "data-change": "minutes", "data-value": minutes }, SPANS.map(([value, text]) =>
      h("option", { value }, text))));

export function trends(state) {
  const { past } = state.page;
  if (past === undefined) return section("Lately", nothing("Waiting for the engine …"));
  const first = past.at[past.total.per_second?.findIndex((value) => value !== null)];
  const minutes = shownMinutes(state, first ?? -Infinity);
  const common = { at: past.at, ...shownSpan(state, minutes), width: chartWidth(), cursor: state.cursor };
  return section("Lately",
    h("div", { class: "bar-of-controls" }, spanChoice(minutes)),
    h("div", { class: "charts" }, CHARTS.map(([title, format, lines]) =>
      chart({ ...common, id: `chart ${title}`, title, format,
        lines: lines.map(([name, field, kind]) => ({ name, kind, values: past.total[field] ?? [] })) }))));
}
