// What an instance's program writes. `onLines` is handed lines, and whether they replace all before.

import { call, path } from "./api.js";
import { poll } from "./following.js";

const TAIL = 200;
const POLL_S = 2;

export function followLogs(id, { signal, onLines, report }) {
  return poll(async (signal) => {
    const { data } = await call("GET", path`/api/instances/${id}/logs`, { query: { tail: TAIL }, signal });
    onLines(data.lines, true);
  }, POLL_S, { signal, report });
}
