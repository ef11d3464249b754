// One instance: what it is, what it does, and what is said to it.

import { call, path, session } from "./api.js";
import { makeCharts } from "./charts.js";
import { keep, make, setText } from "./dom.js";
import { ago, cores, mib } from "./format.js";
import { announce, showEmpty, showError } from "./messages.js";
import { makePower } from "./power.js";
import { makePill, stateOf } from "./states.js";
import { store } from "./store.js";
import { makeTerminal } from "./terminal.js";
import { View } from "./view.js";

class InstanceView extends View {
  async open() {
    this.problem = make("div");
    this.append(make("p", {}, make("a", { href: "#/instances" }, "← Instances")), this.problem);
    this.on("instance", (event) => this.render(event));
    this.on("gap", () => this.load());
    await this.load();
    if (store.instance.has(this.dataset.id)) this.build();
  }

  async load() {
    try {
      store.put("instance", [(await call("GET", path`/api/instances/${this.dataset.id}`, { signal: this.signal })).data]);
    } catch (error) {
      if (error.status === 404) this.leave();
      else if (!this.signal.aborted) this.problem.replaceChildren(showError(error));
    }
  }

  leave() {
    this.closing.abort();
    this.replaceChildren(showEmpty("There is no such instance.", "It may have been deleted. ", make("a", { href: "#/instances" }, "To the instances")));
  }

  build() {
    const id = this.dataset.id;
    this.name = make("h1");
    this.pill = makePill();
    this.power = makePower(["start", "stop", "restart", "kill", "suspend", "unsuspend", "delete"], (shown) => this.problem.replaceChildren(...(shown ? [shown] : [])));
    this.warning = make("p", { class: "warning" });
    this.connect = make("code", { class: "connect" });
    const copy = make("button", { type: "button", onclick: () => copyText(this.connect.textContent) }, "Copy");
    this.facts = make("dl");
    this.variables = make("dl");
    this.terminal = makeTerminal(id, this.signal);
    this.charts = makeCharts(id, this.signal);
    const card = (title, ...content) => make("section", { class: "card" }, make("h2", {}, title), ...content);
    const edit = session.may("instances:deploy") && make("a", { class: "button", href: path`#/deploy/${id}` }, "Change");
    this.append(
      make("div", { class: "between" }, make("div", { class: "title" }, this.name, this.pill), make("div", { class: "actions" }, this.power, edit)),
      this.warning,
      make("div", { class: "columns" },
        card("Connect", make("p", { class: "between" }, this.connect, copy), this.facts),
        card("Usage", this.charts)),
      card("Console", this.terminal),
      make("div", { class: "columns" },
        card("Variables", this.variables),
        card("Operations", make("operation-list", { "data-instance": id }))),
    );
    this.render();
  }

  render(event = null) {
    const instance = store.instance.get(this.dataset.id);
    if (!instance && event?.type === "instance.deleted" && event.resourceId === this.dataset.id) return this.leave();
    if (!instance || !this.name) return;
    document.title = `${instance.Name} · Skyquay`;
    setText(this.name, instance.Name);
    this.pill.show(stateOf(instance), instance.error);
    setText(this.warning, instance.error ?? "");
    this.warning.hidden = !instance.error;
    this.power.show(instance);
    setText(this.connect, instance.connect ?? `${instance.Node.address?.startsWith("unix:") ? "127.0.0.1" : instance.Node.address ?? instance.Node.name}:${hostPort(instance)}`);
    list(this.facts, {
      Node: instance.Node.name + (instance.Node.status === "Online" ? "" : ` (${instance.Node.status})`),
      Image: instance.ImageName || instance.Image, Owner: instance.User, Size: `${mib(instance.Memory)}, ${cores(instance.Cpu)}`,
      Ports: instance.Ports, Made: ago(instance.createdAt), Id: instance.Id,
      ...(instance.exitCode !== null && instance.exitCode !== undefined && { "Exit code": String(instance.exitCode) }),
      ...Object.fromEntries(Object.entries(instance.labels).map(([name, value]) => [`Label ${name}`, value])),
    });
    const secrets = Object.fromEntries(instance.secretVariables.map((name) => [name, "secret, never shown"]));
    list(this.variables, { ...instance.Variables, ...secrets }, "It has none.");
    this.terminal.show(instance);
    this.charts.show(instance);
  }
}

function hostPort({ Primary }) {
  return String(Primary).split(":").at(-1);
}

function list(place, pairs, otherwise = "") {
  keep(place, Object.entries(pairs).length ? Object.entries(pairs) : [["", otherwise]], ([name]) => name, ([name]) => {
    const value = make("dd");
    return Object.assign(make("div", {}, name && make("dt", {}, name), value), { show: ([, text]) => setText(value, String(text)) });
  });
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`Copied: ${text}`);
  } catch {
    announce(`This browser lets the page copy nothing here: ${text}`);
  }
}

customElements.define("instance-view", InstanceView);
