// What all views share: they listen for as long as they are shown.

import { store } from "./store.js";

export class View extends HTMLElement {
  connectedCallback() {
    this.closing = new AbortController();
    this.signal = this.closing.signal;
    this.open();
  }

  disconnectedCallback() {
    this.closing.abort();
  }

  // Calls at once and at every change of such a kind ("instance", "node", "operation", "gap").
  on(kind, react) {
    store.addEventListener(kind, (event) => react(event.detail), { signal: this.signal });
  }
}
