// Quantities and times in words.

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export function ago(time) {
  if (!time) return "never";
  const seconds = (new Date(time) - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
  return Math.abs(seconds) < 5 ? "just now" : relative.format(Math.round(seconds / length), unit);
}

export function lasted(from, until) {
  const seconds = Math.max(0, (until ? new Date(until) : new Date()) - new Date(from)) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function mib(amount) {
  return amount < 1024 ? `${trim(amount, 0)} MiB` : `${trim(amount / 1024, 1)} GiB`;
}

export function bytes(amount) {
  return amount < 1048576 ? `${trim(amount / 1024, 0)} KiB` : mib(amount / 1048576);
}

export function cores(amount) {
  return `${trim(amount, 2)} ${amount === 1 ? "core" : "cores"}`;
}

function trim(number, digits) {
  return String(Number(number.toFixed(digits)));
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
