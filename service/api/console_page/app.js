// The page: signed out, a place to sign in; signed in, a head, the view of the address, and events.

import { call, session } from "./api.js";
import { make, setText } from "./dom.js";
import { followEvents } from "./events.js";
import { announce, showEmpty } from "./messages.js";
import { count } from "./format.js";
import { read } from "./router.js";
import { showSignIn } from "./sign-in.js";
import { store } from "./store.js";
import "./deploy.js";
import "./instance.js";
import "./instances.js";
import "./nodes.js";
import "./operations.js";

const VIEWS = {
  instances: { title: "Instances", show: (id) => (id ? make("instance-view", { "data-id": id }) : make("instance-list")) },
  nodes: { title: "Nodes", show: () => make("node-list") },
  operations: { title: "Operations", show: () => make("operation-list", { class: "page" }) },
  deploy: { title: "Deploy", show: (id) => make("deploy-form", { "data-id": id }) },
};
const STATES = { live: "Live", connecting: "Connecting", waiting: "Offline, trying again", ended: "Not live" };
const OUTCOMES = {
  "instance.ready": "is ready", "instance.failed": "has failed", "instance.deleted": "is deleted",
  "instance.suspended": "is suspended",
};

class Console extends HTMLElement {
  connectedCallback() {
    session.addEventListener("end", ({ detail }) => this.close(detail));
    window.addEventListener("hashchange", () => session.me && this.show());
    for (const kind of ["operation", "gap"]) store.addEventListener(kind, () => this.count());
    store.addEventListener("instance", ({ detail }) => this.tell(detail));
    if (session.key) session.signIn(session.key).then(() => this.open(), (error) => this.close(error));
    else this.close();
  }

  close(problem = null) {
    this.events?.abort();
    store.clear();
    document.title = "Sign in · Skyquay";
    this.replaceChildren(showSignIn(problem, () => this.open()));
  }

  open() {
    this.events = new AbortController();
    this.connection = make("span", { class: "connection", role: "status" });
    this.running = make("span", { class: "badge", hidden: true });
    this.brand = make("span", {}, "Skyquay");
    this.main = make("main", { id: "main", tabindex: -1 });
    this.links = Object.entries(VIEWS).map(([name, { title }]) =>
      make("a", { href: `#/${name}`, class: name === "deploy" && "button primary" }, title, name === "operations" && this.running));
    this.replaceChildren(
      make("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), this.main.focus()) }, "Skip to the content"),
      make("header", {},
        make("a", { class: "brand", href: "#/instances" }, make("img", { src: "/console/icon.svg", alt: "", width: 28, height: 28 }), this.brand),
        make("nav", { "aria-label": "Views" }, this.links),
        make("div", { class: "session" },
          this.connection,
          make("a", { href: "/docs/" }, "API"),
          make("button", { type: "button", class: "plain", onclick: () => session.signOut() }, "Sign out")),
      ),
      this.main,
    );
    this.report("connecting");
    followEvents({
      signal: this.events.signal,
      onEvent: (event) => store.take(event),
      onGap: () => store.expire(),
      report: (state, error) => this.report(state, error),
    });
    call("GET", "/api/name").then(({ data }) => setText(this.brand, data.name ?? data), () => {});
    this.show();
    this.count();
  }

  show() {
    const { name, id } = read();
    const view = VIEWS[name];
    this.links.forEach((link) => link.toggleAttribute("aria-current", link.hash === `#/${name}`));
    document.title = `${view?.title ?? "Nothing here"} · Skyquay`;
    this.main.replaceChildren(view?.show(id) ?? showEmpty("There is nothing here.", make("a", { href: "#/instances" }, "To the instances")));
    window.scrollTo(0, 0);
    if (this.shown) this.main.focus();
    this.shown = true;
  }

  report(state, error) {
    this.connection.dataset.state = state;
    setText(this.connection, STATES[state]);
    this.connection.title = error instanceof Error ? error.message : "";
  }

  count() {
    if (!this.running) return;
    const open = store.listOperations().filter(({ status }) => status === "running" || status === "pending").length;
    this.running.hidden = open === 0;
    setText(this.running, String(open));
    this.running.setAttribute("aria-label", `${count(open, "operation")} running`);
  }

  tell(event) {
    if (event && OUTCOMES[event.type]) announce(`${event.resource?.Name ?? "An instance"} ${OUTCOMES[event.type]}.`);
  }
}

customElements.define("sky-console", Console);
