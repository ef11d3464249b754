// Charts of cpu and memory over the last minutes.

import { draw, make, setText } from "./dom.js";
import { bytes, cores } from "./format.js";
import { followStats } from "./stats.js";

const [WIDTH, HEIGHT] = [300, 72];
const SPAN_S = 600;

export function makeCharts(id, signal) {
  const cpu = makeChart("CPU", cores);
  const memory = makeChart("Memory", bytes);
  const network = make("p", { class: "quiet" });
  const samples = [];
  let following = null;

  function take(found) {
    samples.push(...found);
    while (samples.length > 1 && new Date(samples.at(-1).time) - new Date(samples[0].time) > SPAN_S * 1000) samples.shift();
    const last = samples.at(-1);
    cpu.show(samples.map(({ time, cpu }) => [time, cpu]), last.cpuLimit);
    memory.show(samples.map(({ time, memoryBytes }) => [time, memoryBytes]), last.memoryLimitBytes);
    const parts = [["received", last.networkReceivedBytes], ["sent", last.networkSentBytes], ["on disk", last.diskBytes]];
    setText(network, parts.filter(([, amount]) => amount !== null).map(([name, amount]) => `${bytes(amount)} ${name}`).join(" · "));
  }

  const charts = make("div", { class: "charts" }, cpu, memory, network);
  charts.show = ({ power, InternalState }) => {
    const isWanted = power === "running" && InternalState === "READY";
    if (isWanted && !following) {
      following = new AbortController();
      const report = (state, error) => error && setText(network, error.message);
      followStats(id, { signal: AbortSignal.any([signal, following.signal]), onSamples: take, report });
    } else if (!isWanted) {
      following?.abort();
      following = null;
      setText(network, "It is measured while it runs.");
    }
  };
  return charts;
}

function makeChart(title, format) {
  const area = draw("path", { class: "area" });
  const line = draw("path", { class: "line" });
  const said = make("span");
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, area, line);
  const chart = make("figure", {}, make("figcaption", { class: "between" }, make("b", {}, title), said), picture);
  chart.show = (points, limit) => {
    const times = points.map(([time]) => new Date(time).getTime());
    const values = points.map(([, value]) => value);
    const end = times.at(-1);
    const span = Math.max(60_000, end - times[0]);
    const top = Math.max(...values, limit ?? 0) || 1;
    const at = times.map((time, each) => `${(WIDTH * (1 - (end - time) / span)).toFixed(1)} ${(HEIGHT - 2 - (HEIGHT - 6) * values[each] / top).toFixed(1)}`);
    line.setAttribute("d", `M${at.join("L")}`);
    area.setAttribute("d", `M${at[0].split(" ")[0]} ${HEIGHT}L${at.join("L")}L${WIDTH} ${HEIGHT}Z`);
    setText(said, limit ? `${format(values.at(-1))} of ${format(limit)}` : format(values.at(-1)));
    picture.setAttribute("aria-label", `${title}: now ${said.textContent}; ${format(Math.max(...values))} at the most in the last ${Math.ceil(span / 60000)} min`);
  };
  return chart;
}
