"""Draw the output of a local run as docs/local-run.svg: `./deploy.sh local | python docs/picture.py`."""

import sys
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_name("local-run.svg")
COMMAND = "$ ./deploy.sh local"
COLUMNS = 108  # of a line; longer ones are cut
WIDTH, HEIGHT, MARGIN = 7.8, 18, 16  # of a character and of a line; in pixels


def shown(output: str) -> list[str]:
    """Return the lines of the picture."""
    lines = [COMMAND, *output.rstrip().expandtabs(2).splitlines()]
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in lines]


def draw(output: str) -> str:
    """Return the picture, as SVG."""
    lines = shown(output)
    texts = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + HEIGHT * (number + 0.75):g}"'
        f"{' fill="#7ee787"' if line.startswith('$') else ''}>{escape(line)}</text>"
        for number, line in enumerate(lines)
        if line
    )
    width, height = round(COLUMNS * WIDTH + 2 * MARGIN), len(lines) * HEIGHT + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" xml:space="preserve"\n'
        f'  font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" fill="#e6edf3">\n'
        f"<title>Output of ./deploy.sh local</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n{texts}\n</svg>\n'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(sys.stdin.read()))
