/** Helpers of all sections: elements, requests to the API, and regions for its answers. */

/** Create an element with properties and children; strings become text, never HTML. */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const find = (id) => document.getElementById(id);

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

/** A bar filled to a share between 0 and 1. It is hidden from screen readers: the number is next to it as text. */
export function bar(share) {
  const filled = el("span");
  filled.style.width = `${100 * share}%`;
  return el("span", { className: "bar", ariaHidden: "true" }, filled);
}

/** A failed request; `temporary` if the same request may succeed later. */
class RequestError extends Error {
  constructor(message, temporary) {
    super(message);
    this.temporary = temporary;
  }
}

/** Call an API endpoint: POST `body` as JSON, or GET without one. Throws an Error with a readable message. */
export async function request(name, body) {
  const post = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(`api/${name}`, post).catch(() => {
    throw new RequestError("The server does not answer. Is tgvae serve still running?", true);
  });
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new RequestError(answer.error, response.status === 429 || response.status >= 500);
  return answer;
}

const latest = new WeakMap(); // latest call by region; answers of earlier calls that arrive later are dropped

/** Fill a region with the list of nodes that `work` resolves to, or with an error message. */
export async function fill(region, work) {
  const call = Symbol();
  latest.set(region, call);
  region.setAttribute("aria-busy", "true");
  const nodes = await work().catch((error) => {
    const retry = el("button", { type: "button", onclick: () => fill(region, work) }, "Try again");
    return [el("p", { className: "error", role: "alert" }, error.message), ...(error.temporary ? [retry] : [])];
  });
  if (latest.get(region) !== call) return;
  region.replaceChildren(...nodes);
  region.removeAttribute("aria-busy");
}

/** Debounce: run `work` one call at a time, after a short pause; of calls during a run only the last one follows. */
export function debounce(work, pause = 80) {
  let state = "idle";
  return async function run() {
    if (state !== "idle") {
      state = "again";
      return;
    }
    do {
      state = "waiting";
      await new Promise((done) => setTimeout(done, pause));
      state = "running";
      await work();
    } while (state === "again");
    state = "idle";
  };
}

/** A list of sentences; "…" marks those that were cut at the maximum length. */
export function sentenceList(sentences, tag = "ul", look = "quotes") {
  const items = sentences.map(({ text, finished }) => el("li", {}, text || "(empty)", finished ? "" : " …"));
  return el(tag, { className: `sentences ${look}` }, ...items);
}

/** Throws an Error that names the first invalid field. */
export function validate(form) {
  const invalid = form.querySelector("input:invalid");
  if (invalid) throw new Error(`${invalid.labels[0].firstChild.textContent.trim()}: ${invalid.validationMessage}`);
}
