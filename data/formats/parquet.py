"""Parquet files, row group by row group, by pyarrow: only the columns that are needed are read."""

from data.formats.base import CannotReadError, File, Found, Reading, Tally
from data.formats.documents import KNOWN_FIELDS, TEXT_FIELDS, Records
from data.formats.parquet_groups import GrowsTooMuchError, ParquetTable
from data.formats.parquet_values import python_values
from data.formats.spool import opened
from data.sources.base import Problem

_ROWS = 256  # as Python objects at a time


def read_parquet(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name and `#n`, n being the number of the row, from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(file) as content:
        try:
            names = pq.read_schema(content).names
            fields = (reading.text_field,) if reading.text_field else TEXT_FIELDS
            wanted = {*fields, *KNOWN_FIELDS, reading.id_field}
            table = ParquetTable(content, [name for name in dict.fromkeys(names) if name in wanted])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CannotReadError("damaged", f"it cannot be read as Parquet: {error}"[:300]) from error
        if not set(fields) & set(names):
            there = ", ".join(map(repr, names[:10])) or "none"
            raise CannotReadError("no_text", f"no column {' or '.join(fields)} (text_field); its columns are: {there}")
        records = Records(file, reading, tally)
        first = 1  # row of the group's first
        for group in range(table.metadata.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            row = first
            try:
                for batch in table.batches(group) if rows else ():
                    for start in range(0, batch.num_rows, _ROWS):
                        columns = map(python_values, batch.slice(start, _ROWS).columns)
                        for values in zip(*columns, strict=True):
                            record = dict(zip(batch.schema.names, values, strict=True))
                            yield from records.read(row, record, {"row": row, "row_group": group})
                            row += 1
            except (GrowsTooMuchError, pa.ArrowException, OSError, ValueError, OverflowError) as error:
                what = "decompression_bomb" if isinstance(error, GrowsTooMuchError) else "damaged"
                why = f"rows {row} to {first + rows - 1} cannot be read: {error}"[:300]
                yield Problem(what, f"{file.name}#{row}", why)
            first += rows
