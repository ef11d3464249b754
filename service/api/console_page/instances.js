// The instances, a page at a time, with filters that the address keeps.
import { ago, call, cores, count, keep, make, makePill, mark, mib, path, put, read, replaceQuery, session, setText, showEmpty, stateOf, store, View } from "./kit.js";
import { loadNodes } from "./nodes.js";
import { makePower } from "./power.js";

const PAGE = 50;
const STATES = [
  ["", "Any state"], ["power=running", "Running"], ["power=stopped", "Stopped"], ["suspended=true", "Suspended"],
  ["state=INSTALLING", "Installing"], ["state=FAILED", "Failed"], ["state=DELETING", "Being deleted"], ["state=DELETED", "Deleted, and kept"],
];

class InstanceList extends View {
  cursors = [null]; // where this page and those before it begin
  ids = null;

  open() {
    this.summary = make("p", { class: "quiet", role: "status" });
    this.list = make("ul", { class: "rows" });
    this.empty = make("div");
    this.back = make("button", { type: "button", onclick: () => this.load(this.cursors.slice(0, -1)) }, "Previous");
    this.further = make("button", { type: "button", onclick: () => this.load([...this.cursors, this.next]) }, "Next");
    this.pages = make("nav", { class: "pages", "aria-label": "Pages", hidden: true }, this.back, this.further);
    this.append(make("div", { class: "between" }, make("h1", {}, "Instances"), this.summary), this.makeFilters(), this.problem, this.empty, this.list, this.pages);
    this.on("instance", (event) => this.hear(event));
    this.on("gap", () => this.load());
    if (session.may("nodes:read")) this.listNodes();
    this.load();
  }

  makeFilters() {
    const { query } = read();
    const control = (title, tag, attributes, ...options) =>
      make("label", {}, make("span", {}, title), make(tag, { value: query.get(attributes.name), ...attributes }, options));
    const option = ([value, title]) => make("option", { value, selected: value === query.get("state") }, title);
    this.node = control("Node", "select", { name: "node" }, make("option", { value: "" }, "All nodes"));
    const form = make("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      control("Name begins with", "input", { type: "search", name: "name" }), this.node,
      control("State", "select", { name: "state" }, STATES.map(option)),
      control("Label", "input", { type: "search", name: "label", placeholder: "name:value" }));
    form.addEventListener("input", () => {
      replaceQuery(Object.fromEntries(new FormData(form)));
      this.cursors = [null]; // at once: an event that comes now puts the reading off
      this.later(250, () => this.load());
    });
    return form;
  }

  async listNodes() {
    await loadNodes(this.signal).catch(() => {});
    const option = ({ id, name }) => make("option", { value: id, selected: id === read().query.get("node") }, name);
    this.node.querySelector("select").append(...[...store.node.values()].map(option));
  }

  later(milliseconds, work) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.signal.aborted || work(), milliseconds);
  }

  async load(cursors = this.cursors) {
    this.cursors = cursors;
    const { state, ...filters } = Object.fromEntries(read().query);
    const query = { ...filters, ...Object.fromEntries(new URLSearchParams(state)), limit: PAGE, sort: "-createdAt", cursor: this.cursors.at(-1) };
    this.isFiltered = Boolean(state || Object.keys(filters).length);
    this.loading?.abort();
    this.loading = new AbortController();
    const signal = AbortSignal.any([this.signal, this.loading.signal]);
    await this.attempt(async () => {
      const page = await call("GET", "/api/instances", { query, signal });
      this.next = page.next;
      this.ids = page.data.map(({ Id }) => Id);
      store.instance.clear();
      store.put("instance", page.data);
      this.summarize(page.total);
    }, signal);
  }

  // Shows a change at once, and reads the page again soon when something may have come to it or left it.
  hear(event) {
    if (event && (this.isFiltered || ["instance.created", "instance.deleted"].includes(event.type))) this.later(1000, () => this.load());
    if (this.ids) this.render();
  }

  summarize(total) {
    const first = (this.cursors.length - 1) * PAGE;
    const range = `${first + 1} to ${first + this.ids.length}`;
    this.back.disabled = first === 0;
    this.further.disabled = !this.next;
    this.pages.hidden = first === 0 && !this.next;
    setText(this.summary, this.pages.hidden ? count(this.ids.length, "instance") : total ? `${range} of ${count(Number(total), "instance")}` : range);
  }

  render() {
    const shown = this.ids.map((id) => store.instance.get(id)).filter(Boolean);
    keep(this.list, shown, ({ Id }) => Id, makeRow);
    put(this.empty, shown.length === 0 && this.explainEmpty());
  }

  explainEmpty() {
    if (this.isFiltered) return showEmpty("Nothing fits.", "No instance fits these filters. ", make("a", { href: "#/instances" }, "Show all"));
    return showEmpty("No instances yet.", "An instance is a program in a container, on one of the nodes. ",
      session.may("instances:deploy") && make("a", { href: "#/deploy" }, "Deploy the first one"));
  }
}

function makeRow() {
  const [name, pill, node] = [make("a", { class: "name" }), makePill(), make("span")];
  const [image, size, place] = [0, 1, 2].map(() => make("span", { class: "quiet" }));
  const problem = make("div", { class: "whole" });
  const power = makePower(["start", "stop", "restart", "unsuspend", "restore"], (shown) => put(problem, shown));
  const row = make("li", {}, make("div", {}, name, image), pill, make("div", {}, node, place), size, power, problem);
  row.show = (instance) => {
    setText(name, instance.Name);
    mark(name, "href", !instance.purgeAt && path`#/instances/${instance.Id}`);
    setText(image, `${instance.ImageName || instance.Image} · ${instance.User}`);
    pill.show(stateOf(instance), instance.error);
    setText(node, instance.Node.name);
    setText(place, instance.purgeAt ? `gone ${ago(instance.purgeAt)}` : instance.connect ?? `port ${instance.Primary}`);
    setText(size, `${mib(instance.Memory)} · ${cores(instance.Cpu)}`);
    power.show(instance);
  };
  return row;
}

customElements.define("instance-list", InstanceList);
