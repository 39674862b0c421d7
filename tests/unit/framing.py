"""Files in pieces, and what the framer makes of them."""

from __future__ import annotations

from unittest import mock

import lambda_function


def chunks(data: bytes, size: int) -> list[bytes]:
    """Return a file in pieces of that size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def frame(pieces: list[bytes], at_once: int = 64) -> list[tuple[str, str]]:
    """Return the framer's records of a file in pieces, if it decodes batches of that size, within a record's limit."""
    with mock.patch.object(lambda_function, "BATCH_BYTES", min(at_once, lambda_function.MAX_RECORD_BYTES)):
        framer = lambda_function.Framer(filter(None, pieces))
        records = [record for batch in framer.batches() for record in batch]
    assert framer.records == len(records)
    return [(record.patient_id, record.patient_name) for record in records]


def rejection(data: bytes, size: int = 7) -> str:
    """Return why a file is rejected, the same in pieces and batches of any size; empty if it is accepted."""
    reasons, contexts = set(), []
    whole = len(data) or 1
    for step, at_once in ((size, size), (whole, 64), (whole, 2 * whole)):
        try:
            frame(chunks(data, step), at_once)
            reasons.add("")
        except lambda_function.Rejected as error:
            reasons.add(str(error))
            contexts.append(error.__context__)
    assert not any(contexts)
    (reason,) = reasons
    return reason
