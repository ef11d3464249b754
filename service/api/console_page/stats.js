// What an instance uses, measured again and again: `onSamples` is handed each as the API answers it.

import { call, path } from "./api.js";
import { follow } from "./following.js";

const POLL_S = 3;

export function followStats(id, { signal, onSamples, report }) {
  return follow(async (signal, alive) => {
    for (;;) {
      const { data } = await call("GET", path`/api/instances/${id}/stats`, { signal });
      alive();
      onSamples([data]);
      await new Promise((resolve) => setTimeout(resolve, POLL_S * 1000));
    }
  }, { signal, report });
}
