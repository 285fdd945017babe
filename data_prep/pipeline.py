"""Turn a corpus into a prepared folder: `prepare`.

    corpus -> chunks -> pass one (clean, split, tokenise, count; in processes) -> shards
           -> topic vocabulary, sentence tokenizer
           -> pass two (encode; in processes) -> SPLIT.arrow -> manifest

Memory holds a few chunks, the counts of words, hashes of every id and text (about 200 bytes a document), and the
sentences that sentencepiece learns from.
"""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_prep.clean import CleanDocument, clean_document
from data_prep.corpora import open_corpus
from data_prep.corpora.base import Corpus, RawDocument, Skipped
from data_prep.ids import unique_ids
from data_prep.parallel import OrderedMap, processes
from data_prep.ray_backend import cluster
from data_prep.settings import PrepareSettings
from data_prep.shards import Chunk, Counts, Encoder, count_chunk
from data_prep.splits import Splitter
from data_prep.vocabularies import build_tokenizer, build_topic_vocabulary, load_stop_words
from data_prep.writer import building, write_manifest, write_origin, write_skipped
from tgvae.data.languages import (
    CODES,
    WordRules,
    detect_language,
    forget_detector,
    needs_segmenter,
    segmenter,
    set_apart,
)
from tgvae.data.schema import DOCUMENT, FORMAT, SPLITS, TOPIC_WORDS, arrow_file
from tgvae.data.tokenizers import clean_text
from tgvae.errors import UserError
from tgvae.progress import step, track

TOTALS = ("documents", "sentences", "modelled", "words", "tokens")
CHUNK_DOCUMENTS = 500
CHUNK_CHARACTERS = 1_000_000
SAMPLE_DOCUMENTS = 200
"""Documents by which the language is detected."""
PACKAGES = ("pyarrow", "sentencepiece", "nltk", "nupunkt", "sentencex", "simplemma", "stop-words", "scikit-learn")


Engine = Literal["processes", "ray"]
ENGINES: Mapping[Engine, Callable[[int], AbstractContextManager[OrderedMap]]] = {"processes": processes, "ray": cluster}


def prepare(
    source: str | Path | Sequence[str | Path],
    out: Path | str,
    settings: PrepareSettings | None = None,
    *,
    workers: int = 2,
    engine: Engine = "processes",
    overwrite: bool = False,
) -> Path:
    """Prepare a corpus and return the folder `out`, laid out as `tgvae.data.schema` says.

    `source` is "sotu", "wiki", "hf:NAME", a file, several files, or a folder (see `open_corpus`). The same input,
    settings and package versions give the same bytes, for any engine and number of workers. All work is done in
    OUT.partial, which is renamed at the very end: an interrupted run leaves no OUT. With more than one worker a script
    needs the usual `if __name__ == "__main__":`.

    Raises:
        UserError: input or settings cannot be used, `out` is not empty, the disk is full, or a worker was killed.

    Examples:
        Three documents, one per file:

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from data_prep.settings import PrepareSettings
        >>> small = PrepareSettings(min_document_frequency=1, min_document_words=3, splits=(1.0, 0.0, 0.0))
        >>> with TemporaryDirectory() as folder:
        ...     source = Path(folder) / "speeches"
        ...     source.mkdir()
        ...     for text in ("The army won a battle.", "The school is open now.", "All taxes are too high."):
        ...         _ = (source / f"{text[:8]}.txt").write_text(text)
        ...     prepared = prepare(source, Path(folder) / "prepared", small, workers=1)
        ...     (prepared / "topic_words.txt").read_text().split()
        ['army', 'battle', 'high', 'open', 'school', 'taxes', 'won']
    """
    if workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1.")
    settings = settings or PrepareSettings()
    out = Path(out)
    corpus = open_corpus(source, settings)
    with building(out, overwrite) as partial, ENGINES[engine](workers) as ordered_map:
        described = fill(partial, corpus, settings, ordered_map)
        write_manifest(partial, described)
        write_origin(partial, source)
    return out


def fill(partial: Path, corpus: Corpus, settings: PrepareSettings, ordered_map: OrderedMap) -> dict[str, Any]:
    """Write all files of a prepared folder but its manifest, and return the content of that."""
    settings, rules, language_notes = with_language(corpus, settings)
    list_name, stop_words = load_stop_words(settings, rules)
    shards = partial / "shards"
    shards.mkdir()
    counts = Counts()
    splitter = Splitter.of(corpus, first_documents(corpus.documents(), settings, rules), settings)
    documents = first_documents(unique_ids(corpus), settings, rules)
    placed = (splitter.place(document) if isinstance(document, RawDocument) else document for document in documents)
    chunks = make_chunks(placed, shards, settings, rules)
    for chunk_counts in track(ordered_map(count_chunk, chunks), "reading"):
        counts.add(chunk_counts)
    check_counts(counts, settings)

    shard_files = sorted(shards.iterdir())
    topic_vocabulary = build_topic_vocabulary(counts, settings, stop_words, rules)
    topic_vocabulary.save(partial / TOPIC_WORDS)
    with step("fitting the tokenizer"):
        tokenizer = build_tokenizer(shard_files, counts, settings)
    tokenizer.save(partial)

    encoded = ordered_map(Encoder(tokenizer, topic_vocabulary, settings), shard_files)
    totals = write_splits(track(encoded, "encoding", len(shard_files)), partial)
    shutil.rmtree(shards)
    write_skipped(partial, counts.skipped)
    found = {"groups": splitter.group_counts(), "duplicates": {split: counts.repeats[split] for split in SPLITS}}
    vocabularies = {"topic_vocabulary": len(topic_vocabulary), "sentence_vocabulary": len(tokenizer)}
    return {
        "format": FORMAT,
        "source": corpus.describe(),
        "settings": asdict(replace(settings, group_by=splitter.group_by)),
        "counts": {**totals, **vocabularies, **found},
        "skipped": dict(sorted(Counter(s.reason.partition(";")[0] for s in counts.skipped).items())),
        "notes": language_notes + notes(counts, list_name, stop_words),
        "stop_words": {"list": list_name, "words": sorted(stop_words)},
        "versions": versions(),
    }


def with_language(corpus: Corpus, settings: PrepareSettings) -> tuple[PrepareSettings, WordRules, list[str]]:
    """Return the settings with the language of the corpus, the rules of its words, and notes about it.

    Raises:
        UserError: words of the language cannot be found with what is installed.
    """
    sample = " ".join(_some_texts(corpus))
    code = detect_language(sample)
    forget_detector()
    detected = next((name for name, known in CODES.items() if known == code), "")
    language, notes = settings.language or detected or "english", []
    if settings.language is None and language != "english":
        notes.append(f"the text looks {language} and is prepared as such; --language names another")
    elif settings.language is None and not detected:
        notes.append("the language was not recognised, so English rules are used; name it with --language")
    elif settings.language and detected and detected != settings.language:
        notes.append(f"the text looks {detected}, but --language is {settings.language}")
    segment = needs_segmenter(language) and not set_apart(sample)
    if segment and settings.tokenizer == "words":
        raise UserError(f"--tokenizer words: words of {language} cannot be joined again; use sentencepiece.")
    if segment:
        segmenter(language)
    return replace(settings, language=language), WordRules(language, settings.lemmatize, segment), notes


def _some_texts(corpus: Corpus) -> Iterator[str]:
    """Yield the beginnings of the first documents, without markup."""
    documents = (document for document in corpus.documents() if isinstance(document, RawDocument))
    for document in islice(documents, SAMPLE_DOCUMENTS):
        yield clean_text(" ".join([document.text] if isinstance(document.text, str) else document.text)[:1000])


def notes(counts: Counts, list_name: str, stop_words: frozenset[str]) -> list[str]:
    """Return what the user should know about the corpus."""
    found = []
    if (unused := stop_words - counts.document_frequency.keys()) and "(" not in list_name:
        some = ", ".join(sorted(unused)[:5])
        found.append(f"{len(unused)} of {len(stop_words)} stop words occur in no training document, such as {some}")
    if dates := counts.unread_dates:
        found.append(
            f"{dates.total():,} dates were not understood, such as {dates.most_common(1)[0][0]}; give a year, "
            "2024-05-17 or 17.05.2024"
        )
    if repeats := counts.repeats.total():
        found.append(f"duplicates: {repeats:,}, in the split of the first with that text; --duplicates skip omits them")
    return found


def versions() -> dict[str, str]:
    """Return the versions of the packages that the bytes of a prepared folder depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def make_chunks(
    documents: Iterable[RawDocument | Skipped], shards: Path, settings: PrepareSettings, rules: WordRules
) -> Iterator[Chunk]:
    """Gather documents into chunks of a bounded size, each with the name of its shard."""
    gathered: list[RawDocument | Skipped] = []
    characters = number = 0
    for document in documents:
        gathered.append(document)
        if isinstance(document, RawDocument):
            characters += len(document.text) if isinstance(document.text, str) else sum(map(len, document.text))
        if len(gathered) == CHUNK_DOCUMENTS or characters >= CHUNK_CHARACTERS:
            yield Chunk(gathered, shards / f"{number:08d}.arrow", settings, rules)
            gathered, characters, number = [], 0, number + 1
    if gathered:
        yield Chunk(gathered, shards / f"{number:08d}.arrow", settings, rules)


def first_documents(
    documents: Iterable[RawDocument | Skipped], settings: PrepareSettings, rules: WordRules
) -> Iterator[RawDocument | Skipped]:
    """Yield the first `limit` usable documents, of each split where the corpus gives splits; None: all.

    Documents that will be skipped do not count, so each is cleaned here once more to find out: limits are for trials.
    """
    seen: Counter[str | None] = Counter()
    for document in documents:
        if isinstance(document, RawDocument) and settings.limit is not None:
            if seen[document.split] == settings.limit:
                if set(seen) == {None}:
                    return
                continue
            seen[document.split] += isinstance(clean_document(document, settings, rules), CleanDocument)
        yield document


def check_counts(counts: Counts, settings: PrepareSettings) -> None:
    """Raise UserError where nothing can be trained or validated on."""
    usable, skipped = counts.documents.total(), len(counts.skipped)
    counted = Counter(document.reason for document in counts.skipped)
    reasons = "".join(f", {number} as {reason}" for reason, number in sorted(counted.items()))
    for split, share in zip(SPLITS[:2], settings.splits, strict=False):
        if share > 0 and not counts.documents[split]:
            same = f" {counts.repeats.total()} repeat others and share their split." if counts.repeats else ""
            raise UserError(
                f"The {split} split is empty: of {usable + skipped} documents {skipped} were skipped{reasons}.{same} "
                "Give more documents, other --splits, a lower --min-document-words, or a --group-by with more groups."
            )
    if not counts.sentences:
        raise UserError(
            f"No training sentence has {settings.max_sentence_words} words or fewer; raise "
            "--max-sentence-words or say --long-sentences cut."
        )


def write_splits(encoded: Iterable[Mapping[str, pa.RecordBatch]], folder: Path) -> dict[str, dict[str, int]]:
    """Write the Arrow file of every split and return totals by name and split."""
    totals = {name: dict.fromkeys(SPLITS, 0) for name in TOTALS}
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(pa.ipc.new_file(str(folder / arrow_file(split)), DOCUMENT)) for split in SPLITS
        }
        for batches in encoded:
            for split, batch in batches.items():
                writers[split].write(batch)
                for name, number in batch_totals(batch).items():
                    totals[name][split] += number
    return totals


def batch_totals(batch: pa.RecordBatch) -> dict[str, int]:
    """Count documents, sentences, modelled sentences and their words and tokens in a batch of DOCUMENT."""
    words = batch["words"].flatten().to_numpy()
    return {
        "documents": batch.num_rows,
        "sentences": len(words),
        "modelled": int((words > 0).sum()),
        "words": int(words.sum()),
        "tokens": len(batch["tokens"].flatten().flatten()),
    }
