"""Find wording that makes an English-speaking engineer stumble: `python tests/prose.py`, part of `static`.

Each kind is a pattern, with what to write instead. Of Python files, comments and strings are read, of others all.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".hcl", ".md", ".py", ".sh", ".tf", ".tfvars", ".txt", ".yml", ""}
SKIPPED = re.compile(r"requirements\.txt$|\.lock\.hcl$|^tests/unit/test_prose\.py$|^tests/prose\.py$|^\.|LICENSE")
TEXT = {tokenize.COMMENT, tokenize.STRING, tokenize.FSTRING_MIDDLE}
BEGINNING = r'(?:^|(?<=[.:;]\s)|(?<="""))'  # of a sentence

KINDS = {
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bas yet\b": "yet, so far",
    r"\banew\b": "again",
    r"\b(?:go|goes|went) on\b": "continue, resume",
    r"\btak(?:e|es|en|ing)(?: \w+)? up\b(?! to| t?here)": "resume",
    r"(?<!there\s)\b(?:is|are|was|were) none\b": "say what is wrong: is not an environment, is invalid",
    r"\b(?:is|are) no [a-z]+s? (?:of|as|in)\b(?! the| this| that)": "is not",
    r"\bversions? before\b": "previous version",
    r"\b(?:tell|tells|told|knows?) of\b": "report, show, name, know about",
    r"\bdoes not know (?:you|what)\b": "name the fault: no valid credentials",
    r"\bbec(?:omes?|ame) of\b": "happened to, the outcome of",
    r"\bdo(?:es)? no harm\b": "is harmless",
    r"\bturn(?:s|ed|ing)?(?: \w+)? away\b": "throttle, refuse",
    r"\bin vain\b": "without success, empty",
    r"\bfor long\b": "is delayed, for a long time",
    r"\blets? go of\b": "release, delete",
    r"\bat once\b": "concurrently, immediately",
    r"\bat this moment\b": "concurrently, now",
    r"\b[Ii]f it is meant\b": "if this is intended",
    r"\b(?:It passes|may pass)\b(?! (?:the|a|to|through)\b)": "is transient",
    r"\bpass(?:es)? unread\b": "is ignored",
    r"\bof (?:ours|theirs|yours)\b": "our own, their",
    r"\b1 (?:events|files|messages|objects|patients|records|versions)\b": "count(), which knows the singular",
    r"\bThere is:": "Available:, known:",
    r"\b(?:asked|waited|waits|wait) for by then\b": "say what happens",
    r", as (?:all|it|its|no|nobody|nothing|that|there|they) (?!does\b|do\b|is\b|are\b|was\b)": "because",
    BEGINNING + r"What (?![^.]*\?)[^?.:;]{3,90}\.": "begin with the subject, not with a clause",
    BEGINNING + r"Who (?![^.]*\?)[^?.:;]{3,90}\.": "name the actor: a deploy that waits, an uploader",
}
CHANGELOG_KINDS = {r"\bno longer\b": "nothing was released before: say what it does"}


def found_in(text: str, kinds: dict[str, str]) -> list[tuple[int, str, str]]:
    """Return the line, the words and the advice of each kind that a text holds."""
    return [
        (text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), advice)
        for pattern, advice in kinds.items()
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.MULTILINE)
    ]


def prose_of(path: Path) -> str:
    """Return the text of a file, its lines where they are; of Python only comments and strings."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    lines = [""] * (text.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in TEXT:
            for at, line in enumerate(token.string.split("\n"), token.start[0] - 1):
                lines[at] += line
    return "\n".join(lines)


def main() -> int:
    """Check every committed file; return the exit code."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listing.splitlines() if Path(name).suffix in SUFFIXES and not SKIPPED.search(name)]
    code = 0
    for name in names:
        kinds = KINDS | (CHANGELOG_KINDS if name == "CHANGELOG.md" else {})
        for line, words, advice in found_in(prose_of(ROOT / name), kinds):
            print(f"{name}:{line}: {words!r}: {advice}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
