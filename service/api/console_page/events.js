// What happens, as it happens: each event once, in its order, across interruptions.
import { call, send } from "./api.js";
import { follow } from "./following.js";
import { readEvents } from "./stream.js";

const POLL_S = 25;

// Calls `onEvent` for each event from now on; `onGap` first, and whenever some may be missing: then
// what is shown has to be read again.
export function followEvents({ signal, onEvent, onGap, report }) {
  let after = null;
  const take = (event) => (event.type === "log.gap" ? onGap() : onEvent(event));

  async function attempt(signal, alive) {
    if (after === null) {
      after = (await call("GET", "/api/events", { query: { limit: 1 }, signal })).data.next;
      onGap();
    }
    alive();
    try {
      await readStream(signal, alive);
      await poll(signal, alive);
    } catch (error) {
      if (error.status !== 410) throw error;
      after = null; // so old that what came next is forgotten
    }
  }

  // Returns at once where there is no room for another stream.
  async function readStream(signal, alive) {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": after };
    const response = await send("GET", "/api/events", { headers, query: { after }, signal }).catch((error) => {
      if (error.status !== 503) throw error;
    });
    if (!response?.headers.get("Content-Type").startsWith("text/event-stream")) return;
    for await (const told of readEvents(response, signal)) {
      alive();
      for (const { id, data } of told) {
        if (data) take(JSON.parse(data));
        after = id ?? after;
      }
    }
    throw new TypeError("The stream has ended.");
  }

  async function poll(signal, alive) {
    const { data } = await call("GET", "/api/events", { query: { after, wait: POLL_S }, signal });
    alive();
    after = data.next;
    data.events.forEach(take);
  }

  return follow(attempt, { signal, report });
}
