"""The notes of a run, on disk, so that memory does not grow with the number of objects."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from commands.settings import ROOT
from commands.terminal import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = ROOT / ".local/operate"


class Ledger:
    """The notes of a run, on disk. With a path they outlive the run, so that a later one can resume."""

    def __init__(self, path: Path | None = None, resume: bool = False) -> None:
        self._path = path
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path or "", timeout=0)  # without a path, a file that SQLite deletes
        try:
            self.db.executescript("pragma locking_mode = exclusive; begin exclusive; commit;")  # until it is closed
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise Refused("the same command is running already. Wait for it, or stop it.") from None
        if not resume:
            for (table,) in self.db.execute("select name from sqlite_master where type = 'table'").fetchall():
                self.db.execute(f"drop table {table}")
        self.db.executescript(
            """
            pragma synchronous = off;
            create table if not exists progress (name text primary key, value);
            create table if not exists found (
                key text primary key, state, version, modified real, reason, -- as observed
                verdict, why -- state and reason once the log and the clock were asked
            );
            create table if not exists failure (key, version, outcome, reason, times, primary key (key, version));
            create table if not exists message (id text primary key, handle);
            create table if not exists event (id, key, version, reason, tries, at real);
            create index if not exists event_key on event (key);
            create table if not exists sent (key text primary key, outcome default '', reason default '');
            create table if not exists held ( -- versions that hold records of patients; never an id of one
                bucket, key, version, etag, modified real, newest, state, matched, records, reason,
                primary key (bucket, key, version)
            );
            create table if not exists task (
                key text primary key, action, newest, newest_etag, base, base_etag, made, made_etag, state, reason
            );
            create table if not exists doomed ( -- what is to be removed; at: when it was
                bucket, key, version, etag, modified real, marker, newest, at real, primary key (bucket, key, version)
            );
            """
        )

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value that was kept."""
        row = self.db.execute("select value from progress where name = ?", [name]).fetchone()
        return row[0] if row else default

    def put(self, **values: Any) -> None:
        """Keep values."""
        self.db.executemany("insert or replace into progress values (?, ?)", values.items())

    def one(self, query: str) -> Any:
        """Return the only value that a query gives."""
        return self.db.execute(query).fetchone()[0]

    def keys(self, query: str, after: str = "") -> Iterator[str]:
        """Yield the keys of a query that ends in a condition, in order, even if its table changes meanwhile."""
        while page := self.db.execute(f"{query} and key > ? order by key limit 1000", [after]).fetchall():
            yield from (key for (key,) in page)
            after = page[-1][0]

    def finish(self) -> None:
        """Forget everything: the run is complete."""
        self.db.close()
        if self._path:
            self._path.unlink()


def ledger_path(verb: str, *what: object) -> Path:
    """Return the path of a run's notes, which depends on what the run is about."""
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    return FOLDER / f"{verb}-{name}.db"
