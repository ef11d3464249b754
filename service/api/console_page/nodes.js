// The nodes, with what they have promised and what is left.

import { call } from "./api.js";
import { keep, make, setText } from "./dom.js";
import { ago, cores, count, mib } from "./format.js";
import { showEmpty, showError } from "./messages.js";
import { makePill } from "./states.js";
import { store } from "./store.js";
import { View } from "./view.js";

export async function loadNodes(signal) {
  store.put("node", (await call("GET", "/api/nodes", { query: { limit: 1000, sort: "name" }, signal })).data);
}

class NodeList extends View {
  open() {
    this.list = make("ul", { class: "cards" });
    this.problem = make("div");
    this.empty = make("div", { hidden: true }, showEmpty("No nodes yet.",
      "A node is a machine that runs instances. Add one with ", make("code", {}, "skyquay nodes add"), " or POST /api/nodes."));
    this.append(make("h1", {}, "Nodes"), this.problem, this.empty, this.list);
    this.on("node", () => this.loaded && this.render());
    this.on("gap", () => this.load());
    const clock = setInterval(() => this.render(), 5000);
    this.signal.addEventListener("abort", () => clearInterval(clock));
    this.load();
  }

  async load() {
    try {
      await loadNodes(this.signal);
      this.loaded = true;
      this.problem.replaceChildren();
      this.render();
    } catch (error) {
      if (!this.signal.aborted) this.problem.replaceChildren(showError(error));
    }
  }

  render() {
    const nodes = [...store.node.values()].sort((one, other) => one.name.localeCompare(other.name));
    this.empty.hidden = nodes.length > 0 || !this.loaded;
    keep(this.list, nodes, (node) => node.id, makeCard);
  }
}

function makeCard() {
  const name = make("h2");
  const pill = makePill();
  const facts = make("p", { class: "quiet" });
  const problem = make("p", { class: "warning" });
  const memory = makeMeter("Memory promised");
  const cpu = makeMeter("Cores promised");
  const link = make("a");
  const card = make("li", { class: "card" }, make("div", { class: "between" }, name, pill), facts, problem, memory, cpu, link);
  card.show = (node) => {
    setText(name, node.name);
    pill.show(node.status, node.error);
    setText(facts, `${node.engine ?? node.driver} · seen ${ago(node.lastSeenAt)}`);
    setText(problem, [node.error, ...node.warnings].filter(Boolean).join(" "));
    problem.hidden = !problem.textContent;
    memory.show(node.allocatedMemoryMib, node.memoryMib, mib);
    cpu.show(node.allocatedCpu, node.cpu ?? node.cores, cores, node.cpu === null);
    link.href = `#/instances?${new URLSearchParams({ node: node.id })}`;
    setText(link, count(node.instances, "instance"));
    link.setAttribute("aria-label", `${link.textContent} on ${node.name}`);
  };
  return card;
}

function makeMeter(title) {
  const said = make("span");
  const bar = make("meter", { min: 0, "aria-label": title });
  const meter = make("div", { class: "meter" }, make("div", { class: "between" }, make("span", {}, title), said), bar);
  meter.show = (used, all, format, isOnlyAdvice = false) => {
    setText(said, all === null ? `${format(used)}, not limited` : `${format(used)} of ${format(all)}${isOnlyAdvice ? ", not limited" : ` · ${format(Math.max(0, all - used))} left`}`);
    bar.hidden = all === null;
    Object.assign(bar, { max: all || 1, high: (all || 1) * 0.9, value: used });
  };
  return meter;
}

customElements.define("node-list", NodeList);
