// What is promised of what may be: as a meter, and of a user beside the quota.
import { call, cores, keep, make, mib, path, setText, share } from "./kit.js";

const MEASURES = [
  ["instances", "Instances", String], ["memory", "Memory", mib], ["cpu", "Cores", cores], ["disk", "Disk", (gb) => `${gb} GB`], ["ports", "Host ports", String],
];

export function makeMeter(title, format) {
  const [said, rest] = [make("span"), make("span", { class: "quiet" })];
  const bar = make("meter", { min: 0, "aria-label": `${title} promised` });
  const meter = make("div", { class: "meter" }, make("div", { class: "between" }, said, rest), bar);
  meter.show = ({ used, all, isLimited }) => {
    setText(said, `${title}: ${share(used, all, format)} promised`);
    setText(rest, isLimited ? `${format(Math.max(0, all - used))} left` : "not limited");
    bar.hidden = all === null;
    Object.assign(bar, { max: all || 1, high: (all || 1) * 0.9, value: used });
  };
  return meter;
}

// Reads what the instances of a user are promised: of each measure what is used of all.
export async function readUsage(user, signal) {
  const { promised, quota } = (await call("GET", path`/api/users/${user}/usage`, { signal })).data;
  return MEASURES.map(([name, title, format]) => ({ name, title, format, used: promised[name], all: quota[name], isLimited: quota[name] !== null }));
}

// All that a user has; nothing of one who was deleted.
export function makeUsage(user, signal) {
  const [usage, makeOne] = [make("div", { class: "charts" }), ({ title, format }) => makeMeter(title, format)];
  usage.load = async () => keep(usage, await readUsage(user, signal).catch(() => []), ({ name }) => name, makeOne);
  usage.load();
  return usage;
}
