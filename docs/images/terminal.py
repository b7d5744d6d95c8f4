"""terminal.py TITLE <TEXT >SVG: what a program printed on a terminal, colours included (ECMA-48, section 8.3.117), as a picture."""

import re
import sys
from html import escape

CELL, LINE, EDGE, BAR = 8.4, 19, 18, 34
# Several ordinary spaces would be drawn as one.
KEPT_SPACE = "\u00a0"
INK, SOFT = "#e6e6e6", "#9a9aa5"
COLOURS = {30: "#686878", 31: "#ff8a80", 32: "#6fdc8c", 33: "#f1c21b", 34: "#82b1ff", 35: "#d4a5ff", 36: "#67e0e3", 37: INK, 39: INK}
COLOURS |= {number + 60: colour for number, colour in COLOURS.items() if number < 38}


def pieces(line: str):
    """The line as pieces of text, each with its colour and whether it is bold or faint."""
    colour, bold, faint = INK, False, False
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b"):
            if part:
                yield part, SOFT if faint and colour == INK else colour, bold
            continue
        for code in [int(code or 0) for code in part[2:-1].split(";")]:
            if code == 0:
                colour, bold, faint = INK, False, False
            elif code in (1, 2):
                bold, faint = bold or code == 1, faint or code == 2
            elif code == 22:
                bold = faint = False
            elif code in COLOURS:
                colour = COLOURS[code]


def main() -> None:
    # What moved on the screen stands as it was at the end.
    lines = [line.rsplit("\r", 1)[-1] for line in sys.stdin.read().replace("\r\n", "\n").rstrip("\n").split("\n")]
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-ln-z]", "", line) for line in lines]
    columns = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in shown)
    width, height = round(columns * CELL + 2 * EDGE), len(shown) * LINE + BAR + 2 * EDGE
    title = escape(sys.argv[1])
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">')
    print(f'<rect width="{width}" height="{height}" rx="9" fill="#17171c"/>')
    for place, dot in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        print(f'<circle cx="{22 + 20 * place}" cy="20" r="6" fill="{dot}"/>')
    print(f'<text x="{width // 2}" y="25" text-anchor="middle" font-family="sans-serif" font-size="13" fill="{SOFT}">{title}</text>')
    print('<g font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14">')
    for row, line in enumerate(shown):
        column, y = 0, BAR + EDGE + row * LINE + 12
        for text, colour, bold in pieces(line):
            weight = ' font-weight="bold"' if bold else ""
            length = f' textLength="{len(text) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
            if text.strip():
                shown_text = escape(text).replace(" ", KEPT_SPACE)
                print(f'<text x="{EDGE + column * CELL:.1f}" y="{y}" fill="{colour}"{weight}{length}>{shown_text}</text>')
            column += len(text)
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
