// The public API, and the key that calls it. The key is kept in the tab, and never in an address.
const SLOT = "skyquay-key";

export class ApiError extends Error {
  constructor(response, { error, code, details = {} }) {
    super(error ?? `The server answered ${response.status}.`);
    const [requestId, retryAfter] = ["X-Request-Id", "Retry-After"].map((name) => response.headers.get(name));
    const passes = response.status >= 500 || response.status === 429; // the same may succeed later
    Object.assign(this, { status: response.status, code, details, requestId, retryAfter: Number(retryAfter), passes });
  }
}

export const session = new (class extends EventTarget {
  key = sessionStorage.getItem(SLOT);
  me = null;

  async signIn(key) {
    this.key = key;
    this.me = (await call("GET", "/api/me")).data;
    sessionStorage.setItem(SLOT, key);
  }

  signOut(reason = null) {
    sessionStorage.removeItem(SLOT);
    this.key = this.me = null;
    this.dispatchEvent(new CustomEvent("end", { detail: reason }));
  }

  may(scope) { return this.me.scopes.includes(scope); }
})();

export const path = (strings, ...ids) => String.raw({ raw: strings }, ...ids.map(encodeURIComponent));

// A value that makes a POST safe to repeat. Browsers have `randomUUID` over TLS only.
export const newIdempotencyKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (each) => each.toString(36)).join("-");

// Sends a request; returns the answer once its head is there. Raises ApiError, and TypeError offline.
export async function send(method, target, { query = {}, body, headers = {}, signal } = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const response = await fetch(asked.length ? `${target}?${new URLSearchParams(asked)}` : target, {
    method, signal, cache: "no-store", credentials: "omit",
    headers: { "x-api-key": session.key, ...(body && { "Content-Type": "application/json" }), ...headers },
    body: body && JSON.stringify(body),
  });
  if (response.ok) return response;
  const error = new ApiError(response, await response.json().catch(() => ({})));
  if (error.status === 401 && session.me) session.signOut("The key is not valid any more.");
  throw error;
}

// `next` is the cursor of the next page. What only reads is repeated once where the connection is lost.
export async function call(method, target, options) {
  const response = await send(method, target, options).catch(async (error) => {
    if (method !== "GET" || !(error instanceof TypeError)) throw error;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return send(method, target, options);
  });
  const link = response.headers.get("Link")?.match(/<([^>]*)>; rel="next"/)?.[1];
  return {
    data: response.status === 204 ? null : await response.json(),
    etag: response.headers.get("ETag"),
    total: response.headers.get("X-Total-Count"),
    next: link ? new URL(link, location.href).searchParams.get("cursor") : null,
  };
}
