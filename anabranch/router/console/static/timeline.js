// All that has happened to a graph, by revision, with the evidence of each verdict.

import { h } from "./dom.js";
import { short } from "./format.js";
import { measurements, nothing, section, table, time } from "./parts.js";

const KINDS = [
  [/^analysis_fail|failed$|aborted|drift_began/, "bad"],
  [/^analysis_pass|promoted|drift_ended|^ready/, "good"],
  [/paused|inconclusive|error/, "busy"],
];

export function timeline(events) {
  if (!events?.length) return section("Timeline", nothing("Nothing has happened yet."));
  return section("Timeline", grouped(events.toReversed()).map(group));
}

// Runs of events of the same revision, the newest first. What is of no revision goes with the others.
function grouped(events) {
  const groups = [];
  for (const event of events) {
    const last = groups.at(-1);
    if (last && (event.revision === null || last.revision === null || last.revision === event.revision)) {
      last.revision ??= event.revision;
      last.events.push(event);
    } else groups.push({ revision: event.revision, events: [event] });
  }
  return groups;
}

function group({ revision, events }, index) {
  const [last, first] = [events[0], events.at(-1)];
  return h("details", { class: "group", open: index === 0, "data-key": `group ${first.id}` },
    h("summary", {},
      h("strong", {}, revision === null ? "the graph" : `r${revision}`), " ",
      h("span", {}, spoken(last.kind)), " ",
      h("span", { class: "fact" }, events.length === 1 ? "1 event, " : `${events.length} events, since `, time(new Date(first.at * 1000)))),
    h("ol", { class: "timeline" }, runs(events).map(run)));
}

// Events of one kind that follow each other, such as looks that pass.
function runs(events) {
  const found = [];
  for (const event of events) {
    if (found.at(-1)?.[0].kind === event.kind) found.at(-1).push(event);
    else found.push([event]);
  }
  return found;
}

function run(events) {
  const [last] = events;
  const earlier = events.slice(1);
  return h("li", { class: colour(last.kind), "data-key": events.at(-1).id },
    h("div", { class: "what" },
      time(new Date(last.at * 1000)),
      h("strong", {}, spoken(last.kind)),
      by(last.actor),
      last.data.step && h("span", { class: "fact" }, `step ${last.data.step}`),
      earlier.length > 0 && h("span", { class: "fact" }, `${events.length} times`)),
    content(last),
    earlier.length > 0 && h("details", {},
      h("summary", {}, `${earlier.length} before`),
      h("ol", { class: "timeline" }, earlier.map((event) =>
        h("li", { class: colour(event.kind), "data-key": event.id },
          h("div", { class: "what" }, time(new Date(event.at * 1000)), by(event.actor)), content(event))))));
}

// Who acted, unless that was the engine itself, or is not known.
function by({ kind, name, address }) {
  if (kind === "engine" || kind === "unrecorded") return null;
  return h("span", { class: "fact", title: address && `from ${address}` }, `by ${kind} ${name}`.trim());
}

const spoken = (kind) => kind.replaceAll("_", " ");
const colour = (kind) => KINDS.find(([pattern]) => pattern.test(kind))?.[1] ?? "";

const FEATURES = [
  ["Feature", ({ name }) => name],
  ["Score", ({ score }) => short(score), "number"],
  ["Statistic", ({ statistic }) => short(statistic), "number"],
  ["p", ({ p_value }) => short(p_value), "number"],
];

function content({ message, data }) {
  const found = data.measurements ?? [];
  const features = data.features ?? [];
  return [
    message && h("p", {}, message),
    found.length > 0 && h("details", {},
      h("summary", {}, `Evidence: ${found.length} ${found.length === 1 ? "metric" : "metrics"}`),
      measurements(found, "What the look found")),
    features.length > 0 && h("details", {},
      h("summary", {}, `Evidence: ${features.length} ${features.length === 1 ? "feature" : "features"}`),
      table("What the monitor found", FEATURES, features, ({ name }) => name)),
  ];
}
