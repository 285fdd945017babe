/** The page: asks what the run can do, and shows the sections that it can serve. */
import { ask, el, fill, find } from "./api.js";
import { startDocument, startWalk } from "./documents.js";
import { startPictures } from "./maps.js";
import { startTopics } from "./topics.js";
import { startWriting } from "./writing.js";

const KINDS = {
  tgvae: "topic-guided VAE",
  topic: "topic model",
  "sentence-vae": "sentence VAE",
  "language-model": "language model",
};
const SECTIONS = {
  write: { ability: "generate", title: "Write", start: startWriting },
  topics: { ability: "topics", title: "Topics", start: startTopics },
  document: { ability: ["document", "summarize"], title: "A document", start: startDocument },
  between: { ability: "between", title: "Between sentences", start: startWalk },
  map: { ability: "topics", title: "Maps", start: startPictures },
};
const LACKS = {
  topics: "It has no topics, so there is nothing to mix or to map; the recipe tgvae has both.",
  generate: "It writes no sentences; the recipe tgvae does.",
};

function tellAbout({ run, model, version, corpus, can, missing }, { topics }) {
  document.title = `${run} · tgvae`;
  find("title").textContent = run;
  find("version").textContent = version;
  const many = topics.length ? ` of ${topics.length} topics` : "";
  const count = (number) => number.toLocaleString("en");
  const learnt = corpus
    ? `, trained on ${count(corpus.documents)} documents (${count(corpus.sentences)} sentences) of ${corpus.name}`
    : "";
  const lacks = Object.entries(LACKS).filter(([name]) => !can.includes(name) && !can.includes("summarize"));
  const told = [`A ${KINDS[model] ?? model}${many}${learnt}.`, ...lacks.map(([, text]) => text)];
  find("about").textContent = told.join(" ");
  find("licence").hidden = !corpus;
  find("licence").textContent = corpus ? `Licence of the corpus: ${corpus.licence}.` : "";
  find("missing").hidden = !missing;
  find("missing").textContent =
    `Without its corpus there are no shares, coherence or sentences of topics, and no map of documents. ${missing}`;
}

async function start() {
  const run = await ask("run");
  const found = await ask("topics");
  tellAbout(run, found);
  for (const [id, { ability, title, start }] of Object.entries(SECTIONS)) {
    if (![ability].flat().some((name) => run.can.includes(name))) continue;
    find(id).hidden = false;
    find("contents").append(el("li", {}, el("a", { href: `#${id}` }, title)));
    start(run, found);
  }
  find("contents").parentElement.hidden = false;
  return [];
}

fill(find("trouble"), start);
