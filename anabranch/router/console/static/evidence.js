// Charts of a rollout: for each metric the candidate against the stable revision, limits, verdicts.

import { chart } from "./chart.js";
import { h } from "./dom.js";
import { duration, percent, short } from "./format.js";
import { nothing, section } from "./parts.js";
import { chartWidth, shownMinutes, shownSpan, spanChoice } from "./trends.js";

const OF_ARMS = { error_rate: "error_rate", latency_p50: "p50", latency_p95: "p95", latency_p99: "p99" };
const COLOURS = { pass: "good", fail: "bad" };

export function evidence(state) {
  const { graph, past } = state.page;
  const found = graph.rollout;
  if (!found) return null;
  if (past === undefined) return section("Metrics", nothing("Waiting for the engine …"));
  const looks = past.looks.filter((look) => look.revision === found.revision);
  const names = metricNames(found, looks);
  if (!names.length) return section("Metrics", nothing("The rollout has no analysis: it goes by time, or waits for you."));
  const minutes = shownMinutes(state, looks[0]?.at ?? state.now.getTime());
  return section("Metrics",
    h("div", { class: "bar-of-controls" }, spanChoice(minutes),
      h("span", { class: "legend" }, "A point is a look at the metrics: what it found since the look before.")),
    h("div", { class: "charts" }, names.map((name) => metric({ state, minutes, name, rollout: found, looks }))));
}

// Those of the plan, or of what looks have found.
function metricNames(rollout, looks) {
  const named = [...looks.slice(-1).flatMap((look) => look.measurements), ...rollout.measurements];
  const planned = rollout.plan.analysis?.metrics ?? [];
  return [...new Set(named.length ? named.map((one) => one.metric) : planned.map((one) => one.metric))];
}

function metric({ state, minutes, name, rollout, looks }) {
  const { graph, past } = state.page;
  const measured = looks.flatMap((look) =>
    look.measurements.filter((one) => one.metric === name).map((one) => ({ ...one, at: look.at })));
  const format = formatOf(name);
  const stable = rollout.phase === "promoted" ? null : graph.live;
  return chart({
    id: `metric ${name}`,
    title: name.replaceAll("_", " "),
    at: past.at,
    ...shownSpan(state, minutes),
    width: chartWidth(),
    cursor: state.cursor,
    format,
    lines: [
      ...ofArm(past, name, stable, "stable", "second"),
      ...ofArm(past, name, rollout.revision, "candidate", "main"),
      ...limits(measured),
    ],
    marks: measured.map((one) => ({ at: one.at, value: one.value, kind: COLOURS[one.verdict] ?? "busy", label: one.verdict })),
  });
}

function ofArm(past, name, revision, role, kind) {
  const field = OF_ARMS[name.split(" ")[0]];
  const arm = past.arms[revision];
  return field && arm ? [{ name: `r${revision} (${role})`, kind, values: arm[field] }] : [];
}

function limits(measured) {
  const known = measured.filter((one) => one.limit !== null);
  if (!known.length) return [];
  return [{ name: "limit", kind: "limit", at: known.map((one) => one.at), values: known.map((one) => one.limit) }];
}

function formatOf(name) {
  if (/^(latency|ttft)/.test(name)) return duration;
  return /^(error_rate|agreement)/.test(name) ? percent : short;
}
