// Small pictures of numbers.

import { h, svg } from "./dom.js";
import { duration, short } from "./format.js";

const [WIDTH, HEIGHT] = [160, 32];

// A line over the latest values, of which some may be unknown; for the eye only.
export function sparkline(values, most) {
  const top = Math.max(...values.filter((value) => value !== null), 1e-9);
  const step = WIDTH / Math.max(1, most - 1);
  const start = most - values.length;
  let path = "";
  let gap = true;
  values.forEach((value, index) => {
    if (value === null) return (gap = true);
    const x = ((start + index) * step).toFixed(1);
    path += `${gap ? "M" : "L"}${x} ${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`;
    gap = false;
  });
  return svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: path || "M0 0" }));
}

// A share of 0 to 100 as a bar.
export const share = (value) =>
  svg("svg", { class: "share", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "whole", width: 100, height: 8 }),
    svg("rect", { class: "part", width: Math.max(0, Math.min(100, value)), height: 8 }));

// Numbers by name, as rows of a table with bars from a common zero.
export function bars(pairs, named, valued) {
  const size = Math.max(...pairs.map(([, value]) => Math.abs(value)), 1e-12);
  const signed = pairs.some(([, value]) => value < 0);
  const zero = signed ? 50 : 0;
  const scale = signed ? 50 : 100;
  return h("table", { class: "bars" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, named), h("th", { scope: "col" }, valued), h("td", {}))),
    h("tbody", {}, pairs.map(([name, value]) => {
      const length = (Math.abs(value) / size) * scale;
      return h("tr", {},
        h("th", { scope: "row" }, name),
        h("td", { class: "number" }, short(value)),
        h("td", { class: "bar" },
          svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
            svg("rect", { class: value < 0 ? "minus" : "plus", x: value < 0 ? zero - length : zero, width: length, height: 10 }),
            svg("line", { x1: zero, x2: zero, y1: 0, y2: 10 }))));
    })));
}

// Spans of a trace, each below its parent, over the time of them all.
export function waterfall(spans) {
  const start = Math.min(...spans.map((span) => span.start));
  const total = Math.max(...spans.map((span) => span.start + span.seconds)) - start || 1e-9;
  return h("table", { class: "waterfall" },
    h("thead", {}, h("tr", {},
      h("th", { scope: "col" }, "Span"), h("th", { scope: "col" }, "Time"), h("td", {}))),
    h("tbody", {}, [...nested(spans)].map(({ span, depth }) =>
      h("tr", { class: isError(span) ? "failed" : null },
        h("th", { scope: "row", class: `depth-${Math.min(depth, 8)}`, title: attributesOf(span) },
          span.name, isError(span) && h("span", { class: "badge bad", title: span.error }, "error")),
        h("td", { class: "number" }, duration(span.seconds)),
        h("td", { class: "bar" },
          svg("svg", { viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
            svg("rect", { class: "track", width: 1000, height: 10 }),
            svg("rect", { class: isError(span) ? "minus" : "plus", x: (1000 * (span.start - start)) / total,
              width: Math.max(3, (1000 * span.seconds) / total), height: 10 })))))));
}

const isError = (span) => span.status === "error";
const attributesOf = (span) =>
  Object.entries(span.attributes).map(([name, value]) => `${name}: ${value}`).join("\n");

function* nested(spans) {
  const below = Map.groupBy(spans, (span) => span.parent_id ?? "");
  const known = new Set(spans.map((span) => span.span_id));
  const roots = spans.filter((span) => !known.has(span.parent_id));
  function* walk(found, depth) {
    for (const span of found.sort((one, other) => one.start - other.start)) {
      yield { span, depth };
      yield* walk(below.get(span.span_id) ?? [], depth + 1);
    }
  }
  yield* walk(roots, 0);
}
