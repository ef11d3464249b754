// The nodes, with what they have promised and what is left.

import { call, session } from "./api.js";
import { keep, make, setText } from "./dom.js";
import { ago, bytes, cores, count, mib, share } from "./format.js";
import { showEmpty } from "./messages.js";
import { makePill } from "./states.js";
import { readLoads } from "./stats.js";
import { store } from "./store.js";
import { View } from "./view.js";

export async function loadNodes(signal) {
  store.put("node", (await call("GET", "/api/nodes", { query: { limit: 1000, sort: "name" }, signal })).data);
}

class NodeList extends View {
  open() {
    this.list = make("ul", { class: "cards" });
    this.empty = make("div", { hidden: true }, showEmpty("No nodes yet.",
      "A node is a machine that runs instances. Add one with ", make("code", {}, "skyquay nodes add"), " or POST /api/nodes."));
    this.append(make("h1", {}, "Nodes"), this.problem, this.empty, this.list);
    this.on("node", () => this.render());
    this.on("gap", () => this.load());
    this.every(5, () => this.render());
    this.every(15, () => document.hidden || this.load());
    this.load();
  }

  load() {
    this.attempt(async () => {
      await loadNodes(this.signal);
      if (session.may("instances:read")) this.loads = await readLoads(this.signal);
      this.loaded = true;
      this.render();
    });
  }

  render() {
    const nodes = [...store.node.values()].sort((one, other) => one.name.localeCompare(other.name));
    this.empty.hidden = nodes.length > 0 || !this.loaded;
    keep(this.list, nodes.map((node) => ({ ...node, load: this.loads?.[node.id] })), ({ id }) => id, makeCard);
  }
}

function makeCard() {
  const [name, pill, link] = [make("h2"), makePill(), make("a")];
  const [facts, problem] = ["quiet", "warning"].map((style) => make("p", { class: style }));
  const [memory, cpu] = [makeMeter("Memory", mib), makeMeter("Cores", cores)];
  const card = make("li", { class: "card" }, make("div", { class: "between" }, name, pill), facts, problem, memory, cpu, link);
  card.show = (node) => {
    setText(name, node.name);
    pill.show(node.status, node.error);
    const load = node.load ? ` · uses ${cores(node.load.cpu)}, ${bytes(node.load.memoryBytes)}` : "";
    setText(facts, `${node.engine ?? node.driver} · seen ${ago(node.lastSeenAt)}${load}${node.schedulable ? "" : " · gets no more instances"}`);
    setText(problem, [node.error, ...node.warnings].filter(Boolean).join(" "));
    memory.show(node.allocatedMemoryMib, node.memoryMib, node.memoryMib !== null);
    cpu.show(node.allocatedCpu, node.cpu ?? node.cores, node.cpu !== null);
    link.href = `#/instances?${new URLSearchParams({ node: node.id })}`;
    setText(link, count(node.instances, "instance"));
  };
  return card;
}

function makeMeter(title, format) {
  const [said, rest] = [make("span"), make("span", { class: "quiet" })];
  const bar = make("meter", { min: 0, "aria-label": `${title} promised` });
  const meter = make("div", { class: "meter" }, make("div", { class: "between" }, said, rest), bar);
  meter.show = (used, all, isLimit) => {
    setText(said, `${title}: ${share(used, all, format)} promised`);
    setText(rest, isLimit ? `${format(Math.max(0, all - used))} left` : "not limited");
    bar.hidden = all === null;
    Object.assign(bar, { max: all || 1, high: (all || 1) * 0.9, value: used });
  };
  return meter;
}

customElements.define("node-list", NodeList);
