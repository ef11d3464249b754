// Follows something for as long as it is wanted: again after an interruption, later and later; not
// while the tab is hidden, as a browser has six connections to a server for all its tabs.

const LONGEST_WAIT_S = 30;

// Waits for the first of these events, or so long.
function wait(signal, events, seconds) {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    const timer = seconds && setTimeout(resolve, seconds * 1000);
    for (const [target, name] of [[signal, "abort"], ...events]) {
      target.addEventListener(name, () => (clearTimeout(timer), resolve()), { once: true });
    }
  });
}

// `attempt(signal, alive)` follows until it is interrupted, and calls `alive` when it hears
// something. `report` is told "live", "ended" by an error that will not pass, or "waiting".
export async function follow(attempt, { signal, report }) {
  let failures = 0;
  while (!signal.aborted) {
    if (document.hidden) await wait(signal, [[document, "visibilitychange"]]);
    const hidden = new AbortController();
    document.addEventListener("visibilitychange", () => hidden.abort(), { once: true, signal });
    const error = await attempt(AbortSignal.any([signal, hidden.signal]), () => {
      failures = 0;
      report("live");
    }).catch((problem) => problem);
    if (signal.aborted) return;
    if (hidden.signal.aborted) continue;
    if (error?.status && !error.passes) return report("ended", error);
    const seconds = error?.retryAfter || Math.min(LONGEST_WAIT_S, 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    if (error) report("waiting", error);
    await wait(signal, [[window, "online"]], seconds);
  }
}

// The same for what is asked again and again, with so many seconds between.
export function poll(ask, seconds, { signal, report }) {
  return follow(async (signal, alive) => {
    while (!signal.aborted) {
      await ask(signal);
      alive();
      await wait(signal, [], seconds);
    }
  }, { signal, report });
}
