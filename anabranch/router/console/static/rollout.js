// Where a rollout stands, and all that has happened, with the evidence of each verdict.

import { h } from "./dom.js";
import { percents, short, span } from "./format.js";
import { badge, button, nothing, section, table, time } from "./parts.js";

export function rollout(state) {
  const { graph, events } = state.page;
  return [standing(graph.rollout, state.now), timeline(events)];
}

function standing(found, now) {
  if (!found) {
    return section("Rollout", nothing(["There was none. ", h("code", {}, "anabranch deploy FILE --rollout 5,25,50 --hold 2m"), " begins one."]));
  }
  const active = found.phase === "running" || found.phase === "paused";
  return section("Rollout",
    h("p", { class: "standing" },
      h("strong", {}, `r${found.revision} `), badge(found.phase),
      ` step ${found.step} of ${found.steps.length}, ${percents(found.weight)} of the traffic`,
      active && found.held_until && ` · holds for ${left(found.held_until, now)}`,
      active && found.next_look && ` · next look in ${left(found.next_look, now)}`),
    steps(found),
    found.reason && h("p", { class: found.phase === "aborted" ? "reason bad" : "reason" }, found.reason),
    found.measurements.length > 0 && measurements(found.measurements, "The last look at the metrics"),
    active && h("div", { class: "actions" },
      found.phase === "running" && button("pause", "Pause …"),
      found.phase === "paused" && button("resume", "Resume …"),
      button("finish", "Promote now …"),
      button("giveUp", "Abort …")));
}

const left = (until, now) => span((new Date(until) - now) / 1000);

const steps = ({ steps, step, phase }) =>
  h("ol", { class: "steps", "aria-label": "Steps" }, steps.map((weight, index) => {
    const done = index + 1 < step || phase === "promoted";
    const here = index + 1 === step && !done;
    return h("li", { class: done ? "done" : here ? (phase === "aborted" ? "stopped" : "here") : null,
      "aria-current": here ? "step" : null }, percents(weight));
  }));

const MEASUREMENTS = [
  ["Metric", (one) => one.metric],
  ["Verdict", (one) => badge(one.verdict)],
  ["Value", (one) => short(one.value), "number"],
  ["Limit", (one) => short(one.limit), "number"],
  ["Samples", (one) => one.samples, "number"],
  ["Comparison", (one) => one.message, "wide"],
];

const measurements = (found, caption) => table(caption, MEASUREMENTS, found, (one) => one.metric);

function timeline(events) {
  if (!events?.length) return section("Timeline", nothing("Nothing has happened yet."));
  return section("Timeline", h("ol", { class: "timeline" }, events.toReversed().map(event)));
}

const KINDS = [
  [/^analysis_fail|failed$|aborted|drift_began/, "bad"],
  [/^analysis_pass|promoted|drift_ended|^ready/, "good"],
  [/paused|inconclusive|error/, "busy"],
];

function event({ id, at, kind, revision, message, data }) {
  const colour = KINDS.find(([pattern]) => pattern.test(kind))?.[1] ?? "";
  const found = data.measurements ?? [];
  return h("li", { class: colour, "data-key": id },
    h("div", { class: "what" },
      time(new Date(at * 1000)),
      h("strong", {}, kind.replaceAll("_", " ")),
      revision !== null && h("span", { class: "fact" }, `r${revision}`),
      data.step && h("span", { class: "fact" }, `step ${data.step}`)),
    message && h("p", {}, message),
    found.length > 0 &&
      h("details", {},
        h("summary", {}, `Evidence: ${found.length} ${found.length === 1 ? "metric" : "metrics"}`),
        measurements(found, "What the look found")),
    data.features?.length > 0 &&
      h("details", {},
        h("summary", {}, `Evidence: ${data.features.length} ${data.features.length === 1 ? "feature" : "features"}`),
        table("What the monitor found", FEATURES, data.features, ({ name }) => name)));
}

const FEATURES = [
  ["Feature", ({ name }) => name],
  ["Score", ({ score }) => short(score), "number"],
  ["Statistic", ({ statistic }) => short(statistic), "number"],
  ["p", ({ p_value }) => short(p_value), "number"],
];
