"""Tables of a data set, as files."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.format import read_table, write_table

SCHEMA = pa.schema([("clip", pa.string()), ("rows", pa.int32())])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    write_table(path, [{"clip": f"clip {number}", "rows": number} for number in range(1000)], SCHEMA)
    return path


def test_a_table_is_read_as_it_was_written(written: Path):
    table = read_table(written.read_bytes())
    assert table.schema == SCHEMA
    assert table["rows"].to_pylist() == list(range(1000))
    some = read_table(written.read_bytes(), columns=["clip"], read_dictionary=["clip"])
    assert some.schema == pa.schema([("clip", pa.dictionary(pa.int32(), pa.string()))])
    assert some["clip"].to_pylist() == [f"clip {number}" for number in range(1000)]


def test_what_is_no_table_is_refused():
    with pytest.raises(pa.ArrowInvalid):
        read_table(b"no table")


def test_reading_starts_no_threads_that_outlive_it(written: Path):
    # A process that ended while pyarrow's threads still ran was aborted in one case of five on a busy machine.
    code = (
        "import os, sys; from pathlib import Path; from pipelines.format import read_table\n"
        "def threads(): return len(os.listdir('/proc/self/task'))\n"
        f"data = Path({str(written)!r}).read_bytes(); before = threads()\n"
        "read_table(data); read_table(data, columns=['clip'], read_dictionary=['clip'])\n"
        "print(threads() - before)"
    )
    # jemalloc has a thread of its own, which does no harm.
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "0"
