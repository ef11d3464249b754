// The console of an instance: its logs, and a line for its program.
import { call, make, newIdempotencyKey, path, put, session, showError } from "./kit.js";
import { followLogs } from "./logs.js";

const MAX_LINES = 2000;
const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f]/g; // of colours and cursors

export function makeTerminal(id, signal) {
  const screen = make("div", { class: "screen", tabindex: 0, role: "log", "aria-label": "Logs", "aria-live": "off" });
  const problem = make("div");
  const input = make("input", { "aria-label": "A line for the program", placeholder: "A line for the program, such as save-all", autocomplete: "off", spellcheck: "false" });
  const form = make("form", { class: "command", onsubmit: submit }, make("span", { "aria-hidden": "true" }, "›"), input, make("button", {}, "Send"));
  let before = null;

  function write(lines, isAll) {
    if (isAll && lines.join("\n") === before) return;
    before = isAll ? lines.join("\n") : null;
    const isAtEnd = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
    const made = lines.slice(-MAX_LINES).map((line) => make("div", {}, line.replace(ESCAPES, "") || "\u00a0"));
    if (isAll) screen.replaceChildren(...made);
    else screen.append(...made);
    while (screen.childElementCount > MAX_LINES) screen.firstChild.remove();
    if (isAtEnd) screen.scrollTop = screen.scrollHeight;
  }

  async function submit(event) {
    event.preventDefault();
    const line = input.value;
    if (!line) return;
    const headers = { "Idempotency-Key": newIdempotencyKey() };
    const problems = await call("POST", path`/api/instances/${id}/command`, { body: { line }, headers }).then(() => null, showError);
    put(problem, problems);
    if (!problems && input.value === line) input.value = "";
  }

  const terminal = make("div", { class: "terminal" }, screen, form, problem);
  let [shown, following] = [null, new AbortController()];
  terminal.show = ({ power, InternalState, ContainerId }) => {
    form.hidden = !session.may("instances:write") || power === "stopped" || InternalState !== "READY";
    if (shown === `${power} ${ContainerId}`) return;
    shown = `${power} ${ContainerId}`; // another run: its log begins anew
    following.abort();
    following = new AbortController();
    const report = (state, error) => put(problem, error && showError(error));
    followLogs(id, { signal: AbortSignal.any([signal, following.signal]), onLines: write, report });
  };
  return terminal;
}
