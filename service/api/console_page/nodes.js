// The nodes, with what they have promised and what is left.
import { ago, bytes, call, cores, count, keep, make, makePill, mib, path, session, setText, showEmpty, store, View } from "./kit.js";
import { isDraining, makeDrain, stateOfDrain } from "./drains.js";
import { readLoads } from "./stats.js";
import { makeMeter } from "./usage.js";

export async function loadNodes(signal) {
  store.put("node", (await call("GET", "/api/nodes", { query: { limit: 1000, sort: "name" }, signal })).data);
}

export function nameNode({ name, status, schedulable, memoryMib, allocatedMemoryMib, cores: number }) {
  const room = memoryMib !== null && `${mib(Math.max(0, memoryMib - allocatedMemoryMib))} left`;
  return `${name} (${[status !== "Online" && status, !schedulable && "gets no more instances", room, number && cores(number)].filter(Boolean).join(", ")})`;
}

export async function loadNames(signal) {
  const query = { fields: "Id,Name", sort: "-updatedAt", limit: 1000 };
  for (const { Id, Name } of (await call("GET", "/api/instances", { query, signal })).data) store.names.set(Id, Name);
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
    this.every(3, () => document.hidden || this.loadDrains().then(() => this.render(), () => {}));
    this.load();
  }

  load() {
    this.attempt(async () => {
      await loadNodes(this.signal);
      await this.loadDrains();
      if (session.may("instances:read")) this.loads = await readLoads(this.signal);
      if (session.may("instances:read") && this.drains.size) await loadNames(this.signal);
      this.loaded = true;
      this.render();
    });
  }

  async loadDrains() {
    const read = async ({ id }) => [id, (await call("GET", path`/api/nodes/${id}/drain`, { signal: this.signal }).catch(() => ({}))).data];
    this.drains = new Map(await Promise.all([...store.node.values()].filter(isDraining).map(read)));
  }

  render() {
    const nodes = [...store.node.values()].sort((one, other) => one.name.localeCompare(other.name));
    this.empty.hidden = nodes.length > 0 || !this.loaded;
    keep(this.list, nodes.map((node) => ({ ...node, load: this.loads?.[node.id], progress: this.drains?.get(node.id) })), ({ id }) => id, () => makeCard(() => this.load()));
  }
}

function makeCard(onChange) {
  const [name, pill, drainPill, link, drain] = [make("h2"), makePill(), makePill(), make("a"), makeDrain(onChange)];
  const [facts, problem] = ["quiet", "warning"].map((style) => make("p", { class: style }));
  const [memory, cpu] = [makeMeter("Memory", mib), makeMeter("Cores", cores)];
  const card = make("li", { class: "card" }, make("div", { class: "between" }, name, make("div", { class: "title" }, drainPill, pill)), facts, problem, memory, cpu, link, drain);
  card.show = (node) => {
    setText(name, node.name);
    pill.show(node.status, node.error);
    drainPill.show(stateOfDrain(node));
    drain.show(node, node.progress);
    const load = node.load ? ` · uses ${cores(node.load.cpu)}, ${bytes(node.load.memoryBytes)}` : "";
    setText(facts, `${node.engine ?? node.driver} · seen ${ago(node.lastSeenAt)}${load}`);
    setText(problem, [node.error, ...node.warnings].filter(Boolean).join(" "));
    memory.show({ used: node.allocatedMemoryMib, all: node.memoryMib, isLimited: node.memoryMib !== null });
    cpu.show({ used: node.allocatedCpu, all: node.cpu ?? node.cores, isLimited: node.cpu !== null });
    link.href = `#/instances?${new URLSearchParams({ node: node.id })}`;
    setText(link, count(node.instances, "instance"));
  };
  return card;
}

customElements.define("node-list", NodeList);
