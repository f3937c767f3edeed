// The address of a view: "#/problems?log=run/base&log=run/tuned&status=wrong". Whatever can be
// seen has such an address, so that it can be sent to somebody with the same logs.

export const VIEWS = ["overview", "problems", "problem", "training", "queue"];

/** {view, params}: the view and its parameters, from the page's address. */
export function current() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const view = VIEWS.includes(path) ? path : "overview";
  return { view, params: new URLSearchParams(query) };
}

/** An address; `changes` are set over `params`, null takes one away. */
export function address(view, params = new URLSearchParams(), changes = {}) {
  const query = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    const values = Array.isArray(value) ? value : [value];
    for (const one of values) {
      if (one !== null && one !== undefined && one !== "" && one !== false) {
        query.append(name, one === true ? "1" : String(one));
      }
    }
  }
  const text = query.toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

export function go(view, params, changes, { quietly = false } = {}) {
  const to = address(view, params, changes);
  if (to === location.hash) return;
  if (quietly) {
    history.replaceState(null, "", to);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = to;
  }
}

/** Only the choice of logs: what one view hands to another. */
export function logsOf(params) {
  const kept = new URLSearchParams();
  for (const key of params.getAll("log")) kept.append("log", key);
  return kept;
}
