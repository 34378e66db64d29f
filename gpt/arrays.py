"""Token arrays on disk: memory-mapped ids and the offsets at which their documents start.

Opens and checks them; knows neither sources nor batches. Nothing is read beyond the header and a few probes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpt.errors import GPTError
from gpt.jobs import ShardPaths

PROBES = 256  # documents per array whose first id is looked at


@dataclass(frozen=True)
class TokenShard:
    """tokens (n,) uint16 or uint32, memory-mapped; starts (documents + 1,) int64, the last one is n."""

    path: Path
    tokens: npt.NDArray[np.unsignedinteger]
    starts: npt.NDArray[np.int64]

    @property
    def documents(self) -> int:
        """How many documents the array holds."""
        return len(self.starts) - 1


def open_shard(paths: ShardPaths, eot_id: int) -> TokenShard:
    """Map one array and check its form: dtypes, offsets, and the end-of-text id before (probed) documents."""
    tokens, starts = _map(paths.tokens), _map(paths.documents)
    if tokens.dtype not in (np.uint16, np.uint32) or tokens.ndim != 1:
        raise GPTError(
            f"{paths.tokens} holds {tokens.dtype} in {tokens.ndim} dimensions, but token arrays are flat uint16 or "
            f"uint32: rerun the tokens stage."
        )
    if starts.dtype != np.int64 or starts.ndim != 1 or len(starts) == 0:
        raise GPTError(f"{paths.documents} holds {starts.dtype} of shape {starts.shape}, but offsets are flat int64.")
    if starts[0] != 0 or starts[-1] != len(tokens):
        raise GPTError(
            f"{paths.documents} spans tokens {starts[0]} to {starts[-1]}, but {paths.tokens} has {len(tokens)}: they "
            f"do not belong together; rerun the tokens stage."
        )
    probed = np.unique(np.linspace(0, len(starts) - 2, PROBES).astype(np.int64)) if len(starts) > 1 else []
    for document in probed:
        start, end = int(starts[document]), int(starts[document + 1])
        if end <= start or tokens[start] != eot_id:
            found = f"id {tokens[start]}" if end > start else "nothing"
            raise GPTError(
                f"{paths.tokens}: document {document} begins with {found}, but every document begins with the "
                f"end-of-text id {eot_id}: rerun the tokens stage with this tokenizer."
            )
    return TokenShard(paths.tokens, tokens, starts)


def load_token_bytes(path: Path, vocab_size: int) -> npt.NDArray[np.integer]:
    """The table of UTF-8 lengths of all ids, (vocab_size,)."""
    token_bytes = _map(path)
    if token_bytes.shape != (vocab_size,):
        raise GPTError(
            f"{path} has shape {token_bytes.shape}, but the model knows {vocab_size} ids: give the table of the "
            f"tokenizer that encoded the data."
        )
    return np.array(token_bytes)


def _map(path: Path) -> npt.NDArray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise GPTError(f"Cannot open {path}: {error.strerror or error}. Rerun the tokens stage.") from None
    except (ValueError, EOFError) as error:
        raise GPTError(f"{path} is not a readable .npy array ({error}). Rerun the tokens stage.") from None
    return array.view(np.ndarray)  # plain indexing costs a third of a memmap's
