"use strict";

// Swagger UI as this API has it. The key that is entered is kept in memory only, so that it is gone
// with the tab.

const READS = /\/api\/get\w+$/; // these look something up, although they are POSTs

// The ids of the document's examples, by what they name: {instance: "i...", operation: "..."}. No
// instance, operation or key ever has one of them.
const examples = {};

// What stands for them: what this page made, and for what only reads also what was answered last.
const made = {};
const seen = {};

const sent = new Map(); // by URL, as an answer does not say what it answers

function findExamples(document) {
  for (const path of Object.values(document.paths)) {
    for (const { name, example } of path.parameters ?? []) {
      const kind = name.replace(/_id$/, "");
      if (["instance", "operation", "key"].includes(kind)) examples[kind] = example;
    }
  }
}

function learn({ isRead, path }, answer) {
  const newest = Array.isArray(answer) ? answer[0] : answer;
  if (!newest) return;
  const ids = { operation: newest.operationId };
  if (/^\/api\/(instances|get\w*Instance)/.test(path)) ids.instance = newest.Id;
  if (path.startsWith("/api/operations")) ids.operation = newest.id;
  if (path === "/api/keys") ids.key = newest.id;
  for (const [kind, id] of Object.entries(ids)) {
    if (typeof id === "string") (isRead ? seen : made)[kind] = id;
  }
}

function fillIn(text, known) {
  for (const [kind, id] of Object.entries(known)) {
    // Whole ids only: that of a key begins within that of an operation.
    if (examples[kind]) text = text.replaceAll(new RegExp(`\\b${examples[kind]}\\b`, "g"), id);
  }
  return text;
}

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  validatorUrl: null,
  requestInterceptor(request) {
    const { href, pathname } = new URL(request.url, location.href);
    const isRead = (request.method ?? "GET") === "GET" || READS.test(pathname);
    const known = isRead ? { ...seen, ...made } : made;
    request.url = fillIn(href, known);
    if (typeof request.body === "string") request.body = fillIn(request.body, known);
    sent.set(request.url, { isRead, path: pathname });
    return request;
  },
  responseInterceptor(response) {
    const request = sent.get(response.url);
    if (request?.path === "/openapi.json") findExamples(response.body);
    else if (request && response.ok) learn(request, response.body);
    return response;
  },
});
