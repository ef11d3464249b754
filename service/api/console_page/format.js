// Quantities and times in words.
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const trim = (number, digits) => String(Number(number.toFixed(digits)));

export function ago(time) {
  if (!time) return "never";
  const seconds = (new Date(time) - Date.now()) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  const [unit, length] = UNITS.find(([, each]) => Math.abs(seconds) >= each);
  return relative.format(Math.round(seconds / length), unit);
}

export function lasted(from, until) {
  const seconds = Math.max(0, (until ? new Date(until) : new Date()) - new Date(from)) / 1000;
  if (seconds < 90) return `${trim(seconds, seconds < 10 ? 1 : 0)} s`;
  return seconds < 5400 ? `${trim(seconds / 60, 0)} min` : `${trim(seconds / 3600, 0)} h`;
}

export const mib = (amount) => (amount < 1024 ? `${trim(amount, 0)} MiB` : `${trim(amount / 1024, 1)} GiB`);
export const bytes = (amount) => (amount < 1048576 ? `${trim(amount / 1024, 0)} KiB` : mib(amount / 1048576));
export const cores = (amount) => `${trim(amount, amount < 0.1 ? 3 : 2)} ${amount === 1 ? "core" : "cores"}`;
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// How much of all: "0.5 of 2 cores".
export const share = (used, all, format) => (all || all === 0 ? `${format(used).replace(/ cores?$/, "")} of ${format(all)}` : format(used));
