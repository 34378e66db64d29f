"""Parquet files, row group by row group, by pyarrow: only the columns that are needed are read."""

from typing import Any

from data.formats.base import CannotReadError, File, Found, Reading, Tally
from data.formats.documents import KNOWN_FIELDS, TEXT_FIELDS, Records
from data.formats.spool import opened
from data.sources.base import Problem

_BATCH_ROWS = 256
_AS_A_STREAM: dict[str, Any] = {"buffer_size": 1 << 20, "pre_buffer": False}  # else a row group is held as a whole


def read_parquet(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name and `#n`, n being the number of the row, from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(file) as content:
        try:
            table = pq.ParquetFile(content, **_AS_A_STREAM, page_checksum_verification=True)
            names = table.schema_arrow.names
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CannotReadError("damaged", f"no Parquet file: {error}"[:300]) from error
        fields = (reading.text_field,) if reading.text_field else TEXT_FIELDS
        if not set(fields) & set(names):
            there = ", ".join(map(repr, names[:10])) or "none"
            raise CannotReadError("no_text", f"no column {' or '.join(fields)} (text_field); its columns are: {there}")
        wanted = {*fields, *KNOWN_FIELDS, reading.id_field}
        columns = [name for name in dict.fromkeys(names) if name in wanted]
        records = Records(file, reading, tally)
        first = 1  # row of the group's first
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            row = first
            try:
                for batch in table.iter_batches(_BATCH_ROWS, [group], columns, use_threads=False) if rows else ():
                    for record in batch.to_pylist():
                        yield from records.read(row, record, {"row": row, "row_group": group})
                        row += 1
            except (pa.ArrowException, OSError, ValueError, OverflowError, UnicodeDecodeError) as error:
                why = f"rows {row} to {first + rows - 1} cannot be read: {error}"[:300]
                yield Problem("damaged", f"{file.name}#{row}", why)
            first += rows
