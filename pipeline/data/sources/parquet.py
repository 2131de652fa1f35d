"""Which columns of a Parquet table are images, and which is labels."""

from __future__ import annotations

import pyarrow as pa

from pipeline.errors import Problem, UserError


def image_column(schema: pa.Schema, name: str | None, *, paths: bool) -> str:
    """The column of encoded images, by name or because there is but one.

    Args:
        schema: of the table.
        name: what the user said, or None.
        paths: a column of strings that was named will do: paths beside the table.

    Raises:
        UserError: there is none of that name or none at all.
    """
    fitting = images_in(schema)
    if paths:
        fitting += [f.name for f in schema if f.name == name and pa.types.is_string(f.type)]
    if name is None and len(fitting) == 1:
        return fitting[0]
    if name is None or name not in fitting:
        raise UserError(
            Problem(
                "--images",
                f"{name or 'not given'}; columns of encoded images: "
                f"{', '.join(fitting) or 'none'}, of all: {', '.join(schema.names)}",
            )
        )
    return name


def images_in(schema: pa.Schema) -> list[str]:
    """Columns that may be encoded images."""
    return [field.name for field in schema if _is_image_type(field.type)]


def _is_image_type(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def label_column(schema: pa.Schema, name: str | None) -> str | None:
    """The column of labels: the one named, else `label` if there is one.

    Raises:
        UserError: the one named is not there, or holds lists or structs.
    """
    if name == "none" or (name is None and "label" not in schema.names):
        return None
    if name is not None and name not in schema.names:
        raise UserError(
            Problem("--labels", f"{name} is not a column; columns: {', '.join(schema.names)}")
        )
    name = name or "label"
    if pa.types.is_nested(schema.field(name).type):
        kind = schema.field(name).type
        message = f"{name} is a column of {kind}, which are no classes; name another, or `none`"
        raise UserError(Problem("--labels", message))
    return name
