// The console of an instance: its logs, and a line for its program.

import { call, newIdempotencyKey, path, session } from "./api.js";
import { make } from "./dom.js";
import { followLogs } from "./logs.js";
import { showError } from "./messages.js";

const MAX_LINES = 2000;
const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f]/g; // of colours and cursors

export function makeTerminal(id, signal) {
  const screen = make("div", { class: "screen", tabindex: 0, role: "log", "aria-label": "Logs", "aria-live": "off" });
  const problem = make("div");
  const input = make("input", { "aria-label": "A line for the program", placeholder: "A line for the program, such as save-all", autocomplete: "off", spellcheck: "false", maxlength: 4095 });
  const form = make("form", { class: "command", onsubmit: (event) => (event.preventDefault(), submit()) }, make("span", { "aria-hidden": "true" }, "›"), input, make("button", {}, "Send"));
  const sent = [];
  let place = 0;

  function write(lines, isAll) {
    const isAtEnd = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
    const texts = lines.map((line) => line.replace(ESCAPES, ""));
    if (isAll && texts.join("\n") === screen.innerText) return;
    const made = texts.slice(-MAX_LINES).map((text) => make("div", {}, text || "\u00a0"));
    if (isAll) screen.replaceChildren(...made);
    else screen.append(...made);
    while (screen.childElementCount > MAX_LINES) screen.firstChild.remove();
    if (!screen.hasChildNodes()) screen.append(make("p", { class: "quiet" }, "It has written nothing yet."));
    if (isAtEnd) screen.scrollTop = screen.scrollHeight;
  }

  async function submit() {
    const line = input.value;
    if (!line) return;
    problem.replaceChildren();
    try {
      await call("POST", path`/api/instances/${id}/command`, { body: { line }, headers: { "Idempotency-Key": newIdempotencyKey() } });
      sent.push(line);
      place = sent.length;
      if (input.value === line) input.value = "";
    } catch (error) {
      problem.replaceChildren(showError(error));
    }
  }

  input.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    place = Math.max(0, Math.min(sent.length, place + by));
    input.value = sent[place] ?? "";
  });

  followLogs(id, {
    signal,
    onLines: write,
    report: (state, error) => problem.replaceChildren(...(error ? [showError(error)] : [])),
  });
  const terminal = make("div", { class: "terminal" }, screen, form, problem);
  terminal.show = (instance) => {
    form.hidden = !session.may("instances:write") || instance.power === "stopped" || instance.InternalState !== "READY";
  };
  return terminal;
}
