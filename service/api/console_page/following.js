// Follows something for as long as it is wanted: again after an interruption, later and later; not
// while the tab is hidden, as a browser has six connections to a server for all its tabs.
const LONGEST_WAIT_S = 30;

// Waits for the first of these events, or so long.
export async function wait(signal, events, seconds) {
  const done = new AbortController();
  await new Promise((resolve) => {
    if (signal.aborted) resolve();
    if (seconds) done.signal.addEventListener("abort", clearTimeout.bind(null, setTimeout(resolve, seconds * 1000)));
    for (const [target, name] of [[signal, "abort"], ...events]) target.addEventListener(name, resolve, { signal: done.signal });
  });
  done.abort();
}

// `attempt(signal, alive)` follows until it is interrupted, and calls `alive` when it hears
// something. `report` is told "live", "ended" by an error that will not pass, or "waiting".
export async function follow(attempt, { signal, report }) {
  let failures = 0;
  while (!signal.aborted) {
    if (document.hidden) await wait(signal, [[document, "visibilitychange"]]);
    const hidden = new AbortController();
    document.addEventListener("visibilitychange", () => hidden.abort(), { signal: hidden.signal });
    const error = await attempt(AbortSignal.any([signal, hidden.signal]), () => {
      failures = 0;
      report("live");
    }).catch((problem) => problem);
    if (signal.aborted) return;
    if (hidden.signal.aborted) continue;
    hidden.abort(); // listens no more
    if (error?.status && !error.passes) return report("ended", error);
    const seconds = error?.retryAfter || Math.min(LONGEST_WAIT_S, 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    if (error) report("waiting", error);
    await wait(signal, [[window, "online"]], seconds);
  }
}
