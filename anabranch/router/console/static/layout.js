// Where the parts of a plan are drawn: dagre lays them out, segments as boxes around their nodes.

import { Graph, layout } from "./dagre.js";

const HEIGHT = 64;
const PILL = 30;
const CHARACTER = 7.4; // of a name, in pixels
const LONGEST = 26; // of a name, in characters
const SPACE = { LR: { nodesep: 24, ranksep: 44, least: 150 }, TB: { nodesep: 16, ranksep: 34, least: 118 } };
const LABEL = { width: 52, height: 14, labelpos: "c" };

export const shortened = (name) =>
  name.length > LONGEST ? `${name.slice(0, LONGEST - 1)}…` : name;

const width = (name, least) => Math.max(least, shortened(name).length * CHARACTER + 30);

// {width, height, nodes, pills, boxes, edges} of a plan; `direction` is LR or TB.
export function arranged(plan, direction) {
  const { nodesep, ranksep, least } = SPACE[direction];
  const graph = new Graph({ compound: true })
    .setGraph({ rankdir: direction, nodesep, ranksep, marginx: 10, marginy: 10 })
    .setDefaultEdgeLabel(() => ({}));
  for (const name of Object.keys(plan.inputs)) pill(graph, `in:${name}`, name);
  for (const name of Object.keys(plan.outputs)) pill(graph, `out:${name}`, name);
  for (const segment of plan.segments) {
    if (!segment.nodes.length) continue;
    graph.setNode(`segment:${segment.name}`, { segment });
    for (const name of segment.nodes) {
      graph.setNode(name, { name, width: width(name, least), height: HEIGHT });
      graph.setParent(name, `segment:${segment.name}`);
    }
  }
  for (const edge of edges(plan)) {
    const known = graph.edge(edge.from, edge.to);
    if (known) known.labels.push(edge.label);
    else graph.setEdge(edge.from, edge.to, { ...edge, ...(edge.kind === "route" && LABEL), labels: [edge.label] });
  }
  layout(graph);
  return drawn(graph);
}

function pill(graph, id, name) {
  graph.setNode(id, { name, width: width(name, 48), height: PILL });
}

function drawn(graph) {
  const all = graph.nodes().map((id) => ({ id, ...graph.node(id) }));
  const { width, height } = graph.graph();
  return {
    width: Math.ceil(width),
    height: Math.ceil(height),
    pills: all.filter(({ id }) => id.startsWith("in:") || id.startsWith("out:")),
    boxes: all.filter(({ segment }) => segment),
    nodes: all.filter(({ id, segment }) => !segment && !id.includes(":")),
    edges: graph.edges().map((ends) => graph.edge(ends)),
  };
}

// {from, to, kind, label}; the kinds are data, route and explains.
function* edges(plan) {
  const end = (source) => {
    const name = source.split(".")[0];
    return name in plan.nodes ? name : `in:${source}`;
  };
  for (const [name, node] of Object.entries(plan.nodes)) {
    if (node.type !== "explainer") {
      for (const [key, source] of Object.entries(node.inputs)) {
        yield { from: end(source), to: name, kind: "data", label: key };
      }
    } else if (node.explains.node) {
      yield { from: node.explains.node, to: name, kind: "explains", label: "explained by" };
    }
    for (const route of node.routes) yield { from: route, to: name, kind: "route", label: route };
  }
  for (const [name, output] of Object.entries(plan.outputs)) {
    yield { from: end(output.source), to: `out:${name}`, kind: "data", label: name };
  }
}
