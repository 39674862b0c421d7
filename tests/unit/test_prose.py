"""The prose check finds the kinds of wording that it is for, and leaves their better versions alone."""

from pathlib import Path

import pytest

from tests.prose import CHANGELOG_KINDS, KINDS, found_in, prose_of

# What readers stumbled over, and what to write instead.
SENTENCES = {
    "If it is meant: ./deploy.sh destroy dev": "If this is intended, run: ./deploy.sh destroy dev",
    "AWS does not know you.": "There are no valid AWS credentials.",
    "9 is not a version to go to. There is: 7, 8": "Cannot roll back to version 9. Available: 7, 8",
    "Somebody has moved it at this moment.": "The alias changed concurrently.",
    "AWS throttles PutObject and goes on so.": "AWS keeps throttling PutObject.",
    "Tell for every upload what became of it.": "Report the outcome of every upload.",
    "events that SQS does not let go of: they stay": "messages that SQS did not delete; they stay",
    "Twice does no harm.": "Doing it twice is harmless.",
    "1 messages are in the queue": "1 message is in the queue",
    "Who waits for S3 by then is killed.": "A call to S3 that outlasts it dies with the invocation.",
    "What it sends must find somebody who takes it.": "Its consumer must already exist.",
    "What is no mistake but should not pass unseen.": "Valid settings that deserve a warning.",
    "turned away": "throttles",
    "asked in vain": "empty receives",
    "invocations at once": "concurrent invocations",
    "Lambda turns invocations away.": "Lambda is throttling the function.",
    "Uploads wait for long.": "Uploads are delayed.",
    "It passes; redrive.": "This is transient: redrive.",
    "take the version before by `./deploy.sh rollback dev`": "roll back: `./deploy.sh rollback dev`",
    "a port that is none": "an invalid port",
    "a download that is taken up again": "a download that is resumed",
    "once their cause is mended": "once the cause is fixed",
    "nobody is told of its alarms": "nobody gets its alarms",
    "not processed as yet": "not processed yet",
    "writes the file anew": "rewrites the file",
    "an exception of ours": "our own exception",
    "Other fields pass unread.": "Other fields are ignored.",
    "found only later, as it has no record": "found only later, because it has no record",
}
NATURAL = (
    "if there is none",
    "What is going on?",
    "Who may do what?",
    "It takes up to five minutes.",
    "as the AWS CLI does",
    "the outcome of an upload, as it is now",
    "all of it passes",
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_that_readers_stumble_over_is_found(sentence: str) -> None:
    assert found_in(sentence, KINDS)


@pytest.mark.parametrize("sentence", [*SENTENCES.values(), *NATURAL])
def test_natural_english_is_left_alone(sentence: str) -> None:
    assert found_in(sentence, KINDS) == []


def test_a_changelog_of_what_was_never_released_says_what_there_is() -> None:
    assert found_in("Names no longer change.", CHANGELOG_KINDS)


def test_wording_is_found_across_lines_with_the_line_that_it_begins_in() -> None:
    assert found_in("One\nis taken\n  up again.\n", KINDS) == [(2, "taken up", "resume")]


def test_of_python_only_comments_and_texts_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text('mended = f"{mended} mended"  # mended\n\n\ndef mended():\n    """Be\n    mended."""\n')
    assert [line for line, _, _ in found_in(prose_of(file), KINDS)] == [1, 1, 6]
