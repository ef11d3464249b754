// Operations: work on nodes, with its steps as they are done.
import { ago, call, keep, lasted, make, makePill, newIdempotencyKey, path, put, session, setText, showEmpty, showError, store, View } from "./kit.js";
import { loadNames, loadNodes } from "./nodes.js";

const PAGE = 20;
const MOST = 200;
export const isOpen = ({ status }) => status === "pending" || status === "running";

// All operations, or with `data-instance` those of one instance that have ended.
class OperationList extends View {
  limit = 0;

  open() {
    this.instanceId = this.dataset.instance ?? null;
    this.list = make("ul", { class: "cards narrow" });
    this.empty = make("div", { hidden: true }, showEmpty("No operations yet.", "What is done on nodes is shown here: deploys, starts, stops."));
    this.more = make("button", { type: "button", hidden: true, onclick: () => this.load(this.next) }, "Earlier ones");
    this.append(this.instanceId ? "" : make("h1", {}, "Operations"), this.problem, this.empty, this.list, this.more);
    this.on("operation", () => this.render());
    this.on("gap", () => this.load());
    this.every(1, () => this.render());
    if (!this.instanceId) loadNames(this.signal).catch(() => {}); // then their ids are shown
    if (session.may("nodes:read")) loadNodes(this.signal).catch(() => {}); // the same
    this.load();
  }

  load(cursor = null) {
    return this.attempt(async () => {
      const query = { limit: PAGE, instanceId: this.instanceId, cursor };
      const { data, next } = await call("GET", "/api/operations", { query, signal: this.signal });
      this.next = next;
      this.limit = cursor ? this.limit + PAGE : PAGE;
      this.more.hidden = !next || this.limit >= MOST;
      store.put("operation", data);
    });
  }

  render() {
    const operations = store.listOperations(this.instanceId).filter((each) => !this.instanceId || !isOpen(each)).slice(0, this.limit);
    this.empty.hidden = operations.length > 0 || this.limit === 0;
    keep(this.list, operations, ({ id }) => id, makeOperation);
  }
}

export function makeOperation() {
  const [title, pill, bar, answer] = [make("h3"), makePill(), make("progress"), make("div")];
  const [about, problem] = ["quiet", "warning"].map((style) => make("p", { class: style }));
  const [steps, button] = [make("ol", { class: "steps" }), make("button", { type: "button" })];
  const item = make("li", { class: "card" }, make("div", { class: "between" }, title, pill), about, steps, bar, problem, answer, button);

  async function ask(what, id) {
    const headers = { "Idempotency-Key": newIdempotencyKey() };
    const answered = call("POST", path`/api/operations/${id}/${what}`, { headers });
    put(answer, await answered.then(({ data }) => store.put("operation", [data]), showError));
  }

  item.show = (operation) => {
    const { id, kind, status, instanceId, bulk, transfer, createdAt, endedAt } = operation;
    const what = isOpen(operation) ? "cancel" : "retry";
    const target = bulk ? `of ${bulk.total} items` : store.names.get(instanceId) ?? instanceId;
    const goal = transfer ? ` to ${store.node.get(transfer.targetId)?.name ?? transfer.targetId}` : "";
    setText(title, `${kind[0].toUpperCase()}${kind.slice(1)} ${target}${goal}`);
    pill.show(status === "running" ? "in progress" : status);
    setText(about, isOpen(operation) ? `for ${lasted(createdAt)}` : `${ago(createdAt)} · took ${lasted(createdAt, endedAt)}`);
    keep(steps, operation.steps, ({ startedAt }) => startedAt, makeStep);
    const [done, all] = bulk ? [bulk.ended, bulk.total] : [transfer?.bytesCopied, transfer?.bytesTotal];
    bar.hidden = !all || !isOpen(operation);
    if (all) Object.assign(bar, { max: all, value: done });
    setText(problem, operation.error ?? "");
    const fits = what === "cancel" ? !operation.cancelRequested && kind !== "delete" : ["failed", "cancelled"].includes(status) && !bulk;
    button.hidden = !fits || !session.may("instances:write");
    setText(button, what === "cancel" ? "Cancel" : "Retry");
    button.onclick = () => ask(what, id);
  };
  return item;
}

function makeStep() {
  const [words, time] = [make("span"), make("span", { class: "quiet" })];
  const step = make("li", {}, words, time);
  step.show = ({ name, progress, error, startedAt, endedAt }) => {
    step.dataset.state = error ? "bad" : endedAt ? "done" : "busy";
    setText(words, [name, error ?? progress].filter(Boolean).join(": "));
    setText(time, lasted(startedAt, endedAt));
  };
  return step;
}

customElements.define("operation-list", OperationList);
