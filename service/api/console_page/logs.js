// What an instance's program writes. `onLines` is handed lines, and whether they replace all before.
import { call, path, send } from "./api.js";
import { follow, wait } from "./following.js";
import { readEvents } from "./stream.js";

const TAIL = 200;
const POLL_S = 2;
const AFTER_END_S = 5;

export function followLogs(id, { signal, onLines, report }) {
  const target = path`/api/instances/${id}/logs`;
  let [canFollow, after] = [true, null];

  // Where no log can be followed, or no more of them, the last lines are asked for again and again.
  async function poll(signal, alive) {
    canFollow = false;
    onLines((await call("GET", target, { query: { tail: TAIL }, signal })).data.lines, true);
    alive();
    await wait(signal, [], POLL_S);
  }

  return follow(async (signal, alive) => {
    const headers = { Accept: "text/event-stream", ...(after && { "Last-Event-ID": after }) };
    const response = canFollow && (await send("GET", target, { headers, query: { tail: TAIL, follow: true }, signal }).catch((error) => {
      if (![400, 503].includes(error.status)) throw error;
    }));
    if (!response) return poll(signal, alive);
    if (!after) onLines([], true);
    for await (const told of readEvents(response, signal)) {
      alive();
      after = told.findLast(({ id }) => id)?.id ?? after;
      onLines(told.filter(({ type, data }) => type === "message" && data).map(({ data }) => JSON.parse(data).line), false);
      if (told.some(({ type }) => type === "end")) return wait(signal, [], AFTER_END_S);
    }
  }, { signal, report });
}
