// Two answers compared word by word, with jsdiff.

import { h } from "./dom.js";
import { visible } from "./text.js";

const TIMEOUT_MS = 1500;

/** What the second text adds and leaves out; null where they are too different to say in time. */
export function difference(first, second) {
  const options = { timeout: TIMEOUT_MS };
  const changes = globalThis.Diff.diffWordsWithSpace(first, second, options)
    ?? globalThis.Diff.diffLines(first, second, options);
  if (!changes) return null;
  const tag = (change) => (change.added ? "ins" : change.removed ? "del" : "span");
  return h("div", { class: "text plain difference", dir: "auto" },
    changes.map((change) => h(tag(change), {}, visible(change.value))));
}
