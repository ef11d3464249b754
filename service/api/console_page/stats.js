// What an instance uses now, measured again and again.

import { call, path } from "./api.js";
import { follow, wait } from "./following.js";

const PAUSE_S = 3;

// `onSamples` is handed {time, cpu, memoryBytes, cpuLimit, memoryLimitBytes, ...} of each.
export function followStats(id, { signal, onSamples, report }) {
  return follow(async (signal, alive) => {
    onSamples([(await call("GET", path`/api/instances/${id}/stats`, { signal })).data]);
    alive();
    await wait(signal, [], PAUSE_S);
  }, { signal, report });
}
