"""Tables of any schema, made up from a seed, for tests of what is on disk."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from crawldb.schema import FetchOutcome, Status

_WORDS = ["", "a", "Straße", "日本", "x\ny", "0" * 300]
_OF_THE_VOCABULARY = {
    "status": [status.name for status in Status],
    "outcome": [outcome.name for outcome in FetchOutcome],
}


class Sample:
    """Makes tables whose values are arbitrary but valid."""

    def keys(self, number: int, seed: int = 0) -> list[bytes]:
        """So many different fingerprints, sorted; some share 8 bytes and more, some end in NUL bytes."""
        chosen = random.Random(seed)
        found: set[bytes] = set()
        while len(found) < number:
            key = chosen.randbytes(20)
            found.update(
                [key, key[:8] + chosen.randbytes(12), key[:15] + bytes(5), key[:19] + b"\x00"][
                    : chosen.choice([1, 1, 4])
                ]
            )
        return sorted(chosen.sample(sorted(found), number))

    def table(self, schema: pa.Schema, keys: Sequence[bytes], seed: int = 0, null_share: float = 0.3) -> pa.Table:
        """One row for each of `keys`; about `null_share` of the columns that may be null are null altogether."""
        chosen = random.Random(seed)
        columns = []
        for field in schema:
            if field.name == "fingerprint":
                columns.append(pa.array(keys, field.type))
                continue
            share = 0.0 if not field.nullable else 1.0 if chosen.random() < null_share else null_share
            values = [None if chosen.random() < share else self._value(field, chosen) for _ in keys]
            dictionary = pa.types.is_dictionary(field.type)
            column = pa.array(values, field.type.value_type if dictionary else field.type)
            columns.append(column.dictionary_encode() if dictionary else column)
        return pa.Table.from_arrays(columns, schema=schema)

    def rows(self, table: pa.Table) -> list[dict[str, Any]]:
        """The rows as Python values: equal for equal tables, whatever their chunks and dictionaries."""
        return list(table.to_pylist())

    def _value(self, field: pa.Field, chosen: random.Random) -> Any:
        kind: pa.DataType = field.type
        if field.name in _OF_THE_VOCABULARY and pa.types.is_dictionary(kind):
            return chosen.choice(_OF_THE_VOCABULARY[field.name])
        if pa.types.is_fixed_size_binary(kind):
            return chosen.randbytes(kind.byte_width)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return chosen.randbytes(chosen.randrange(50))
        if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
            return chosen.choice(_WORDS)
        if pa.types.is_boolean(kind):
            return chosen.random() < 0.5
        if pa.types.is_timestamp(kind):
            return chosen.randrange(2**42)
        if pa.types.is_unsigned_integer(kind):
            return chosen.choice([0, 1, 2**kind.bit_width - 1])
        if pa.types.is_integer(kind):
            return chosen.choice([0, 1, -1, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1))])
        if pa.types.is_floating(kind):
            return chosen.choice([0.0, 0.25, -1.5, 2.0**-32])
        if pa.types.is_map(kind):
            words = chosen.sample(_WORDS, chosen.randrange(1, 4))
            return [(word, chosen.choice([self._value(kind.item_field, chosen), None])) for word in words]
        if pa.types.is_fixed_size_list(kind):
            return [self._value(kind.value_field, chosen) for _ in range(kind.list_size)]
        if pa.types.is_list(kind):
            return [self._value(kind.value_field, chosen) for _ in range(chosen.randrange(3))]
        assert pa.types.is_struct(kind)
        return {child.name: self._value(child, chosen) for child in kind}


@pytest.fixture(scope="session")
def sample() -> Sample:
    """See Sample."""
    return Sample()
