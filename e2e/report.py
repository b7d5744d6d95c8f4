"""report.py SCHEME PICTURE: whether a browser's picture (PNG, 8 bits) of the timeline report shows what the report tells."""

import struct
import sys
import zlib

# Colours of the report (kubectl-pitr/src/render/timeline_html.rs), and how many dots of them there are at least.
WANTED = {
    "light": {"recoverable": (0x2B9A66, 8000), "gap": (0xE5484D, 600), "transaction": (0x3358D4, 10), "paper": (0xFCFCFD, 300_000)},
    "dark": {"recoverable": (0x3DD68C, 8000), "gap": (0xFF9592, 600), "transaction": (0x9EB1FF, 10), "paper": (0x111113, 300_000)},
}


def rows(png: bytes):
    """The rows of dots, each as bytes; and the bytes of a dot. PNG specification, third edition, sections 5 and 9."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        sys.exit("this is no PNG")
    at, data, header = 8, b"", None
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    width, height, depth, colour = header[:4]
    if depth != 8 or colour not in (2, 6):
        sys.exit(f"8 bits of red, green and blue are expected, not {depth} of type {colour}")
    size = 3 if colour == 2 else 4
    raw, before = zlib.decompress(data), bytes(width * size)
    for y in range(height):
        start = y * (width * size + 1)
        row = bytearray(raw[start + 1 : start + 1 + width * size])
        unfilter(raw[start], row, before, size)
        yield size, row
        before = row


def unfilter(kind: int, row: bytearray, up: bytes, size: int) -> None:
    for x in range(len(row)):
        left = row[x - size] if x >= size else 0
        corner = up[x - size] if x >= size else 0
        match kind:
            case 1:
                row[x] = (row[x] + left) & 255
            case 2:
                row[x] = (row[x] + up[x]) & 255
            case 3:
                row[x] = (row[x] + (left + up[x]) // 2) & 255
            case 4:
                guess = left + up[x] - corner
                row[x] = (row[x] + min((left, up[x], corner), key=lambda near: abs(guess - near))) & 255


def main() -> None:
    scheme, path = sys.argv[1:]
    seen: dict[bytes, int] = {}
    with open(path, "rb") as file:
        for size, row in rows(file.read()):
            for x in range(0, len(row), size):
                dot = bytes(row[x : x + 3])
                seen[dot] = seen.get(dot, 0) + 1
    missing = []
    for name, (colour, least) in WANTED[scheme].items():
        count = seen.get(colour.to_bytes(3, "big"), 0)
        print(f"report, {scheme}: {name} {count} dots")
        if count < least:
            missing.append(f"{name}: {count} dots, at least {least} are expected")
    if missing:
        sys.exit(f"the report in the {scheme} scheme does not show what it tells: {'; '.join(missing)}")


if __name__ == "__main__":
    main()
