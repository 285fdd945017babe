/** A document read: topics, words by topic, sentences in its vein, its summary; and the walk between two sentences. */
import { ask, bar, checked, el, fill, find, listed, percent } from "./api.js";

const LOOKS = 7; // topics with a look of their own; other topics share the last one
const OFFERS = {
  summarize: ["a summary"],
  document: ["its topics", "its words marked by topic"],
  mixture: ["sentences in its vein"],
};

export function startDocument(run, { topics }) {
  const named = Object.fromEntries(topics.map(({ topic, name }) => [topic, name]));
  const offers = Object.keys(OFFERS).filter((name) => run.can.includes(name)).flatMap((name) => OFFERS[name]);
  const list = new Intl.ListFormat("en", { type: "conjunction" });
  find("document-about").textContent = `Paste a text, and the model answers with ${list.format(offers)}.`;
  if (run.can.includes("summarize") && topics.length) {
    find("towards-field").hidden = false;
    const free = el("option", { value: "" }, "no topic in particular");
    find("towards").append(free, ...topics.map(({ topic, name }) => el("option", { value: topic }, name)));
  }
  const read = () => fill(find("read"), () => parts(run, named, find("text").value));
  const measure = () => (find("length").textContent = lengthOf(find("text").value, run.limits.characters));
  submitted("document-form", read);
  find("text").addEventListener("input", measure);
  find("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) read();
  });
  find("example").hidden = !run.examples;
  find("example").addEventListener("click", () => {
    find("text").value = run.examples.document;
    measure();
    read();
  });
  measure();
}

const lengthOf = (text, most) =>
  `${text.length.toLocaleString("en")} of at most ${most.toLocaleString("en")} characters. Ctrl + Enter reads it too.`;

/** All that the run can say of a text; one part that fails says so in its place. */
async function parts(run, named, text) {
  if (!text.trim()) throw new Error("There is no text; paste some above.");
  const most = run.limits.characters;
  if (text.length > most) throw new Error(`The text has ${text.length} characters; at most ${most} are read. Cut it.`);
  const kinds = {
    summarize: ["Summary", () => summary(text)],
    document: ["Topics", () => reading(named, text)],
    mixture: ["Sentences in its vein", () => vein(text)],
  };
  const shown = Object.entries(kinds).filter(([ability]) => run.can.includes(ability));
  const made = shown.map(async ([, [title, work]]) => {
    const place = el("div");
    await fill(place, work);
    return [el("h3", {}, title), place];
  });
  return (await Promise.all(made)).flat();
}

async function summary(text) {
  const question = { text, num: 1 };
  if (find("towards").value) question.topic = Number(find("towards").value);
  const { summaries, cut } = await ask("summarize", question);
  const note = cut ? [el("p", { className: "note" }, "The text is longer than the model reads: its end was left out.")] : [];
  return [listed(summaries), ...note];
}

async function vein(text) {
  return [listed((await ask("generate", { like: text })).sentences)];
}

async function reading(named, text) {
  const { topics, paragraphs } = await ask("document", { text });
  const look = Object.fromEntries(topics.slice(0, LOOKS).map(({ topic }, place) => [topic, place]));
  const spoken = new Set(paragraphs.flat().map(({ topic }) => topic));
  const told = topics.filter(({ topic }, place) => place < LOOKS || spoken.has(topic));
  const rows = told.map(({ topic, share }) =>
    el("li", {}, bar(share), el("span", {}, percent(share)), el("mark", { className: `look${look[topic] ?? LOOKS}` }, named[topic])),
  );
  const shown = paragraphs.map((pieces) => el("p", {}, ...pieces.map((piece) => marked(piece, named, look))));
  const note = "Each word that topics speak of is marked by the topic it most likely comes from; the number is the topic's.";
  const words = el("div", {}, el("div", { className: "text" }, ...shown), el("p", { className: "note" }, note));
  return [el("div", { className: "columns read" }, el("ul", { className: "words" }, ...rows), words)];
}

function marked({ text, topic, share }, named, look) {
  if (topic === null) return text;
  const title = `topic ${named[topic]}: ${percent(share)}`;
  return el("mark", { className: `look${look[topic] ?? LOOKS}`, title }, text, el("sub", {}, String(topic)));
}

export function startWalk({ examples }) {
  for (const id of ["start", "end"]) find(id).value = examples?.[id] ?? "";
  submitted("between-form", () => fill(find("walked"), walk));
}

async function walk() {
  checked(find("between-form"));
  const [start, end] = [find("start").value, find("end").value];
  if (!start.trim() || !end.trim()) throw new Error("Two sentences are needed, one to start from and one to come to.");
  const { sentences } = await ask("between", { start, end, num: Number(find("steps").value) });
  const note = "The first and the last are what the model keeps of yours: their topic and their length rather than their words.";
  return [listed(sentences, "ol", "steps"), el("p", { className: "note" }, note)];
}

function submitted(id, work) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}
