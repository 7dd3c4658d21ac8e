// Calls to the engine. Reads go below console/api, changes to the control API with the token.

const ROOT = new URL("..", import.meta.url);
const KEY = "anabranch-token";

export const at = (path) => new URL(path, ROOT);

// Kept for this tab alone, and forgotten with it.
export const token = () => sessionStorage.getItem(KEY) ?? "";
export const keepToken = (text) => sessionStorage.setItem(KEY, text);
export const dropToken = () => sessionStorage.removeItem(KEY);

export const authorization = () => (token() ? { authorization: `Bearer ${token()}` } : {});

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

export const read = (path) => call(`console/api${path}`, { headers: authorization() });

export const change = (method, path, body) =>
  call(`control/v1${path}`, {
    method,
    headers: { ...authorization(), "content-type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });

// Exchange a code of a link for the token, and keep that.
export async function signInBy(code) {
  const body = await call("console/sign-in", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  keepToken(body.token);
}

// Read from the control API what only those with the token may read.
export const readClosed = (path) => call(`control/v1${path}`, { headers: authorization() });

// Whether the token opens the control API.
export async function isToken(text) {
  const headers = { authorization: `Bearer ${text}` };
  try {
    await call("control/v1/graphs", { headers });
    return true;
  } catch (error) {
    if (error.status === 401) return false;
    throw error;
  }
}

export const graphPath = (graph) => `/graphs/${encodeURIComponent(graph)}`;
