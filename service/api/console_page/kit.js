// What views are made of, in one place to import it from.
export * from "./api.js"; export * from "./dom.js"; export * from "./format.js"; export * from "./messages.js";
export * from "./router.js"; export * from "./states.js"; export * from "./store.js"; export * from "./view.js";
