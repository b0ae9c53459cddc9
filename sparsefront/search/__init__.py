"""From a sweep file to a Pareto front.

The package is called, too: `sparsefront.search(function, space, objectives)` is
optimizer/plain_search.py's search_function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsefront.search.optimizer.ask_and_tell import Optimizer


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Optimizer:
        from sparsefront.search.optimizer.plain_search import search_function

        return search_function(*args, **options)


sys.modules[__name__].__class__ = _Callable
