// What the playground sends, and what it learns of it.

import { at, graphPath, modelPath, read, session } from "./api.js";
import { curl, headersOf } from "./curl.js";

const TRIES = 20;
const PAUSE_MS = 300;

const hex = (bytes) =>
  [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const JSON_TYPE = ["content-type", "application/json"];

function pathTo(graph, to, method) {
  const below = to ? `/versions/${to}` : "";
  return `${modelPath(graph)}${below}/${method}`;
}

// What stands in the playground as a command for a shell; a SyntaxError where a header is none.
export const asCurl = (graph, { to, text, headers }) =>
  curl(at(pathTo(graph, to, "infer")).href, [...new Map([JSON_TYPE, ...headersOf(headers)])], text);

// Send a request to a graph, traced; gives the reply. `explainer` asks for an explanation instead.
export async function send(graph, { to, text, headers: own }, traceId, explainer) {
  const path = pathTo(graph, to, explainer ? "explain" : "infer");
  const headers = {
    ...session(),
    ...Object.fromEntries([JSON_TYPE, ...headersOf(own)]),
    traceparent: `00-${traceId}-${hex(8)}-01`,
    tracestate: "anabranch=show",
  };
  const body = explainer ? asking(text, explainer) : text;
  const started = performance.now();
  const reply = await fetch(at(path), { method: "POST", headers, body, cache: "no-store" });
  const answer = await reply.text();
  const seconds = (performance.now() - started) / 1000;
  const document = parsed(answer);
  return { ok: reply.ok, status: reply.status, statusText: reply.statusText, seconds, document, explains: explainer,
    text: document === null ? answer : written(document) };
}

function asking(text, explainer) {
  const request = parsed(text);
  if (request === null) throw new SyntaxError("The request is not JSON.");
  return JSON.stringify({ ...request, parameters: { ...request.parameters, explainer } });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export const newTrace = () => hex(16);

// Spans of a trace as they arrive; `take` gets what is there, and whether that is all.
export async function follow(traceId, take) {
  let count = 0;
  for (let tries = 0; tries < TRIES; tries++) {
    await new Promise((done) => setTimeout(done, PAUSE_MS));
    const spans = (await read(`/traces/${traceId}`).catch(() => null))?.spans ?? [];
    const settled = spans.length > 0 && spans.length === count;
    count = spans.length;
    take(spans, settled || tries + 1 === TRIES);
    if (settled && tries > 4) return;
  }
}

export const example = async (graph, revision) => {
  const found = await read(`${graphPath(graph)}/revisions/${revision}/example`);
  return { text: found.request ? written(found.request) : "", source: found.source };
};

// JSON with each tensor's numbers on one line.
export function written(request) {
  const flat = (value) => Array.isArray(value) && value.every((one) => typeof one !== "object");
  const kept = [];
  const marked = JSON.stringify(request, (name, value) =>
    flat(value) ? `@${kept.push(JSON.stringify(value)) - 1}@` : value, 2);
  return marked.replaceAll(/"@(\d+)@"/g, (_, index) => kept[index].replaceAll(",", ", "));
}
