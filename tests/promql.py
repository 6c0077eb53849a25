"""What a query in PromQL asks for, by a parser of its own, and what can be asked for."""

from __future__ import annotations

import promql_parser

from meshmark.analysis.exposition import FAMILIES


def names(query: str) -> set[str]:
    """Of the metrics in a query. Raises ValueError where it is no PromQL."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.add(str(selector.name))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def known_names() -> set[str]:
    """That the endpoint can give, `_total` and the like in them."""
    return {name for family in FAMILIES for name in family.samples}
