// Charts of cpu and memory over the last minutes.
import { bytes, cores, draw, make, setText, share } from "./kit.js";
import { followStats } from "./stats.js";

const [WIDTH, HEIGHT] = [300, 72];
const [SHORTEST_MS, LONGEST_MS] = [60_000, 3_600_000];

export function makeCharts(id, signal) {
  const [cpu, memory] = [makeChart("CPU", cores), makeChart("Memory", bytes)];
  const [network, samples] = [make("p", { class: "quiet" }), []];
  let following = null;

  function take(found) {
    samples.push(...found);
    const last = samples.at(-1);
    if (!last) return;
    while (new Date(last.time) - new Date(samples[0].time) > LONGEST_MS) samples.shift();
    cpu.show(samples.map(({ time, cpu }) => [time, cpu]), last.cpuLimit);
    memory.show(samples.map(({ time, memoryBytes }) => [time, memoryBytes]), last.memoryLimitBytes);
    const parts = [["received", last.networkReceivedBytes], ["sent", last.networkSentBytes], ["on disk", last.diskBytes]];
    setText(network, parts.filter(([, amount]) => amount !== null).map(([name, amount]) => `${bytes(amount)} ${name}`).join(" · "));
  }

  const charts = make("div", { class: "charts" }, cpu, memory, network);
  charts.show = ({ power, InternalState }) => {
    const isWanted = power === "running" && InternalState === "READY";
    if (isWanted === Boolean(following)) return;
    following?.abort();
    following = isWanted ? new AbortController() : null;
    setText(network, isWanted ? "Measuring…" : "It is measured while it runs.");
    const report = (state, error) => error && setText(network, error.message);
    if (isWanted) followStats(id, { signal: AbortSignal.any([signal, following.signal]), onSamples: take, report });
  };
  setText(network, "It is measured while it runs.");
  return charts;
}

function makeChart(title, format) {
  const [area, line] = [draw("path", { class: "area" }), draw("path", { class: "line" })];
  const said = make("span", { class: "quiet" });
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title }, area, line);
  const chart = make("figure", {}, make("figcaption", { class: "between" }, make("b", {}, title), said), picture);
  chart.show = (points, limit) => {
    const values = points.map(([, value]) => value);
    const times = points.map(([time]) => Date.parse(time));
    const span = Math.max(SHORTEST_MS, times.at(-1) - times[0]);
    const peak = Math.max(...values);
    const top = (limit && peak > limit / 10 ? Math.max(peak, limit) : Math.max(peak * 1.5, (limit ?? 0) / 50)) || 1;
    const x = times.map((time) => (WIDTH * (1 - (times.at(-1) - time) / span)).toFixed(1));
    const path = values.map((value, each) => `${x[each]} ${(HEIGHT - 2 - ((HEIGHT - 6) * value) / top).toFixed(1)}`).join("L");
    line.setAttribute("d", `M${path}`);
    area.setAttribute("d", `M${x[0]} ${HEIGHT}L${path}L${WIDTH} ${HEIGHT}Z`);
    setText(said, `${share(values.at(-1), limit, format)} · at most ${format(peak)} in ${Math.ceil(span / 60_000)} min`);
    picture.setAttribute("aria-label", `${title}: ${said.textContent}`);
  };
  return chart;
}
