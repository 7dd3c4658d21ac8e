// Lines over time with axes; above them the values at the time under the pointer, or the latest.

import { h, svg } from "./dom.js";
import { clock, when } from "./format.js";

const HEIGHT = 150;
const LEFT = 62;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 22;
const MOST_POINTS = 240; // of a line; of more, each stands for the highest of several
const STEPS_S = [10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];

// A chart of {id, title, at, lines, marks, from, to, width, cursor, format}.
//
// A line is {name, values, kind}, its values at the times `at`, or at its own. Marks are points with a
// verdict, {at, value, kind, label}. All times are in milliseconds.
export function chart({ id, title, at, lines, marks = [], from, to, width, cursor, format }) {
  const drawn = lines.map((line) => ({ ...line, points: reduced(line.at ?? at, line.values, from, to) }));
  const shown = marks.filter((mark) => mark.value !== null && mark.at >= from && mark.at <= to);
  const top = rounded(Math.max(...drawn.flatMap(({ points }) => points.map(([, value]) => value ?? 0)), ...shown.map(({ value }) => value), 0));
  const place = {
    x: (time) => LEFT + ((time - from) / Math.max(1, to - from)) * (width - LEFT - RIGHT),
    y: (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM),
  };
  const seen = cursor !== null && cursor >= from && cursor <= to ? cursor : null;
  const readings = drawn.map((line) => [line, reading(line, seen ?? to)]);
  return h("figure", { class: "chart", "data-key": id },
    h("figcaption", {},
      h("strong", {}, title),
      readings.map(([{ name, kind }, value]) =>
        h("span", { class: `reading ${kind}` }, h("span", { class: "name" }, name), " ", format(value))),
      h("span", { class: "fact" }, seen === null ? "latest" : when(new Date(seen)))),
    svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", tabindex: 0,
      "data-chart": `${from} ${to} ${LEFT} ${RIGHT} ${width}`,
      "aria-label": `${title} from ${clock(from)} to ${clock(to)}; ${readings.map(([{ name }, value]) => `${name} ${format(value)}`).join(", ")}${seen === null ? "" : ` at ${clock(seen)}`}. Arrow keys move through time.` },
      grid(top, format, place, width),
      ticks(from, to, width, place),
      drawn.map(({ points, kind }) => svg("path", { class: `curve ${kind}`, d: path(points, place) })),
      shown.map((mark) => svg("circle", { class: `mark ${mark.kind}`, cx: place.x(mark.at).toFixed(1), cy: place.y(mark.value).toFixed(1), r: 4 },
        svg("title", {}, `${mark.label}: ${format(mark.value)} at ${clock(mark.at)}`))),
      seen !== null && svg("line", { class: "cursor", x1: place.x(seen), x2: place.x(seen), y1: TOP, y2: HEIGHT - BOTTOM })));
}

// The time at a place of the pointer on a chart.
export function timeAt(element, clientX) {
  const [from, to, left, right, width] = element.dataset.chart.split(" ").map(Number);
  const box = element.getBoundingClientRect();
  const x = ((clientX - box.left) / box.width) * width;
  const share = (x - left) / (width - left - right);
  return from + Math.min(1, Math.max(0, share)) * (to - from);
}

// The time so many hundredths of a chart further; from its end on where there is no time yet.
export function timeBeside(element, cursor, hundredths) {
  const [from, to] = element.dataset.chart.split(" ").map(Number);
  const next = (cursor ?? to) + ((to - from) * hundredths) / 100;
  return Math.min(to, Math.max(from, next));
}

// [time, value] of the values in a span of time, at most MOST_POINTS of them.
function reduced(at, values, from, to) {
  const found = [];
  at.forEach((time, index) => time >= from && time <= to && found.push([time, values[index] ?? null]));
  const size = Math.ceil(found.length / MOST_POINTS);
  if (size <= 1) return found;
  const few = [];
  for (let first = 0; first < found.length; first += size) {
    const known = found.slice(first, first + size).filter(([, value]) => value !== null);
    few.push(known.length ? known.reduce((one, other) => (other[1] > one[1] ? other : one)) : [found[first][0], null]);
  }
  return few;
}

// The value of the point that is nearest to a time.
function reading({ points }, time) {
  const near = points.reduce((one, other) =>
    (one && Math.abs(one[0] - time) <= Math.abs(other[0] - time) ? one : other), null);
  return near ? near[1] : null;
}

function path(points, { x, y }) {
  let text = "";
  let gap = true;
  for (const [time, value] of points) {
    if (value !== null) text += `${gap ? "M" : "L"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    gap = value === null;
  }
  return text || "M0 0";
}

// The next number of 1, 2 or 5 with zeros, so that halves are easy to read.
function rounded(most) {
  if (!(most > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].find((factor) => factor * unit >= most) * unit;
}

const grid = (top, format, { y }, width) =>
  [0, top / 2, top].map((value) =>
    svg("g", { class: "grid-line" },
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, value === 0 ? "0" : format(value))));

function ticks(from, to, width, { x }) {
  const most = Math.max(2, Math.floor((width - LEFT) / 90));
  const step = 1000 * (STEPS_S.find((seconds) => (to - from) / (1000 * seconds) <= most) ?? STEPS_S.at(-1));
  const offset = new Date(from).getTimezoneOffset() * 60000;
  const found = [];
  for (let time = Math.ceil((from - offset) / step) * step + offset; time <= to; time += step) {
    if (x(time) > width - RIGHT - 18) break;
    found.push(svg("text", { class: "tick", x: x(time), y: HEIGHT - 5, "text-anchor": "middle" }, clock(time, step < 60000)));
  }
  return found;
}
