"""Anchors of texts: words that, while they stay, keep the predicted class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.source.classes import inside
from anabranch.errors import InvalidRequest, Mistake
from anabranch.explainers.alibi.anchors import Anchors, Chance
from anabranch.explainers.alibi.library import already_fitted, library, quiet
from anabranch.explainers.model import Array
from anabranch.specs.models import Explainer, NodeBase

_NUMBERS = ("xgboost", "lightgbm", "catboost", "torch")
"""Runtimes that take no texts by themselves."""
_SIMILARITY = ("top_n", "temperature", "use_proba")
_FIXED = ("sampling_strategy", "sample_proba", *_SIMILARITY, "spacy_model", "language")


@register("explainer", "anchor_text")
class AnchorText(Anchors):
    """Words that keep the predicted class while they stay; the model takes BYTES [rows].

    ``sampling_strategy`` is the replacement of other words: ``unknown`` the word UNK,
    ``similarity`` words with a similar vector, of a spaCy pipeline in the folder ``spacy_model``.
    Without one, spaCy's rules for ``language`` split the text into words. ``precision_samples`` and
    ``resample`` are those of ``anchor_tabular``, the others Alibi's.

    Args:
        sampling_strategy: Replacement of a word: ``unknown`` is UNK, ``similarity`` a word with a
            similar vector.
        sample_proba: Chance, 0 to 1, that a word is replaced.
        top_n: Number of similar words that replacements are drawn from.
        temperature: Weight of the similarity in draws; larger values draw more evenly.
        use_proba: Whether words are drawn by their similarity.
        spacy_model: Folder of a spaCy pipeline in the bundle.
        language: Language whose rules split the text where there is no pipeline.
        stop_on_first: Whether the search ends with the first rule that reaches the threshold.
    """

    cls = "AnchorText"

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        sampling_strategy: Literal["unknown", "similarity"] = "unknown",
        sample_proba: Chance = 0.5,
        top_n: int | None = None,
        temperature: float | None = None,
        use_proba: bool | None = None,
        spacy_model: str | None = None,
        language: str = "en",
        stop_on_first: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._pipeline = (spacy_model, language)
        self._strategy = sampling_strategy
        options = {"top_n": top_n, "temperature": temperature, "use_proba": use_proba}
        given = {name: value for name, value in options.items() if value is not None}
        self._options = {"sample_proba": sample_proba, **given}
        self._rank = 1
        self._search["stop_on_first"] = stop_on_first

    @staticmethod
    def fits(explained: NodeBase | None) -> str | None:
        """Return why a node cannot be explained; None unless its runtime takes numbers only."""
        runtime = getattr(explained, "runtime", None)
        if runtime in _NUMBERS:
            return f"anchor_text explains texts, but the runtime {runtime} takes numbers"
        return None

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a sample, and options of another strategy."""
        yield from already_fitted(node, *_FIXED)
        args: Mapping[str, Any] = node.args
        if node.data is not None:
            yield ("data",), "anchor_text is fitted on nothing; remove it"
        if args.get("sampling_strategy", "unknown") == "unknown":
            for name in _SIMILARITY:
                if args.get(name) is not None:
                    yield ("args", name), "belongs to sampling_strategy: similarity"
        elif args.get("spacy_model") is None and node.model is None:
            yield (
                ("args", "spacy_model"),
                "sampling_strategy similarity needs spacy_model, the folder of a spaCy pipeline "
                "with word vectors",
            )

    def prepare(self) -> None:
        """Determine the rank in which the model takes texts."""
        spec = self.model.inputs[self.function.input]
        self._rank = 1 if spec is None else len(spec.shape)

    def make(self) -> Any:
        """Return Alibi's explainer."""
        # Imported with Alibi, which needs it: else its absence would be told of first.
        alibi = library()
        try:
            return alibi.AnchorText(
                self.predicted,
                sampling_strategy=self._strategy,
                nlp=self._nlp(),
                seed=self.node.seed,
                **self._options,
            )
        except (ValueError, KeyError) as error:
            raise CannotLoad(f"anchor_text: {' '.join(str(error).split())}") from None

    def _nlp(self) -> Any:
        nlp = self._words()
        if self._strategy == "unknown" and "lexeme_prob" not in nlp.vocab.lookups.tables:
            # Alibi would load how likely words are, for seconds and in few languages only; that
            # goes into the choice of similar words and into nothing else.
            nlp.vocab.lookups.add_table("lexeme_prob", {})
        return nlp

    def _words(self) -> Any:
        folder, language = self._pipeline
        spacy = require("spacy", "explain")
        with quiet():
            if folder is not None:
                return spacy.load(inside(folder, self.root, folders=True))
            try:
                return spacy.blank(language)
            except ImportError:
                raise CannotLoad(f"spaCy has no rules for the language {language!r}") from None

    def rows(self, inputs: Mapping[str, Array]) -> Array:
        """Return the texts of a request [rows]; raise InvalidRequest for other tensors."""
        texts = self.function.rows(inputs)
        if texts.dtype.kind not in "OSU" or texts.size != len(texts):
            raise InvalidRequest(
                f"anchor_text explains BYTES [-1], not {texts.dtype}{list(texts.shape)}"
            )
        self._rank = texts.ndim
        return texts.reshape(-1)

    def to_library(self, row: Array) -> str:
        """Return a text; raise InvalidRequest for a text without words."""
        value: Any = row
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if not text.strip():
            raise InvalidRequest("anchor_text explains words, but the text has none")
        return text

    def from_library(self, rows: Any) -> Array:
        """Return texts [rows], or in the rank that the model takes."""
        texts: Array = np.array(list(rows), dtype=object)
        return texts.reshape(len(texts), *[1] * (self._rank - 1))
