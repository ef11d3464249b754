// Which view is shown: the part of the address after `#`, such as `#/instances/i123`.
export function read() {
  const [where, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name = "", id = null] = where.split("/");
  return { name: name || "instances", id: id && decodeURIComponent(id), query: new URLSearchParams(query) };
}

// Changes the query of this place, without a new place in the history.
export function replaceQuery(query) {
  const { name } = read();
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  history.replaceState(null, "", `#/${name}${text ? `?${text}` : ""}`);
}
