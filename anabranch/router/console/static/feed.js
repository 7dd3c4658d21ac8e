// The line to the engine: server-sent events, read by fetch, which can carry the session.
//
// `line` says how it is: {state, since: Date, reason}; the states are connecting, open, lost (nobody
// answers), refused (the engine answers that it cannot) and locked (it wants a login).

import { at, forgetSession, session } from "./api.js";

const SILENCE_MS = 15000; // the engine says something every five seconds
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 4000;

export class Feed {
  constructor(onEvent, onLine) {
    this.onEvent = onEvent;
    this.onLine = onLine;
    this.line = { state: "connecting", since: new Date(), reason: "" };
    this.graph = "";
  }

  // Follow one graph in detail, or none, from now on.
  follow(graph) {
    this.graph = graph;
    this.restart();
  }

  restart() {
    this.stop();
    this.control = new AbortController();
    this.run(this.control.signal);
  }

  stop() {
    this.control?.abort();
  }

  async run(signal) {
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const problem = await this.listen(signal, () => (pause = FIRST_PAUSE_MS));
      if (signal.aborted) return;
      if (problem.status === 401) {
        if (forgetSession()) continue; // it has ended
        return this.say("locked", problem.message);
      }
      this.say(problem.status ? "refused" : "lost", problem.message);
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  // Listen until something goes wrong; gives what.
  async listen(signal, onOpen) {
    const silence = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    try {
      heard();
      const reply = await fetch(at(`console/events?graph=${encodeURIComponent(this.graph)}`), {
        headers: session(),
        cache: "no-store",
        signal: AbortSignal.any([signal, silence.signal]),
      });
      if (!reply.ok) {
        const body = await reply.json().catch(() => null);
        return body?.error
          ? { status: reply.status, message: body.error }
          : { message: `it answers with status ${reply.status}` };
      }
      onOpen();
      this.say("open", "");
      await this.read(reply.body.getReader(), heard);
      return { message: "the engine has closed the line" };
    } catch {
      return { message: silence.signal.aborted ? "the engine is silent" : "nobody answers" };
    } finally {
      clearTimeout(timer);
    }
  }

  async read(reader, heard) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      text += decoder.decode(value, { stream: true });
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) this.take(event);
    }
  }

  take(event) {
    const fields = Object.fromEntries(
      event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
    );
    if (fields.event) this.onEvent(fields.event, JSON.parse(fields.data));
  }

  say(state, reason) {
    const same = this.line.state === state;
    this.line = { state, reason, since: same ? this.line.since : new Date() };
    this.onLine(this.line);
  }
}
