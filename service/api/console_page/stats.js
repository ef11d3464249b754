// What instances use: what workers sampled, and what one uses now. That is asked for again and again:
// to follow it would take a third of the connections that a browser has to a server, for all its tabs.
import { call, path } from "./api.js";
import { follow, wait } from "./following.js";

const PAUSE_S = 3;

// `onSamples` is handed {time, cpu, memoryBytes, cpuLimit, memoryLimitBytes, ...}: of the last hour, then of now.
export function followStats(id, { signal, onSamples, report }) {
  let isBegun = false;
  return follow(async (signal, alive) => {
    if (!isBegun) onSamples(await readHistory(id, signal));
    isBegun = true;
    onSamples([(await call("GET", path`/api/instances/${id}/stats`, { signal })).data]);
    alive();
    await wait(signal, [], PAUSE_S);
  }, { signal, report });
}

async function readHistory(instance, signal) {
  const { times, instances } = (await call("GET", "/api/stats", { query: { instance }, signal })).data;
  return instances.flatMap(({ latest, cpuLimit, series: { cpu, memoryBytes } }) => times
    .map((time, each) => ({ ...latest, cpuLimit, time, cpu: cpu[each], memoryBytes: memoryBytes[each] }))
    .filter((sample) => sample.cpu !== null && sample.memoryBytes !== null));
}

// What the instances of each node used last, by the node's id; nothing with more of them than one answer has.
export async function readLoads(signal) {
  const { instances, next } = (await call("GET", "/api/stats", { query: { latest: true, limit: 1000 }, signal })).data;
  const loads = {};
  for (const { nodeId, latest } of next ? [] : instances) {
    const { cpu, memoryBytes } = loads[nodeId] ?? { cpu: 0, memoryBytes: 0 };
    loads[nodeId] = { cpu: cpu + (latest?.cpu ?? 0), memoryBytes: memoryBytes + (latest?.memoryBytes ?? 0) };
  }
  return loads;
}
