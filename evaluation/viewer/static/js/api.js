// Where the data come from: the server, or, in a report, the page itself (see local.js).

let source = fetchFromServer;
let reviews = postReview;

export const get = (name, params = {}) => source(name, params);
export const review = (data) => reviews(data);
export const canReview = () => reviews !== null;

/** In a report: `answer(name, params)` from the embedded data, and nothing can be marked. */
export function useLocal(answer) {
  source = async (name, params) => answer(name, asQuery(params));
  reviews = null;
}

function asQuery(params) {
  if (params instanceof URLSearchParams) return params;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
  }
  return query;
}

async function fetchFromServer(name, params) {
  const query = asQuery(params).toString();
  return answerOf(await fetch(`/api/${name}${query ? `?${query}` : ""}`));
}

async function postReview(data) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(await fetch("/api/review", { method: "POST", headers, body: JSON.stringify(data) }));
}

async function answerOf(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (!type.startsWith("application/json")) throw new Error(`the server answered ${response.status}`);
  const data = await response.json();
  if (!response.ok) throw new Error(data.error ?? `the server answered ${response.status}`);
  return data;
}
