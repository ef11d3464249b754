// The page: signed out, a place to sign in; signed in, a head, the view of the address, and events.
import { announce, call, count, make, mark, read, session, setText, showEmpty, store } from "./kit.js";
import { followEvents } from "./events.js";
import { isOpen } from "./operations.js";
import { showSignIn } from "./sign-in.js";
import "./deploy.js"; import "./instance.js"; import "./instances.js"; import "./nodes.js";

const VIEWS = {
  instances: ["Instances", (id) => make(id ? "instance-view" : "instance-list", { "data-id": id })],
  nodes: ["Nodes", () => make("node-list")],
  operations: ["Operations", () => make("operation-list")],
  deploy: ["Deploy", (id) => make("deploy-form", { "data-id": id })],
};
const CONNECTION = { live: "Live", connecting: "Connecting", waiting: "Offline, trying again", ended: "Not live" };
const TOLD = { "instance.ready": "is installed", "instance.not_ready": "is not ready", "instance.failed": "has failed", "instance.deleted": "is deleted" };

class Console extends HTMLElement {
  connectedCallback() {
    session.addEventListener("end", ({ detail }) => this.close(detail));
    window.addEventListener("hashchange", () => session.me && this.show());
    store.addEventListener("operation", () => this.running && this.count());
    store.addEventListener("instance", ({ detail: event }) => {
      if (TOLD[event?.type]) announce(`${store.names.get(event.resourceId) ?? "An instance"} ${TOLD[event.type]}.`);
    });
    if (session.key) session.signIn(session.key).then(() => this.open(), (error) => (error.status === 401 ? session.signOut(error) : this.close(error)));
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
    this.running = make("span", { class: "badge" });
    this.brand = make("span", {}, "Skyquay");
    this.main = make("main", { id: "main", tabindex: -1 });
    this.links = Object.entries(VIEWS).map(([name, [title]]) =>
      make("a", { href: `#/${name}`, class: name === "deploy" && "button primary" }, title, name === "operations" && this.running));
    this.replaceChildren(
      make("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), this.main.focus()) }, "Skip to the content"),
      make("header", {},
        make("a", { class: "brand", href: "#/instances" }, make("img", { src: "/console/icon.svg", alt: "", width: 28, height: 28 }), this.brand),
        make("nav", { "aria-label": "Views" }, this.links),
        make("div", { class: "session" }, this.connection, make("a", { href: "/docs/" }, "API"),
          make("button", { type: "button", class: "plain", onclick: () => session.signOut() }, "Sign out"))),
      this.main,
    );
    const report = (state, error) => {
      this.connection.dataset.state = state;
      setText(this.connection, CONNECTION[state]);
      this.connection.title = error?.message ?? "";
    };
    report("connecting");
    const onGap = () => store.dispatchEvent(new Event("gap"));
    followEvents({ signal: this.events.signal, onEvent: (event) => store.take(event), onGap, report });
    call("GET", "/api/name").then(({ data }) => setText(this.brand, data.name), () => {});
    this.count();
    this.show();
  }

  show() {
    const { name, id } = read();
    const [title, make] = VIEWS[name] ?? ["Nothing here", () => showEmpty("There is nothing here.", "The views are above.")];
    for (const link of this.links) mark(link, "aria-current", link.hash === `#/${name}` && "page");
    document.title = `${title} · Skyquay`;
    this.main.replaceChildren(make(id));
    window.scrollTo(0, 0);
    if (!this.main.contains(document.activeElement)) this.main.focus();
  }

  count() {
    const open = store.listOperations().filter(isOpen).length;
    this.running.hidden = open === 0;
    setText(this.running, String(open));
    this.running.setAttribute("aria-label", `${count(open, "operation")} running`);
  }
}

customElements.define("sky-console", Console);
