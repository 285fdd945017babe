/** What all parts of the page use: elements, questions to the server, and places for answers. */

/** An element with properties and children; text stays text. */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const find = (id) => document.getElementById(id);

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

/** A bar, filled to this part; the number that it shows stands beside it in words. */
export function bar(part) {
  const filled = el("span");
  filled.style.width = `${100 * part}%`;
  return el("span", { className: "bar", ariaHidden: "true" }, filled);
}

/** What goes wrong with a question; `passing` where the same may be answered later. */
class Trouble extends Error {
  constructor(reason, passing) {
    super(reason);
    this.passing = passing;
  }
}

/** The answer of the API to a question, or to none. Throws an Error that says what is wrong, in words. */
export async function ask(name, question) {
  const post = question && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
  };
  const response = await fetch(`api/${name}`, post).catch(() => {
    throw new Trouble("The server does not answer; is tgvae serve still running?", true);
  });
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Trouble(answer.error, response.status === 429 || response.status >= 500);
  return answer;
}

const latest = new WeakMap(); // by place: what was asked for last; an earlier answer that comes later is dropped

/** Puts what `work` resolves to, a list of nodes, into a place; what goes wrong is told there. */
export async function fill(place, work) {
  const own = Symbol();
  latest.set(place, own);
  place.setAttribute("aria-busy", "true");
  const found = await work().catch((error) => {
    const again = el("button", { type: "button", onclick: () => fill(place, work) }, "Try again");
    return [el("p", { className: "error", role: "alert" }, error.message), ...(error.passing ? [again] : [])];
  });
  if (latest.get(place) !== own) return;
  place.replaceChildren(...found);
  place.removeAttribute("aria-busy");
}

/** `work`, run one call at a time, a moment after it is asked for; of calls meanwhile only the last follows. */
export function inTurn(work, pause = 80) {
  let state = "idle";
  return async function go() {
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

/** Sentences as a list; one that was cut says so. */
export function listed(sentences, tag = "ul", look = "spoken") {
  const items = sentences.map(({ text, finished }) => el("li", {}, text || "(nothing)", finished ? "" : " …"));
  return el(tag, { className: `sentences ${look}` }, ...items);
}

/** Complains in words of the first field that holds what it must not. */
export function checked(form) {
  const wrong = form.querySelector("input:invalid");
  if (wrong) throw new Error(`${wrong.labels[0].firstChild.textContent.trim()}: ${wrong.validationMessage}`);
}
