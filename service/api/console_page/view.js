// What all views share: they listen, and read the API, for as long as they are shown.
import { make } from "./dom.js";
import { showError } from "./messages.js";
import { store } from "./store.js";

export class View extends HTMLElement {
  problem = make("div");

  connectedCallback() {
    this.closing = new AbortController();
    this.signal = this.closing.signal;
    this.open();
  }

  disconnectedCallback() { this.closing.abort(); }
  // Reacts to every change of such a kind: "instance", "node", "operation", or "gap".
  on(kind, react) { store.addEventListener(kind, (event) => react(event.detail), { signal: this.signal }); }

  every(seconds, work) {
    const clock = setInterval(work, seconds * 1000);
    this.signal.addEventListener("abort", () => clearInterval(clock));
  }

  // Does what may fail, and shows why it did.
  async attempt(work, signal = this.signal) {
    try {
      await work();
      this.problem.replaceChildren();
    } catch (error) {
      if (!signal.aborted) this.problem.replaceChildren(showError(error));
    }
  }
}
