"""The band table of one slot: which documents agree in which bands, as hashes in ascending order.

With it lie the signatures by which candidates are verified, one byte of each value: two different values share that
byte once in 256, which the estimate takes into account (b-bit minwise hashing, Li and Koenig, WWW 2010). Together they
are what a later slot needs to know of an earlier one's texts: values + 12 x bands bytes per document.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.arrays import Range, UnusableArrayError, let_go, open_array, places_of
from data.near.config import NearConfig
from data.near.shingles import Hashes, mixed
from data.near.signatures import NOTHING, Signatures

HASHES_FILE = "near-hashes.npy"
ROWS_FILE = "near-rows.npy"
SIGNATURES_FILE = "near-signatures.npy"
FILES = (HASHES_FILE, ROWS_FILE, SIGNATURES_FILE)

Bytes = NDArray[np.uint8]
Rows = NDArray[np.uint32]


def signature_bytes(signatures: Signatures) -> Bytes:
    """The lowest byte of every value, (documents, values) uint8."""
    return signatures.astype(np.uint8)


def similarities(left: Bytes, right: Bytes) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of signatures (pairs, values), (pairs,)."""
    share = np.count_nonzero(left == right, axis=1) / left.shape[1]
    estimates: NDArray[np.float64] = np.maximum(0.0, (share - 1 / 256) / (1 - 1 / 256))
    return estimates


def band_hashes(signatures: Signatures, config: NearConfig) -> Hashes:
    """A hash for each band of each signature, (documents, bands); equal in two where all values of the band are."""
    rows = signatures[:, : config.bands * config.rows].reshape(len(signatures), config.bands, config.rows)
    hashes = np.broadcast_to(np.arange(1, config.bands + 1, dtype=np.uint64), rows.shape[:2]).copy()
    for row in range(config.rows):
        hashes = mixed(hashes ^ rows[:, :, row])
    return hashes


class BandWriter:
    """Gathers a slot's documents, batch by batch, and writes what later slots need to know of them.

    Documents without words stand in no band, so that they match nothing. Memory: values + 8 x bands bytes per document,
    and some 30 x bands while writing.
    """

    def __init__(self, config: NearConfig) -> None:
        self._config = config
        self._documents = 0
        self._bytes = [np.empty((0, config.values), np.uint8)]
        self._hashes = [np.empty(0, np.uint64)]
        self._rows = [np.empty(0, np.uint32)]

    def add(self, signatures: Signatures) -> None:
        """The next documents."""
        rows = np.flatnonzero((signatures != NOTHING).any(axis=1))
        self._bytes.append(signature_bytes(signatures))
        self._hashes.append(band_hashes(signatures[rows], self._config).ravel())
        self._rows.append((self._documents + rows).astype(np.uint32))
        self._documents += len(signatures)

    def write(self, out: Path) -> None:
        """Write near-hashes.npy (uint64, ascending), near-rows.npy (uint32, beside them) and near-signatures.npy."""
        np.save(out / SIGNATURES_FILE, np.concatenate(self._bytes), allow_pickle=False)
        hashes = np.concatenate(self._hashes)
        order = np.argsort(hashes, kind="stable")  # equal ones stay in the order of rows
        np.save(out / HASHES_FILE, hashes[order], allow_pickle=False)
        rows = np.concatenate(self._rows)
        np.save(out / ROWS_FILE, rows[order // self._config.bands], allow_pickle=False)


def write_bands(signatures: Signatures, config: NearConfig, out: Path) -> None:
    """The same for documents that are all there."""
    writer = BandWriter(config)
    writer.add(signatures)
    writer.write(out)


class BandTable:
    """The files of one slot, mapped."""

    def __init__(self, folder: Path, config: NearConfig) -> None:
        self.hashes = open_array(folder / HASHES_FILE, np.uint64)
        self.rows = open_array(folder / ROWS_FILE, np.uint32)
        self.signatures = open_array(folder / SIGNATURES_FILE, np.uint8, config.values)
        if len(self.hashes) != len(self.rows) or len(self.hashes) > len(self.signatures) * config.bands:
            raise UnusableArrayError(
                f"{folder} holds {len(self.hashes):,} hashes of bands for {len(self.rows):,} rows of "
                f"{len(self.signatures):,} documents. Delete this artifact and run again: it will be rebuilt."
            )

    def read(self, range_: Range) -> tuple[Hashes, Rows]:
        """The hashes of a range, ascending, and their rows; equal hashes have ascending rows."""
        places = places_of(range_, self.hashes)
        read = np.array(self.hashes[places]), np.array(self.rows[places])
        let_go([self.hashes, self.rows])
        return read
