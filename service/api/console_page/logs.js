// What an instance's program writes. `onLines` is handed lines, and whether they replace all before.

import { call, path } from "./api.js";
import { follow } from "./following.js";

export const TAIL = 200;
const POLL_S = 2;

export function followLogs(id, { signal, onLines, report }) {
  return follow(async (signal, alive) => {
    for (;;) {
      const { data } = await call("GET", path`/api/instances/${id}/logs`, { query: { tail: TAIL }, signal });
      alive();
      onLines(data.lines, true);
      await new Promise((resolve) => setTimeout(resolve, POLL_S * 1000));
    }
  }, { signal, report });
}
