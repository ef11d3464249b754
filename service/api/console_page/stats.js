// What an instance uses: what workers sampled in the last hour, then what it uses now, again and again.

import { call, path } from "./api.js";
import { follow, wait } from "./following.js";

const PAUSE_S = 3;

// `onSamples` is handed {time, cpu, memoryBytes, cpuLimit, memoryLimitBytes, ...} of each.
export function followStats(id, { signal, onSamples, report }) {
  let isBegun = false;
  return follow(async (signal, alive) => {
    if (!isBegun) onSamples(await readHistory(id, signal).catch(() => [])); // or the chart begins now
    isBegun = true;
    onSamples([(await call("GET", path`/api/instances/${id}/stats`, { signal })).data]);
    alive();
    await wait(signal, [], PAUSE_S);
  }, { signal, report });
}

async function readHistory(instance, signal) {
  const { times, instances } = (await call("GET", "/api/stats", { query: { instance }, signal })).data;
  return instances.flatMap(({ cpuLimit, latest, series }) => times
    .map((time, each) => ({ ...latest, cpuLimit, time, cpu: series.cpu[each], memoryBytes: series.memoryBytes[each] }))
    .filter(({ cpu, memoryBytes }) => cpu !== null && memoryBytes !== null));
}
