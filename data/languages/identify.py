"""Language identification: py3langid's model asked of many short texts at once, with the library's own answers.

The library (py3langid, BSD licence; the method is Lui and Baldwin 2011, "Cross-domain feature selection for language
identification") reads one text byte by byte in Python. Its tables are plain arrays, so here all texts take each step
together: an automaton finds the features, byte sequences that tell languages apart, and a naive Bayes model weighs
how often each came. The library is imported, and its 30 MB of tables unpacked (a second), at the first question.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Identifier:
    """The model's tables as arrays.

    labels  the languages, without repeats; column i of `probabilities` is for labels[i]
    """

    def __init__(self, library: Any) -> None:
        self._next = np.asarray(library.tk_nextmove)  # (rows * 256,): the state behind a byte, by row
        self._row = np.asarray(library.tk_row, dtype=np.int32) << 8  # (states,): where the row of a state begins
        self._feature = np.asarray(library.tk_output, dtype=np.int32)  # (states,): what is found there; -1: nothing
        self._weights = np.asarray(library.nb_ptc, dtype=np.float32)  # (features, classes): log probabilities
        self._prior: Floats = np.asarray(library.nb_pc, dtype=np.float32)  # (classes,)
        self.labels: list[str] = library.labels
        # Two scripts of one language are two classes of one label
        classes = list(library.nb_classes)
        self._first = [classes.index(label) for label in self.labels]
        self._others = [
            (self.labels.index(one), at) for at, one in enumerate(classes) if at != classes.index(one)
        ]  # (label, class)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """How likely each text is in each language, (texts, labels), rows adding up to 1.

        Work and memory grow with the longest text: give samples of a few hundred characters.
        """
        coded = [_encode(text) for text in texts]
        order = sorted(range(len(coded)), key=lambda at: -len(coded[at]))
        scores = self._scores([coded[at] for at in order])
        lengths = np.array([max(1, len(coded[at])) for at in order], np.float32)
        scores /= np.sqrt(lengths)[:, None]  # the library's own calibration across lengths
        np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf), out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        by_label = scores[:, self._first]
        for label, column in self._others:
            by_label[:, label] += scores[:, column]
        found = np.empty_like(by_label)
        found[order] = by_label
        return found

    def _scores(self, coded: Sequence[bytes]) -> Floats:
        """Logarithms of each text's likelihood by class; `coded` goes from the longest text to the shortest."""
        scores = np.zeros((len(coded), len(self._prior)), np.float32)
        keys, times = np.unique(self._found(coded), return_counts=True)
        documents, features = np.divmod(keys, len(self._weights))
        factors = np.log1p(times.astype(np.float32))
        first = np.searchsorted(documents, np.arange(len(coded) + 1))
        for document in range(len(coded)):
            mine = slice(first[document], first[document + 1])
            if mine.stop > mine.start:  # else every class is as likely
                scores[document] = factors[mine] @ self._weights[features[mine]] + self._prior
        return scores

    def _found(self, coded: Sequence[bytes]) -> NDArray[np.int64]:
        """Every feature found, as text number * features + feature, in no order."""
        longest = len(coded[0]) if coded else 0
        columns = np.frombuffer(b"".join(one.ljust(longest) for one in coded), np.uint8)
        steps = np.ascontiguousarray(columns.reshape(len(coded), longest).T)
        lengths = np.array([len(one) for one in coded])
        going = np.searchsorted(-lengths, -np.arange(longest), "left")  # texts longer than each step's number
        state: NDArray[Any] = np.zeros(len(coded), self._next.dtype)
        states = [state[:0]]
        for step, count in zip(steps, going.tolist(), strict=True):
            state = self._next.take(self._row.take(state[:count]) + step[:count])
            states.append(state)
        features = self._feature.take(np.concatenate(states))
        hits = np.flatnonzero(features >= 0)
        numbers = np.arange(going.sum()) - np.repeat(np.cumsum(going) - going, going)  # of texts
        found: NDArray[np.int64] = numbers[hits] * np.int64(len(self._weights)) + features[hits]
        return found


@cache
def identifier() -> Identifier:
    """The model; unpacked once in a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return Identifier(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))


def _encode(text: str) -> bytes:
    """Text as the model was trained on it."""
    if text.isupper():
        text = text.lower()
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
