// The public API, and the key that calls it. The key is kept in the tab, and never in an address.

const SLOT = "skyquay-key";

export class ApiError extends Error {
  constructor(status, answer, requestId, retryAfter) {
    super(answer.error ?? `The server answered ${status}.`);
    Object.assign(this, { status, requestId, retryAfter, code: answer.code, details: answer.details ?? {} });
  }

  // Whether the same request may succeed later.
  get passes() {
    return this.status >= 500 || this.status === 429;
  }
}

export const session = new (class extends EventTarget {
  key = sessionStorage.getItem(SLOT);
  me = null;

  async signIn(key) {
    this.key = key;
    try {
      this.me = (await call("GET", "/api/me")).data;
    } catch (error) {
      if (error.status === 401) this.key = null;
      throw error;
    }
    sessionStorage.setItem(SLOT, key);
  }

  signOut(reason = null) {
    sessionStorage.removeItem(SLOT);
    this.key = this.me = null;
    this.dispatchEvent(new CustomEvent("end", { detail: reason }));
  }

  may(scope) {
    return this.me.scopes.includes(scope);
  }
})();

export function path(strings, ...ids) {
  return String.raw({ raw: strings }, ...ids.map(encodeURIComponent));
}

// A value that makes a POST safe to repeat. randomUUID is only for pages that came over TLS.
export function newIdempotencyKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}

// Sends a request; returns the answer once its head is there. Raises ApiError, and TypeError offline.
export async function send(method, target, { query = {}, body, headers = {}, signal } = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  const response = await fetch(asked.size ? `${target}?${asked}` : target, {
    method,
    signal,
    headers: { "x-api-key": session.key, ...(body && { "Content-Type": "application/json" }), ...headers },
    body: body && JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
  });
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const error = new ApiError(
    response.status, answer, response.headers.get("X-Request-Id"), Number(response.headers.get("Retry-After")),
  );
  if (error.status === 401 && session.me) session.signOut("The key is not valid any more.");
  throw error;
}

export async function call(method, target, options) {
  const response = await send(method, target, options);
  return {
    status: response.status,
    data: response.status === 204 ? null : await response.json(),
    etag: response.headers.get("ETag"),
    total: response.headers.get("X-Total-Count"),
    next: findNext(response.headers.get("Link")),
  };
}

function findNext(link) {
  const target = link?.match(/<([^>]*)>; rel="next"/)?.[1];
  return target ? new URL(target, location.href).searchParams.get("cursor") : null;
}
