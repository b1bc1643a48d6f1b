"""Tables of both kinds, action units whole or left and right apart, for models of both kinds."""

import numpy as np
import pandas as pd

from icface.attributes import SIDED_UNITS, SIDES, AttributeSchema, sides_of
from icface.errors import IcfaceError


def fit_sides(table: pd.DataFrame, schema: AttributeSchema) -> pd.DataFrame:
    """The table with the columns of the sides that `schema` has; the table itself where there is nothing to do.

    Where the schema has sides, a whole action unit drives those that the table does not have measured. Where it has
    none, two sides become their mean.

    Raises IcfaceError when one side is there without the other and the schema has none.

    >>> fit_sides(pd.DataFrame({"AU12": [1.0]}), AttributeSchema.default(sides=True)).to_dict("list")
    {'AU12L': [1.0], 'AU12R': [1.0]}
    >>> fit_sides(pd.DataFrame({"AU45L": [2.0], "AU45R": [0.0]}), AttributeSchema.default()).to_dict("list")
    {'AU45': [1.0]}
    """
    columns: dict[str, pd.Series | None] = {}
    for unit in SIDED_UNITS:
        sides = sides_of(unit)
        given = [name for name in sides if name in table.columns]
        measured = [name for name in given if table[name].notna().any()]
        if sides[0] in schema.names:
            if unit in table.columns:
                columns |= {name: table[name if name in measured else unit] for name in sides} | {unit: None}
        elif given:
            columns |= dict.fromkeys(given)
            if unit not in table.columns:
                columns[unit] = _both(table, unit, given)
    if not columns:
        return table
    kept = table.drop(columns=[name for name in columns if name in table.columns])
    result = kept.assign(**{name: values for name, values in columns.items() if values is not None})
    result.attrs = table.attrs
    return result


def words(name: str, known: dict[str, str]) -> str:
    """What `known` says of an attribute; of a side, which one it is too.

    >>> words("AU12L", {"AU12": "smile"}), words("AU26", {})
    ('smile, left', '')
    """
    for unit in SIDED_UNITS:
        if name in sides_of(unit):
            side = "left" if name.endswith(SIDES[0]) else "right"
            return f"{known[unit]}, {side}"
    return known.get(name, "")


def _both(table: pd.DataFrame, unit: str, given: list[str]) -> pd.Series:
    if len(given) < len(SIDES):
        raise IcfaceError(
            f"the attribute table has {given[0]} alone, and this model has no sides: give {unit}, or both sides of it"
        )
    return table[given].mean(axis=1, skipna=False).astype(np.float32)
