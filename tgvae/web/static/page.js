/** Entry point: asks what the run can do and shows the sections for its capabilities. */
import { el, fill, find, request } from "./api.js";
import { startDocument, startInterpolation } from "./documents.js";
import { startGeneration } from "./generation.js";
import { startPlots } from "./plots.js";
import { startTopics } from "./topics.js";

const KINDS = {
  tgvae: "topic-guided VAE",
  topic: "topic model",
  "sentence-vae": "sentence VAE",
  "language-model": "language model",
};
const SECTIONS = {
  generate: { capabilities: ["generation"], title: "Generate", start: startGeneration },
  topics: { capabilities: ["topics"], title: "Topics", start: startTopics },
  document: { capabilities: ["topics", "summaries"], title: "Document", start: startDocument },
  interpolate: { capabilities: ["latent"], title: "Interpolate", start: startInterpolation },
  plots: { capabilities: ["topics"], title: "Plots", start: startPlots },
};
const MISSING = {
  topics: "It has no topics, so there are no mixtures and plots; the recipe tgvae has both.",
  generation: "It does not generate sentences; the recipe tgvae does.",
};

function describe({ run, model, version, corpus, capabilities, corpus_missing }, { topics }) {
  document.title = `${run} · tgvae`;
  find("title").textContent = run;
  find("version").textContent = version;
  const size = topics.length ? ` with ${topics.length} topics` : "";
  const count = (number) => number.toLocaleString("en");
  const training = corpus
    ? `, trained on ${count(corpus.documents)} documents (${count(corpus.sentences)} sentences) of ${corpus.name}`
    : "";
  const summarizes = capabilities.includes("summaries");
  const missing = Object.keys(MISSING).filter((name) => !capabilities.includes(name) && !summarizes);
  find("about").textContent = [`A ${KINDS[model] ?? model}${size}${training}.`, ...missing.map((name) => MISSING[name])].join(" ");
  find("licence").hidden = !corpus;
  find("licence").textContent = corpus ? `Licence of the corpus: ${corpus.licence}.` : "";
  find("missing").hidden = !corpus_missing;
  find("missing").textContent =
    `The corpus is missing, so there are no topic shares, coherence values, typical sentences and document map. ${corpus_missing}`;
}

async function start() {
  const run = await request("run");
  const topics = await request("topics");
  describe(run, topics);
  for (const [id, { capabilities, title, start }] of Object.entries(SECTIONS)) {
    if (!capabilities.some((name) => run.capabilities.includes(name))) continue;
    find(id).hidden = false;
    find("contents").append(el("li", {}, el("a", { href: `#${id}` }, title)));
    start(run, topics);
  }
  find("contents").parentElement.hidden = false;
  return [];
}

fill(find("errors"), start);
