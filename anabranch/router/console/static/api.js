// Calls to the engine. Reads go below console/api, changes to the control API; both in the session.

const ROOT = new URL("..", import.meta.url);
const HALF = "anabranch-csrf";

export const at = (path) => new URL(path, ROOT);

// The page's half of a session, for all tabs of this origin. It opens nothing without the cookie,
// which no script can read.
export const isLoggedIn = () => localStorage.getItem(HALF) !== null;
export const session = () => (isLoggedIn() ? { "x-anabranch-csrf": localStorage.getItem(HALF) } : {});

// Forget a session that has ended; whether there was one.
export function forgetSession() {
  const was = isLoggedIn();
  localStorage.removeItem(HALF);
  return was;
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, options) {
  let reply;
  try {
    reply = await fetch(at(path), { cache: "no-store", ...options });
  } catch {
    throw new Refused(0, "the engine does not answer");
  }
  const body = await reply.json().catch(() => null);
  if (!reply.ok) throw new Refused(reply.status, body?.error ?? `status ${reply.status}`);
  return body;
}

export const read = (path) => call(`console/api${path}`, { headers: session() });

const JSON_TYPE = { "content-type": "application/json" };

export const change = (method, path, body) =>
  call(`control/v1${path}`, {
    method,
    headers: { ...session(), ...JSON_TYPE },
    body: JSON.stringify(body ?? {}),
  });

// Begin a session with {key} or with {code}, that of a link.
export async function logIn(shown) {
  const body = await call("console/login", { method: "POST", headers: JSON_TYPE, body: JSON.stringify(shown) });
  localStorage.setItem(HALF, body.csrf);
}

export async function logOut() {
  const ended = call("console/logout", { method: "POST", headers: session() });
  forgetSession();
  await ended;
}

// Read from the control API what only those who are logged in may read.
export const readClosed = (path) => call(`control/v1${path}`, { headers: session() });

export const graphPath = (graph) => `/graphs/${encodeURIComponent(graph)}`;

// In the Open Inference Protocol. The slash of a name stays: the edge goes by it.
export const modelPath = (graph) => `v2/models/${graph.split("/").map(encodeURIComponent).join("/")}`;
