// The instances, a page at a time, with filters that the address keeps.

import { call, session } from "./api.js";
import { keep, make, setText } from "./dom.js";
import { ago, cores, count, mib } from "./format.js";
import { showEmpty, showError } from "./messages.js";
import { loadNodes } from "./nodes.js";
import { makePower } from "./power.js";
import { read, replaceQuery } from "./router.js";
import { makePill, stateOf } from "./states.js";
import { store } from "./store.js";
import { View } from "./view.js";

const PAGE = 50;
const STATES = [
  ["", "Any state"], ["power=running", "Running"], ["power=stopped", "Stopped"], ["suspended=true", "Suspended"],
  ["state=INSTALLING", "Installing"], ["state=FAILED", "Failed"], ["state=DELETING", "Being deleted"],
];

class InstanceList extends View {
  cursors = [null]; // where this page and those before it begin
  ids = [];

  open() {
    this.filters = this.makeFilters();
    this.summary = make("p", { class: "quiet", role: "status" });
    this.problem = make("div");
    this.list = make("ul", { class: "rows" });
    this.empty = make("div");
    this.back = make("button", { type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.further = make("button", { type: "button", onclick: () => this.turn(1) }, "Next");
    this.pages = make("nav", { class: "pages", "aria-label": "Pages" }, this.back, this.further);
    this.append(make("div", { class: "between" }, make("h1", {}, "Instances"), this.summary), this.filters, this.problem, this.empty, this.list, this.pages);
    this.on("instance", (event) => this.hear(event));
    this.on("gap", () => this.load());
    if (session.may("nodes:read")) this.listNodes();
    this.load();
  }

  makeFilters() {
    const { query } = read();
    const control = (label, field) => make("label", {}, make("span", {}, label), field);
    this.node = make("select", { name: "node" }, make("option", { value: "" }, "All nodes"));
    const state = make("select", { name: "state" }, STATES.map(([value, title]) => make("option", { value, selected: value === query.get("state") }, title)));
    const form = make("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      control("Name begins with", make("input", { type: "search", name: "name", value: query.get("name") })),
      control("Node", this.node), control("State", state),
      control("Label", make("input", { type: "search", name: "label", placeholder: "name:value", value: query.get("label") })));
    let timer;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        replaceQuery(Object.fromEntries(new FormData(form)));
        this.cursors = [null];
        this.load();
      }, 250);
    });
    return form;
  }

  async listNodes() {
    const chosen = read().query.get("node");
    await loadNodes(this.signal).catch(() => {});
    this.node.append(...[...store.node.values()].map(({ id, name }) => make("option", { value: id, selected: id === chosen }, name)));
  }

  turn(by) {
    this.cursors = by < 0 ? this.cursors.slice(0, -1) : [...this.cursors, this.next];
    this.load().then(() => this.scrollIntoView());
  }

  async load() {
    const { name, node, label, state, ...rest } = Object.fromEntries(read().query);
    const query = { name, node, label, limit: PAGE, sort: "-createdAt", cursor: this.cursors.at(-1), ...rest };
    if (state) query[state.split("=")[0]] = state.split("=")[1];
    this.isFiltered = Boolean(name || node || label || state);
    this.loading?.abort();
    this.loading = new AbortController();
    const signal = AbortSignal.any([this.signal, this.loading.signal]);
    try {
      const page = await call("GET", "/api/instances", { query, signal });
      this.next = page.next;
      this.ids = page.data.map(({ Id }) => Id);
      store.instance.clear();
      store.put("instance", page.data);
      this.problem.replaceChildren();
      this.render(page.total);
    } catch (error) {
      if (!signal.aborted) this.problem.replaceChildren(showError(error));
    }
  }

  // Shows a change at once, and reads the page again soon when one may have come to it or left it.
  hear(event) {
    if (event && !this.ids.includes(event.resourceId) && event.type !== "instance.created" && !this.isFiltered) return;
    if (event && (this.isFiltered || event.type === "instance.created" || event.type === "instance.deleted")) {
      clearTimeout(this.soon);
      this.soon = setTimeout(() => !this.signal.aborted && this.load(), 1000);
    }
    if (this.shown) this.renderRows();
  }

  render(total) {
    this.shown = true;
    const first = (this.cursors.length - 1) * PAGE;
    const range = `${first + 1}–${first + this.ids.length}`;
    const isWhole = first === 0 && !this.next;
    setText(this.summary, this.ids.length === 0 ? "" : isWhole ? count(this.ids.length, "instance") : total ? `${range} of ${count(Number(total), "instance")}` : range);
    this.back.disabled = first === 0;
    this.further.disabled = !this.next;
    this.pages.hidden = isWhole;
    this.renderRows();
  }

  renderRows() {
    const shown = this.ids.map((id) => store.instance.get(id)).filter(Boolean);
    keep(this.list, shown, ({ Id }) => Id, makeRow);
    if (shown.length) return this.empty.replaceChildren();
    if (!this.empty.hasChildNodes() || this.emptyIsFiltered !== this.isFiltered) this.empty.replaceChildren(this.explainEmpty());
    this.emptyIsFiltered = this.isFiltered;
  }

  explainEmpty() {
    if (this.isFiltered) return showEmpty("Nothing fits.", "No instance fits these filters. ", make("a", { href: "#/instances", onclick: () => requestAnimationFrame(() => this.replaceWith(make("instance-list"))) }, "Show all"));
    return showEmpty("No instances yet.", "An instance is a program in a container, on one of the nodes. ", session.may("instances:deploy") && make("a", { href: "#/deploy" }, "Deploy the first one"));
  }
}

function makeRow() {
  const name = make("a", { class: "name" });
  const image = make("span", { class: "quiet" });
  const pill = makePill();
  const [node, size, place] = [make("span"), make("span", { class: "quiet" }), make("span", { class: "quiet" })];
  const problem = make("div", { class: "whole" });
  const power = makePower(["start", "stop", "restart", "unsuspend"], (shown) => problem.replaceChildren(...(shown ? [shown] : [])));
  const row = make("li", {}, make("div", {}, name, image), pill, make("div", {}, node, place), size, power, problem);
  row.show = (instance) => {
    setText(name, instance.Name);
    name.href = `#/instances/${instance.Id}`;
    setText(image, `${instance.ImageName || instance.Image} · ${instance.User}`);
    pill.show(stateOf(instance), instance.error);
    setText(node, instance.Node.name);
    setText(place, instance.connect ?? `port ${instance.Primary}`);
    setText(size, `${mib(instance.Memory)} · ${cores(instance.Cpu)}`);
    row.title = `Made ${ago(instance.createdAt)}`;
    power.show(instance);
  };
  return row;
}

customElements.define("instance-list", InstanceList);
