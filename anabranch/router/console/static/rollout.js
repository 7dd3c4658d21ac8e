// Where a rollout stands, its metrics, and all that has happened.

import { h } from "./dom.js";
import { evidence } from "./evidence.js";
import { percents, span } from "./format.js";
import { badge, measurements, nothing, operation, section, time } from "./parts.js";
import { timeline } from "./timeline.js";

export function rollout(state) {
  const { graph, events } = state.page;
  return [standing(graph.rollout, state.now), evidence(state), timeline(events)];
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
    found.reason && h("p", { class: found.phase === "aborted" ? "reason bad" : "reason" }, found.reason,
      found.paused_at && [", since ", time(new Date(found.paused_at))]),
    found.measurements.length > 0 && measurements(found.measurements, "The last look at the metrics"),
    active && h("div", { class: "actions" },
      found.phase === "running" && operation("pause", "Pause …"),
      found.approval && operation("approve", "Approve …"),
      found.phase === "paused" && !found.approval && operation("resume", "Resume …"),
      !found.plan.approve && operation("finish", "Promote now …"),
      operation("giveUp", "Abort …")));
}

const left = (until, now) => span((new Date(until) - now) / 1000);

const steps = ({ steps, step, phase }) =>
  h("ol", { class: "steps", "aria-label": "Steps" }, steps.map((weight, index) => {
    const done = index + 1 < step || phase === "promoted";
    const here = index + 1 === step && !done;
    return h("li", { class: done ? "done" : here ? (phase === "aborted" ? "stopped" : "here") : null,
      "aria-current": here ? "step" : null }, percents(weight));
  }));
