"""Results of parts of a run, kept on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class PartStore:
    """Results by name, a line of JSON each, kept from run to run; a store sees only the lines under its own key.

    Args:
        path: the file; lines of other keys stay in it.
        key: a hash of all that a result depends on.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.known: dict[str, Any] = {}
        text = path.read_text(encoding='utf-8') if path.is_file() else ''
        self._torn = bool(text) and not text.endswith('\n')
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                if entry['key'] == key:
                    self.known[entry['part']] = entry['result']
            except (ValueError, KeyError, TypeError):
                continue  # an interruption cut this line off

    def add(self, part: str, result: Any) -> None:
        """Remembers a result and writes it at once."""
        self.known[part] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open('a', encoding='utf-8') as file:
            file.write('\n' * self._torn + json.dumps(dict(key=self.key, part=part, result=result)) + '\n')
        self._torn = False
