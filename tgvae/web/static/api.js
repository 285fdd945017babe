/** What all parts of the page use: elements, questions to the server, and places for answers. */

/** An element with properties and children; text stays text. */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const find = (id) => document.getElementById(id);

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

/** The answer of the API to a question, or to none. Throws an Error that says what is wrong, in words. */
export async function ask(name, question) {
  const post = question && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
  };
  const response = await fetch(`api/${name}`, post).catch(() => {
    throw new Error("The server does not answer; is tgvae serve still running?");
  });
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Puts what `work` resolves to, a list of nodes, into a place; what goes wrong is told there. */
export async function fill(place, work) {
  place.setAttribute("aria-busy", "true");
  try {
    place.replaceChildren(...(await work()));
  } catch (error) {
    place.replaceChildren(el("p", { className: "error", role: "alert" }, error.message));
  }
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
export function listed(sentences, tag = "ul") {
  const items = sentences.map(({ text, finished }) => el("li", {}, text || "(nothing)", finished ? "" : " …"));
  return el(tag, { className: "sentences" }, ...items);
}
