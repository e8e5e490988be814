"""Picks, for each canonical column and each owner, the attribute that fills it: one scatter for all columns.

Taking forty columns out of a long table one by one costs more than everything else in the chain together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from processors.genai_table import Sender, Transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otlp.attributes import Attributes
    from otlp.types import BoolColumn, Int32Column
    from processors.genai_table import Column, Key


@dataclass(frozen=True, slots=True)
class Picked:
    """`row[column, owner]` is a row of the attributes or -1; `choice[column, owner]` is the key's index in the plan."""

    row: Int32Column
    choice: Int32Column


class Plan:
    """Where each key's values go. Made once for a table of columns; `of_resource` says which of the keys it is for."""

    def __init__(self, columns: Sequence[Column], *, of_resource: bool) -> None:
        self.columns = columns
        self.keys: list[Key] = []
        column_of, rank_of = [], []
        self._choices: dict[str, list[int]] = {}
        for number, column in enumerate(columns):
            for rank, key in enumerate(column.keys):
                if key.of_resource == of_resource:
                    self._choices.setdefault(key.name, []).append(len(self.keys))
                    self.keys.append(key)
                    column_of.append(number)
                    rank_of.append(rank)
        self.used_columns = sorted(set(column_of))
        self.transformed = np.array([key.transform is not Transform.NONE for key in self.keys], np.bool_)
        self._column = np.array(column_of, np.int32)
        self._rank = np.array(rank_of, np.int32)
        self._for_broadcast = np.array([key.sender is not Sender.SDK for key in self.keys], np.bool_)
        self._for_sdk = np.array([key.sender is not Sender.BROADCAST for key in self.keys], np.bool_)

    def pick(self, attributes: Attributes, owners: int, broadcast: BoolColumn) -> Picked:
        """Choose for each of `owners` owners; `broadcast` tells for each owner whether OpenRouter sent it."""
        rows, choices = self._candidates(attributes)
        owner = attributes.owner[rows]
        allowed = np.where(broadcast[owner], self._for_broadcast[choices], self._for_sdk[choices])
        # Assigning in descending rank leaves the first key's value standing.
        order = np.argsort(-self._rank[choices], kind="stable")
        order = order[allowed[order]]
        rows, choices, owner = rows[order], choices[order], owner[order]
        shape = (len(self.columns), owners)
        picked = Picked(np.full(shape, -1, np.int32), np.full(shape, -1, np.int32))
        picked.row[self._column[choices], owner] = rows
        picked.choice[self._column[choices], owner] = choices
        return picked

    def _candidates(self, attributes: Attributes) -> tuple[Int32Column, Int32Column]:
        """Pairs of an attribute row and a choice that it could fill; a key may serve several columns."""
        wanted = [self._choices.get(key, ()) for key in attributes.keys]
        counts = np.array([len(choices) for choices in wanted], np.int32)
        flat = np.array([choice for choices in wanted for choice in choices], np.int32)
        first = np.cumsum(counts) - counts
        repeats = counts[attributes.key]
        rows = np.repeat(np.arange(len(attributes), dtype=np.int32), repeats)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        return rows, flat[first[attributes.key[rows]] + within]
