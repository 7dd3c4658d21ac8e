// One node that was chosen in the drawing: its spec, what it does, its replicas, its last log lines.

import { isLoggedIn } from "./api.js";
import { h } from "./dom.js";
import { duration, rate } from "./format.js";
import { lines } from "./logs.js";
import { button, nothing, table } from "./parts.js";
import { ofSegment, REPLICAS } from "./replicas.js";

const NAMED = new Set(["type", "inputs", "args", "routes"]);

// What is shown of `name` in a revision's plan; `lately` are its numbers.
export function nodePanel(state, revision, plan, name, lately) {
  const node = plan.nodes[name];
  const { page } = state;
  const replicas = ofSegment(page.replicas?.found, page.graph, revision, node.segment);
  const segment = plan.segments.find((one) => one.name === node.segment);
  return h("section", { class: "panel", "aria-labelledby": "node-title", "data-key": "node panel" },
    h("div", { class: "panel-head" },
      h("h2", { id: "node-title", tabindex: -1 }, `${name} of r${revision}`),
      button("closeNode", "Close")),
    h("dl", { class: "facts" }, facts(node, segment, lately).map(([title, value]) =>
      h("div", {}, h("dt", {}, title), h("dd", {}, value)))),
    json("Arguments", node.spec?.args),
    json("Scaling of its segment", segment?.scaling),
    h("h3", {}, "Replicas"),
    replicas === undefined ? nothing("…")
      : replicas.length ? table("Replicas of the node's segment", REPLICAS, replicas, ({ replica }) => replica)
      : nothing("None runs."),
    h("h3", {}, "Last log lines"),
    isLoggedIn() ? lines(page.nodeLogs) : h("p", {}, "Log lines need a login. ", button("signIn", "Log in")));
}

function facts(node, segment, lately) {
  const spec = Object.entries(node.spec ?? {}).filter(([field]) => !NAMED.has(field));
  const inputs = Object.entries(node.inputs).map(([key, source]) => (key === source ? key : `${key} from ${source}`));
  const outputs = Object.entries(node.outputs ?? {}).map(([key, type]) => `${key} ${type ?? ""}`.trim());
  return [
    ["Type", node.type],
    ["Segment", node.segment],
    ["Inputs", inputs.join(", ")],
    ["Outputs", outputs.join(", ")],
    ["Routes", node.routes.join(", ")],
    ...spec.map(([field, value]) => [field.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : String(value)]),
    ["Resources of its segment", segment?.resources && Object.entries(segment.resources).map(([kind, amount]) => `${kind} ${amount}`).join(", ")],
    ["Calls", rate(lately?.per_second)],
    ["Failures", lately ? rate(lately.failed_per_second ?? 0) : "–"],
    ["p50, p99", `${duration(lately?.p50)}, ${duration(lately?.p99)}`],
    ["Waits p99", lately?.queue_p99 != null && duration(lately.queue_p99)],
  ].filter(([, value]) => value);
}

const json = (title, value) =>
  value && Object.keys(value).length > 0 && [
    h("h3", {}, title),
    h("pre", { class: "json", tabindex: 0, role: "region", "aria-label": title }, JSON.stringify(value, null, 2)),
  ];
