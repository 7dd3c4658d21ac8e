// The machines of an engine that has several: what each has, and what runs on it.

import { h } from "./dom.js";
import { NONE, short } from "./format.js";
import { badge, section, table, time } from "./parts.js";

const SHOWN = ["CPU", "GPU"];
const GIB = 2 ** 30;

const used = ({ used, total }, unit = 1) =>
  used === null ? short(total / unit) : `${short(used / unit)} of ${short(total / unit)}`;
const share = (name, { resources }) => (resources[name] ? used(resources[name]) : NONE);
const others = ({ resources }) =>
  Object.entries(resources).filter(([name]) => ![...SHOWN, "memory", "object_store_memory"].includes(name));
const segment = ({ graph, revision, deployment, replicas }) =>
  `${graph}${revision === null ? "" : ` r${revision}`} ${deployment}${replicas === 1 ? "" : ` ×${replicas}`}`;

const COLUMNS = [
  ["Machine", ({ name, head, address }) => h("span", { title: address }, head ? `${name} (head)` : name)],
  ["State", ({ state }) => badge(state)],
  ["Since", ({ since }) => time(new Date(since))],
  ...SHOWN.map((name) => [name, (row) => share(name, row), "number"]),
  ["Memory, GiB", ({ resources: { memory } }) => (memory ? used(memory, GIB) : NONE), "number spare"],
  ["Other resources", (row) => others(row).map(([name, size]) => `${name} ${used(size)}`).join(", ") || NONE, "spare"],
  ["Labels", ({ labels }) => Object.entries(labels).map((pair) => pair.join("=")).join(", ") || NONE, "spare"],
  ["Runs", ({ segments }) => segments.map(segment).join(", ") || NONE],
];

// An engine of one machine, where all has its place, needs no table.
export function machines({ nodes }) {
  if (!nodes || (nodes.nodes.length < 2 && !nodes.waiting.length)) return [];
  return section("Machines",
    table("The machines of the engine", COLUMNS, nodes.nodes, ({ id }) => id),
    nodes.waiting.length ? h("p", { role: "status" }, `No machine has a place for ${nodes.waiting.map(segment).join(", ")}`) : []);
}
