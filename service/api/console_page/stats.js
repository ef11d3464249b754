// What an instance uses, measured again and again: `onSamples` is handed each as the API answers it.

import { call, path } from "./api.js";
import { poll } from "./following.js";

const POLL_S = 3;

export function followStats(id, { signal, onSamples, report }) {
  return poll(async (signal) => {
    onSamples([(await call("GET", path`/api/instances/${id}/stats`, { signal })).data]);
  }, POLL_S, { signal, report });
}
