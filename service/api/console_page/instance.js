// One instance: what it is, what it does, and what is said to it.
import { announce, call, cores, keep, make, makePill, mib, path, put, session, setText, showEmpty, stateOf, store, View } from "./kit.js";
import { makeCharts } from "./charts.js";
import { isOpen, makeOperation } from "./operations.js";
import { makePower } from "./power.js";
import { makeTerminal } from "./terminal.js";
import { makeUsage } from "./usage.js";

class InstanceView extends View {
  async open() {
    this.instanceId = this.dataset.id;
    this.append(make("p", {}, make("a", { href: "#/instances" }, "← Instances")), this.problem);
    this.on("instance", (event) => this.render(event));
    this.on("gap", () => this.load());
    await this.load();
    if (store.instance.has(this.instanceId)) this.build();
  }

  load() {
    return this.attempt(async () => {
      const answer = await call("GET", path`/api/instances/${this.instanceId}`, { signal: this.signal }).catch((error) => {
        if (error.status !== 404) throw error;
      });
      if (answer) store.put("instance", [answer.data]);
      else this.leave();
    });
  }

  leave() {
    this.closing.abort();
    this.replaceChildren(showEmpty("There is no such instance.", "It may have been deleted. ", make("a", { href: "#/instances" }, "To the instances")));
  }

  build() {
    const id = this.instanceId;
    this.name = make("h1");
    this.pill = makePill();
    this.power = makePower(["start", "stop", "restart", "kill", "suspend", "unsuspend", "transfer", "delete"], (shown) => put(this.problem, shown));
    this.warning = make("p", { class: "warning" });
    this.progress = make("ul", { class: "cards narrow" });
    this.address = make("code", { class: "connect" });
    [this.facts, this.variables] = [make("dl"), make("dl")];
    this.terminal = makeTerminal(id, this.signal);
    this.charts = makeCharts(id, this.signal);
    const usage = session.may("users:read") && makeUsage(store.instance.get(id).User, this.signal);
    const card = (title, ...content) => make("section", { class: "card" }, make("h2", {}, title), ...content);
    const edit = session.may("instances:deploy") && make("a", { class: "button", href: path`#/deploy/${id}` }, "Change");
    const copy = make("button", { type: "button", onclick: () => copyText(this.address.textContent) }, "Copy");
    this.append(
      make("div", { class: "between" }, make("div", { class: "title" }, this.name, this.pill), make("div", { class: "actions" }, this.power, edit)),
      this.warning, this.progress,
      make("div", { class: "columns" }, card("Connect", make("p", { class: "between" }, this.address, copy), this.facts), card("Usage", this.charts)),
      card("Console", this.terminal),
      make("div", { class: "columns" }, make("div", { class: "stack" }, card("Variables", this.variables), usage && card("All that its owner has", usage)),
        card("Operations", make("operation-list", { "data-instance": id }))),
    );
    this.on("operation", () => this.follow());
    this.every(1, () => this.follow());
    if (usage) this.every(30, () => usage.load());
    this.render();
  }

  follow() { keep(this.progress, store.listOperations(this.instanceId).filter(isOpen), ({ id }) => id, makeOperation); }

  render(event) {
    const instance = store.instance.get(this.instanceId);
    if (event?.type === "instance.deleted" && event.resourceId === this.instanceId) location.hash = "#/instances";
    if (!instance || !this.name) return;
    document.title = `${instance.Name} · Skyquay`;
    setText(this.name, instance.Name);
    this.pill.show(stateOf(instance), instance.error);
    setText(this.warning, instance.error ?? "");
    this.power.show(instance);
    const port = String(instance.Primary).split(":").at(-1);
    setText(this.address, instance.connect ?? `port ${port} on ${instance.Node.name}`);
    this.address.nextSibling.hidden = !instance.connect;
    list(this.facts, {
      Node: instance.Node.name + (instance.Node.status === "Online" ? "" : ` (${instance.Node.status})`),
      Image: instance.ImageName || instance.Image, Owner: instance.User, Size: `${mib(instance.Memory)}, ${cores(instance.Cpu)}`,
      Ports: instance.Ports, Made: new Date(instance.createdAt).toLocaleString(), Id: instance.Id, ...instance.labels,
      ...(instance.exitCode && { "Last exit code": `${instance.exitCode}${instance.oomKilled ? ": out of memory" : ""}` }),
      ...(instance.notReadyReason && { "Not ready": instance.notReadyReason }),
    });
    list(this.variables, { ...instance.Variables, ...Object.fromEntries(instance.secretVariables.map((name) => [name, "secret, never shown"])) });
    this.terminal.show(instance);
    this.charts.show(instance);
  }
}

function list(place, pairs) {
  const made = Object.entries(pairs).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value))));
  if (place.textContent !== made.map(({ textContent }) => textContent).join("")) place.replaceChildren(...made);
}

function copyText(text) {
  const copied = navigator.clipboard?.writeText(text) ?? Promise.reject(); // browsers have it over TLS only
  copied.then(() => announce(`Copied: ${text}`), () => announce(`The browser does not let this page copy: ${text}`));
}

customElements.define("instance-view", InstanceView);
