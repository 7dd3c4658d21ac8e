// A graph as a picture: what `layout` has arranged, with what its parts do now.

import { h, svg } from "./dom.js";
import { duration, NONE, rate } from "./format.js";
import { arranged, shortened } from "./layout.js";

const narrow = matchMedia("(max-width: 700px)");
const kept = new Map(); // arranged plans, by what they are of
const WIDEST = 1180; // of the page's content, in pixels
const SMALLEST = 0.68; // scale at which a drawing can still be read

function arrangedOnce(key, plan) {
  const direction = narrow.matches ? "TB" : "LR";
  const name = `${key} ${direction}`;
  if (!kept.has(name)) kept.set(name, arranged(plan, direction));
  return kept.get(name);
}

// `numbers` are those of the revision: {requests, nodes, routes, hops} as far as they are known.
export function drawing(key, plan, numbers) {
  const found = arrangedOnce(key, plan);
  const { width, height } = found;
  const room = Math.min(WIDEST, innerWidth - 40);
  return h("div", { class: room / width < SMALLEST ? "drawing" : "drawing fits", "data-key": `drawing ${key}`, tabindex: 0, role: "region",
    "aria-label": "Drawing of the graph" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group",
      "aria-label": `${plan.name}: ${Object.keys(plan.nodes).length} nodes in ${found.boxes.length} segments` },
      arrows(),
      found.boxes.map((box) => segment(box, numbers)),
      found.edges.map((edge) => line(edge, plan, numbers)),
      found.pills.map(pill),
      found.nodes.map((place) => node(place, plan.nodes[place.name], numbers.nodes[place.name])),
    ),
  );
}

const arrows = () =>
  svg("defs", {}, ["data", "route", "explains"].map((kind) =>
    svg("marker", { id: `arrow-${kind}`, class: `arrow ${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4,
      markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" },
      svg("path", { d: "M0 0 8 4 0 8z" }))));

function segment(box, { hops, replicas }) {
  const { name } = box.segment;
  const hop = hops[name];
  const running = replicas[name]?.running;
  const notes = [running && `${running} up`, hop && `hop ${duration(hop.p50)}`].filter(Boolean).join(" · ");
  const left = box.x - box.width / 2;
  const top = box.y - box.height / 2;
  return svg("g", { class: "segment" },
    svg("rect", { x: left, y: top, width: box.width, height: box.height, rx: 10 }),
    svg("text", { x: left + 10, y: top + 14 }, svg("title", {}, `segment ${name}`), shortened(name)),
    notes && svg("text", { x: left + box.width - 10, y: top + box.height - 6, "text-anchor": "end" }, notes));
}

const pill = (place) =>
  svg("g", { class: "pill" },
    svg("rect", { x: place.x - place.width / 2, y: place.y - place.height / 2, width: place.width,
      height: place.height, rx: place.height / 2 }),
    svg("text", { x: place.x, y: place.y + 4, "text-anchor": "middle" },
      svg("title", {}, place.id.startsWith("in:") ? `input ${place.name}` : `output ${place.name}`),
      shortened(place.name)));

function node(place, planned, found) {
  const failed = (found?.failed_per_second ?? 0) > 0;
  const left = place.x - place.width / 2;
  const top = place.y - place.height / 2;
  const says = [
    `${planned.type} ${place.name} in segment ${planned.segment}`,
    found ? `${rate(found.per_second)} calls, ${duration(found.p50)} p50, ${duration(found.p99)} p99` : "no calls lately",
    failed && `${rate(found.failed_per_second)} failed`,
  ].filter(Boolean).join(", ");
  return svg("g", { class: `node ${planned.type}${failed ? " failed" : ""}`, tabindex: 0, role: "button",
    "aria-label": says, "data-action": "node", "data-name": place.name },
    svg("title", {}, says),
    svg("rect", { class: "body", x: left, y: top, width: place.width, height: place.height, rx: 6 }),
    svg("rect", { class: "mark", x: left, y: top + 8, width: 3, height: place.height - 16 }),
    svg("text", { class: "name", x: left + 13, y: top + 21 }, shortened(place.name)),
    svg("text", { class: "type", x: left + 13, y: top + 36 },
      failed ? `${rate(found.failed_per_second)} failed` : planned.type),
    svg("text", { class: "figure", x: left + 13, y: top + 53 },
      found && found.per_second !== null ? `${rate(found.per_second)}  ${duration(found.p50)}` : NONE));
}

function line(edge, plan, numbers) {
  const flow = edge.kind === "route" ? numbers.routes[edge.to]?.[edge.from] : flowOf(edge, plan, numbers);
  const label = edge.kind === "route" && flow !== undefined ? rate(flow) : "";
  return svg("g", { class: `edge ${edge.kind}` },
    svg("path", { d: curve(edge.points), "stroke-width": thickness(flow), "marker-end": `url(#arrow-${edge.kind})` },
      svg("title", {}, `${edge.labels.join(", ")}${flow === undefined || flow === null ? "" : `: ${rate(flow)}`}`)),
    label && svg("text", { x: edge.x, y: edge.y + 4, "text-anchor": "middle" }, label));
}

// What runs along an edge: as much as its node is called, or as there are requests.
function flowOf({ from, to }, plan, numbers) {
  const end = to.startsWith("out:") ? from : to;
  return end in plan.nodes ? numbers.nodes[end]?.per_second : numbers.requests;
}

const thickness = (flow) => (flow > 0 ? Math.min(4, 1.25 + Math.log10(1 + flow) * 0.8).toFixed(1) : 1.25);

// A smooth line through dagre's points: straight ends, and curves through the middles between them.
function curve(points) {
  const [first, ...rest] = points;
  let path = `M${place(first)}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    path += next
      ? ` Q${place(point)} ${place({ x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 })}`
      : ` L${place(point)}`;
  });
  return path;
}

const place = ({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`;
