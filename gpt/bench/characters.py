"""A text by characters: ids, the split and the batches. No tokenizer, no files besides the text itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpt.arrays import TokenShard
from gpt.errors import GPTError

Ids = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Characters:
    """The first nine tenths of a text to train on and the last tenth to score, as ids of its sorted characters."""

    train: TokenShard
    validation: Ids
    vocab_size: int


def read_characters(path: Path) -> Characters:
    """Split a UTF-8 text after floor(9/10 of its characters); raises GPTError when it is none or too short."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise GPTError(f"Cannot read {path}: {error.strerror}. Name a text file with --text.") from None
    except UnicodeDecodeError as error:
        raise GPTError(f"{path} is not UTF-8 (byte {error.start}): convert it first.") from None
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known, ids = np.unique(points, return_inverse=True)
    border = len(ids) * 9 // 10
    if len(ids) - border < 2 or len(known) < 2:
        raise GPTError(
            f"{path} has {len(ids)} characters, {len(known)} different ones, but its last tenth needs at least 2: "
            f"name a longer text."
        )
    flat = ids.astype(np.uint16 if len(known) <= 2**16 else np.uint32)
    starts = np.array([0, border], np.int64)
    return Characters(TokenShard(path, flat[:border], starts), flat[border:], len(known))
