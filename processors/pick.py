"""Picks, for each canonical column and each span, the attribute that fills it: one scatter for all columns.

Taking forty columns out of a long table one by one costs more than everything else in the chain together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from processors.genai_table import Sender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otlp.attributes import Attributes
    from otlp.types import BoolColumn, Int32Column
    from processors.genai_table import Column, Key


@dataclass(frozen=True, slots=True)
class Picked:
    """`row[column, span]` is a row of the attributes or -1; `choice[column, span]` is the key's index in the plan."""

    row: Int32Column
    choice: Int32Column


class Plan:
    """Where each key's values go; made once for a table of columns. Keys of resources are left out."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = len(columns)
        self.keys: list[Key] = []
        column_of, rank_of = [], []
        choices: dict[str, list[int]] = {}
        for number, column in enumerate(columns):
            for rank, key in enumerate(column.keys):
                if not key.of_resource:
                    choices.setdefault(key.name, []).append(len(self.keys))
                    self.keys.append(key)
                    column_of.append(number)
                    rank_of.append(rank)
        self._column = np.array(column_of, np.int32)
        self._rank = np.array(rank_of, np.int32)
        senders = [key.sender for key in self.keys]
        self._allowed = np.array([[s is not Sender.BROADCAST for s in senders], [s is not Sender.SDK for s in senders]])
        # Row 0 is for keys that fill nothing.
        self._row_of = {name: row for row, name in enumerate(choices, start=1)}
        self._choices = np.full((len(choices) + 1, max(map(len, choices.values()))), -1, np.int32)
        for name, found in choices.items():
            self._choices[self._row_of[name], : len(found)] = found

    def pick(self, attributes: Attributes, spans: int, broadcast: BoolColumn) -> Picked:
        """Choose for each of `spans` spans; `broadcast` tells which of them OpenRouter sent."""
        picked = Picked(np.full((self._columns, spans), -1, np.int32), np.full((self._columns, spans), -1, np.int32))
        if not len(attributes):
            return picked
        wanted = np.array([self._row_of.get(key, 0) for key in attributes.keys], np.int32)
        candidates = self._choices[wanted[attributes.key]]
        rows, places = np.nonzero(candidates >= 0)
        choices, owner = candidates[rows, places], attributes.owner[rows]
        # Assigning in descending rank leaves the first key's value standing.
        order = np.argsort(-self._rank[choices], kind="stable")
        order = order[self._allowed[broadcast[owner].astype(np.int8), choices][order]]
        rows, choices, owner = rows[order], choices[order], owner[order]
        columns = self._column[choices]
        picked.row[columns, owner] = rows
        picked.choice[columns, owner] = choices
        return picked
