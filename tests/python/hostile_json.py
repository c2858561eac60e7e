"""JSON that costs whoever reads it more than its sender: very deep, or with very many elements. As text, and as a
`google.protobuf.Struct`."""

from __future__ import annotations

# How deep, in levels.
DEPTH = 10_000

# How many elements.
WIDTH = 1_000_000

# How many elements a message of the largest size by default has room for.
STRUCT_WIDTH = 250_000


def texts() -> dict[str, str]:
    """Values, by what is wrong with them."""
    return {
        "deep arrays": "[" * DEPTH + "]" * DEPTH,
        "deep objects": '{"a":' * DEPTH + "1" + "}" * DEPTH,
        "many numbers": "[" + ",".join("1" * WIDTH) + "]",
        "many objects": "[" + ",".join(["{}"] * WIDTH) + "]",
    }


def field(number: int, content: bytes) -> bytes:
    """A field with a length, as protobuf writes it."""
    length, varint = len(content), b""
    while length >= 0x80:
        varint += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + varint + bytes([length]) + content


def struct(value: bytes) -> bytes:
    """A Struct with one field."""
    return field(1, field(1, b"a") + field(2, value))


def deep_struct() -> bytes:
    value = b""
    for _ in range(DEPTH):
        value = field(5, struct(value))
    return struct(value)


def wide_struct(count: int) -> bytes:
    """A Struct with a list of nulls."""
    null = field(1, b"\x08\x00")
    return struct(field(6, null * count))
