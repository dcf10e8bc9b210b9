"""YAML with limits: how deep it nests, and to how many values it comes once its aliases are followed."""

from typing import Any

import yaml

LARGEST = 1 << 20
"""Bytes of a file, at most."""
DEEPEST = 50
"""Lists and mappings within each other, at most."""
MOST = 20_000
"""Keys and values, at most. What an alias stands for counts each time: a few lines can stand for millions."""


class LimitedLoader(yaml.SafeLoader):
    """Safe YAML that raises MarkedYAMLError, with the line, where a limit is passed.

    get_single_node() gives the document as nodes, construct_document(node) as values.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.count, self.sizes = 0, 0, dict[int, int]()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; counts it with all that it stands for."""
        event, before = self.peek_event(), self.count
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused(event, f"nested deeper than {DEEPEST}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self.count += 1
            self.sizes[id(node)] = self.count - before
        elif id(node) in self.sizes:
            self.count += self.sizes[id(node)]
        else:
            raise _refused(event, f"`*{event.anchor}` stands within what it is an alias of")
        if self.count > MOST:
            raise _refused(event, f"more than {MOST:,} values, aliases followed")
        return node


def _refused(event: yaml.Event, why: str) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=why, problem_mark=mark)
