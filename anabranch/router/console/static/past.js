// The past of graphs: what the controller remembers, and what has come since the page has it.
//
// A past is {at, total, arms, looks}: `at` are times in milliseconds, `total` has a list of values
// for each field, and `arms` likewise for each revision.

export const INTERVAL_MS = 5000;
const MOST = 1440;
const GAP_MS = 4 * INTERVAL_MS;
const ARM = {
  per_second: (arm) => arm.requests_per_second,
  error_rate: (arm) => arm.error_rate,
  p50: (arm) => arm.latency.p50,
  p95: (arm) => arm.latency.p95,
  p99: (arm) => arm.latency.p99,
};

// As the control API tells it, in the time of this browser, whose clock may be another one.
export function told({ now, at, total, arms, looks }) {
  const here = hereOf(now);
  return { at: at.map(here), total, arms, looks: looks.map((look) => ({ ...look, at: here(look.at) })) };
}

// Of all graphs: the requests a second of each, as the control API tells them.
export const toldRates = ({ now, at, graphs }) => ({ at: at.map(hereOf(now)), graphs });

function hereOf(now) {
  const offset = Date.now() - now * 1000;
  return (seconds) => seconds * 1000 + offset;
}

// Whether the time for another point has come.
export const isDue = (past, now) => past !== undefined && now - (past.at.at(-1) ?? -Infinity) >= INTERVAL_MS;

// Whether so much is missing that the controller has to be asked.
export const isOutdated = (past, now) => past === undefined || now - (past.at.at(-1) ?? -Infinity) >= GAP_MS;

// Add a point: the numbers of the graph now, and of its arms.
export function note(past, now, requests, arms) {
  const before = past.at.length;
  past.at.push(now);
  put(past.total, before, (field) => requests?.[field]);
  for (const { revision } of arms) past.arms[revision] ??= Object.fromEntries(Object.keys(ARM).map((field) => [field, []]));
  for (const [revision, series] of Object.entries(past.arms)) {
    const arm = arms.find((one) => one.revision === Number(revision));
    put(series, before, (field) => arm && ARM[field](arm));
  }
  trim(past.at, [past.total, ...Object.values(past.arms)]);
}

// Likewise to the rates of all graphs.
export function noteRates(past, now, graphs) {
  const before = past.at.length;
  past.at.push(now);
  for (const { graph } of graphs) past.graphs[graph] ??= [];
  const known = new Map(graphs.map((one) => [one.graph, one.numbers]));
  put(past.graphs, before, (graph) => known.get(graph)?.per_second);
  trim(past.at, [past.graphs]);
}

function put(series, before, value) {
  for (const [field, values] of Object.entries(series)) {
    while (values.length < before) values.unshift(null);
    values.push(value(field) ?? null);
  }
}

function trim(at, all) {
  const over = Math.max(0, at.length - MOST);
  if (!over) return;
  at.splice(0, over);
  for (const series of all) for (const values of Object.values(series)) values.splice(0, over);
}
