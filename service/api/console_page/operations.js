// Operations: work on nodes, with its steps as they are done.

import { call, newIdempotencyKey, path, session } from "./api.js";
import { keep, make, setText } from "./dom.js";
import { ago, lasted } from "./format.js";
import { showEmpty, showError } from "./messages.js";
import { makePill } from "./states.js";
import { store } from "./store.js";
import { View } from "./view.js";

const PAGE = 20;
const OPEN = ["pending", "running"];
const NAMES = { running: "in progress" };

// All operations, or with `data-instance` those of one instance.
class OperationList extends View {
  open() {
    this.instanceId = this.dataset.instance ?? null;
    this.list = make("ul", { class: "cards narrow" });
    this.problem = make("div");
    this.empty = make("div", { hidden: true }, this.instanceId ? make("p", { class: "quiet" }, "None in the last 30 days.") : showEmpty("No operations yet.", "What is done on nodes is shown here: deploys, starts, stops."));
    this.more = make("button", { type: "button", hidden: true, onclick: () => this.load(this.next) }, "Earlier ones");
    if (!this.instanceId) this.append(make("h1", {}, "Operations"));
    this.append(this.problem, this.empty, this.list, this.more);
    this.on("operation", () => this.loaded && this.render());
    this.on("gap", () => this.load());
    const clock = setInterval(() => this.render(), 1000);
    this.signal.addEventListener("abort", () => clearInterval(clock));
    this.load();
  }

  async load(cursor = null) {
    try {
      const { data, next } = await call("GET", "/api/operations", { query: { limit: PAGE, instanceId: this.instanceId, cursor }, signal: this.signal });
      this.next = next;
      this.loaded = true;
      this.limit = (cursor ? this.limit : 0) + PAGE;
      this.more.hidden = !next || this.limit >= 200;
      this.problem.replaceChildren();
      store.put("operation", data);
    } catch (error) {
      if (!this.signal.aborted) this.problem.replaceChildren(showError(error));
    }
  }

  render() {
    const operations = store.listOperations(this.instanceId).slice(0, this.limit);
    this.empty.hidden = operations.length > 0 || !this.loaded;
    keep(this.list, operations, ({ id }) => id, makeOperation);
  }
}

export function makeOperation() {
  const title = make("h3");
  const pill = makePill();
  const about = make("p", { class: "quiet" });
  const steps = make("ol", { class: "steps" });
  const bar = make("progress", { hidden: true });
  const problem = make("p", { class: "warning" });
  const answer = make("div");
  const button = make("button", { type: "button", hidden: true });
  const item = make("li", { class: "card" }, make("div", { class: "between" }, title, pill), about, steps, bar, problem, answer, button);

  async function ask(what, id) {
    answer.replaceChildren();
    try {
      const headers = { "Idempotency-Key": newIdempotencyKey() };
      store.put("operation", [(await call("POST", path`/api/operations/${id}/` + what, { headers })).data]);
    } catch (error) {
      answer.replaceChildren(showError(error));
    }
  }

  item.show = (operation) => {
    const isOpen = OPEN.includes(operation.status);
    const instance = store.instance.get(operation.instanceId);
    setText(title, `${operation.kind[0].toUpperCase()}${operation.kind.slice(1)} ${instance?.Name ?? operation.instanceId ?? `of ${operation.bulk?.total} items`}`);
    pill.show(NAMES[operation.status] ?? operation.status);
    setText(about, isOpen ? `for ${lasted(operation.createdAt)}` : `${ago(operation.createdAt)} · took ${lasted(operation.createdAt, operation.endedAt)}`);
    keep(steps, operation.steps, ({ name }) => name, makeStep);
    bar.hidden = !operation.bulk || !isOpen;
    if (operation.bulk) Object.assign(bar, { max: operation.bulk.total, value: operation.bulk.ended });
    setText(problem, operation.error ?? "");
    problem.hidden = !operation.error;
    const what = isOpen ? "cancel" : "retry";
    const fits = isOpen ? !operation.cancelRequested && operation.kind !== "delete" : ["failed", "cancelled"].includes(operation.status) && !operation.bulk;
    button.hidden = !fits || !session.may("instances:write");
    setText(button, isOpen ? "Cancel" : "Retry");
    button.onclick = () => ask(what, operation.id);
  };
  return item;
}

function makeStep() {
  const words = make("span");
  const time = make("span", { class: "quiet" });
  const step = make("li", {}, words, time);
  step.show = ({ name, progress, error, startedAt, endedAt }) => {
    step.dataset.state = error ? "bad" : endedAt ? "done" : "busy";
    setText(words, [name, error ?? progress].filter(Boolean).join(": "));
    setText(time, lasted(startedAt, endedAt));
  };
  return step;
}

customElements.define("operation-list", OperationList);
