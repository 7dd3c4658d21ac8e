// One request by hand: its reply, its trace, and explanations.

import { bars, waterfall } from "./charts.js";
import { h } from "./dom.js";
import { duration, short } from "./format.js";
import { allowedButton, button, nothing, section } from "./parts.js";
import { revisionsUp } from "./traffic.js";

const MOST_BARS = 20;
const MOST_ROWS = 8;
const LONGEST = 20000; // of a reply, in characters

export function playground({ page }) {
  const { play } = page;
  return [request(page, play), answer(play), trace(play)];
}

function request(page, play) {
  const names = explainers(page);
  return section("Request",
    h("div", { class: "bar-of-controls" },
      h("label", {}, "To ",
        h("select", { "data-change": "playTo", "data-value": play.to }, h("option", { value: "" }, "the arm that the traffic says"),
          revisionsUp(page.graph).map((number) => h("option", { value: number }, `r${number}`)))),
      h("span", { class: "legend" }, ORIGINS[play.source] ?? "")),
    h("label", {}, "Headers, one a line ",
      h("textarea", { spellcheck: "false", rows: 2, "data-input": "playHeaders", "data-value": play.headers, placeholder: "x-user: ada" })),
    h("label", { class: "hidden", for: "request" }, "Request in JSON"),
    h("textarea", { id: "request", spellcheck: "false", rows: 14, "data-input": "playText", "data-value": play.text }),
    h("div", { class: "actions" },
      allowedButton("call", "invoker", "send", "Send", { disabled: play.busy }, "main"),
      names.map((name) => button("explain", `Explain by ${name}`, { "data-name": name, disabled: play.busy })),
      button("example", "Example"),
      button("curl", "Copy as curl")),
    play.curl && h("pre", { class: "json", tabindex: 0, role: "region", "aria-label": "Command for a shell" }, play.curl));
}

const ORIGINS = {
  warmup: "The request of the revision's warm-up.",
  zeros: "Made from the signature.",
};

// The explainers of the revision that is asked.
function explainers(page) {
  const plan = page.plans[page.play.to || page.graph.live];
  return Object.entries(plan?.nodes ?? {}).filter(([, node]) => node.type === "explainer").map(([name]) => name);
}

function answer({ reply }) {
  if (!reply) return null;
  return section(reply.explains ? "Explanation" : "Reply",
    h("p", { class: "standing" },
      h("span", { class: `badge ${reply.ok ? "good" : "bad"}` }, `${reply.status} ${reply.statusText}`),
      ` in ${duration(reply.seconds)}`,
      reply.document?.model_version && ` by r${reply.document.model_version}`),
    reply.explains && reply.ok && explanations(reply.document),
    h("pre", { class: "json", tabindex: 0, role: "region", "aria-label": "Body of the reply" },
      reply.text.length > LONGEST ? `${reply.text.slice(0, LONGEST)}…` : reply.text));
}

const explanations = (document) =>
  (document.explanations ?? []).slice(0, MOST_ROWS).map(lifted).map((one, row, all) =>
    h("div", { class: "explanation" },
      all.length > 1 && h("h3", {}, `Row ${row}`),
      h("p", { class: "fact" }, FACTS.filter((name) => one[name] !== undefined)
        .map((name) => `${name.replace("_", " ")} ${numberOr(one[name])}`).join(" · ")),
      one.rule && h("p", {}, "The answer stays while ", h("strong", {}, one.rule.join(" and ") || "anything holds")),
      one.attributions !== undefined && bars(largest(one), "Feature", "Attribution"),
      (one.curves ?? []).map((curve) =>
        bars(curve.grid.map((at, index) => [numberOr(at), curve.values[index]]).slice(0, MOST_BARS), curve.feature, "Effect")),
      one.examples && bars(one.examples.slice(0, MOST_BARS).map(({ index, score }) => [`row ${index}`, score]), "Sample", "Similarity")));

// An explainer of one's own has its words in `library`: attributions there are drawn as well.
const lifted = (one) =>
  ["rule", "attributions", "curves", "examples"].some((name) => name in one) || !Array.isArray(one.library?.attributions)
    ? one
    : { ...one, attributions: one.library.attributions, feature_names: one.library.feature_names };

const FACTS = ["target", "prediction", "base_value", "precision", "coverage"];

const numberOr = (value) => (typeof value === "number" ? short(value) : String(value));

// The largest attributions by name, and the sum of all others.
function largest({ attributions, feature_names: names }) {
  const pairs = [...flat(attributions, [])].map(([place, value], index) =>
    [names?.[index] ?? (place.length > 1 ? `[${place.join(", ")}]` : `x${place[0] ?? 0}`), value]);
  if (pairs.length <= MOST_BARS) return pairs;
  pairs.sort(([, one], [, other]) => Math.abs(other) - Math.abs(one));
  const others = pairs.splice(MOST_BARS - 1);
  return [...pairs, [`${others.length} others`, others.reduce((sum, [, value]) => sum + value, 0)]];
}

function* flat(values, place) {
  if (!Array.isArray(values)) yield [place, values];
  else for (const [index, value] of values.entries()) yield* flat(value, [...place, index]);
}

function trace({ trace }) {
  if (!trace) return null;
  return section("Trace",
    h("p", { class: "fact" }, h("code", {}, trace.id)),
    trace.spans?.length
      ? waterfall(trace.spans)
      : nothing(trace.over ? "No span of it has arrived." : "Waiting for its spans …"));
}
