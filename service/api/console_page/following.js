// Follows something for as long as it is wanted: again after an interruption, later and later; not
// while the tab is hidden, as a browser has six connections to a server for all its tabs.

const LONGEST_WAIT_S = 30;

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    for (const [target, name] of [[window, "online"], [signal, "abort"]]) {
      target.addEventListener(name, () => (clearTimeout(timer), resolve()), { once: true });
    }
  });
}

function untilVisible(signal) {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) resolve();
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

// `attempt(signal, alive)` follows until it is interrupted, and calls `alive` when it hears
// something. `report` is told "live", "ended" by an error that will not pass, or "waiting".
export async function follow(attempt, { signal, report }) {
  let failures = 0;
  while (!signal.aborted) {
    await untilVisible(signal);
    if (signal.aborted) return;
    const hidden = new AbortController();
    const look = () => document.hidden && hidden.abort();
    document.addEventListener("visibilitychange", look);
    let error = null;
    try {
      await attempt(AbortSignal.any([signal, hidden.signal]), () => {
        failures = 0;
        report("live");
      });
    } catch (problem) {
      error = problem;
    } finally {
      document.removeEventListener("visibilitychange", look);
    }
    if (signal.aborted) return;
    if (hidden.signal.aborted) continue;
    if (error?.status && !error.passes) return report("ended", error);
    failures += 1;
    const wait = error?.retryAfter || Math.min(LONGEST_WAIT_S, 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
    if (error) report("waiting", error);
    await pause(wait, signal);
  }
}
