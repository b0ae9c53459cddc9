"""Names that are import paths: classes of one's own where a sweep file takes a name.

`package.module:Class` stands wherever a catalogue has names, and so does a short name that an
installed package gives in an entry point (`[project.entry-points."sparsefront.criteria"]`). The
class is a frozen dataclass: its fields are read as strictly as ours and searched as ours are.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import importlib
import inspect
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_origin, get_type_hints

from sparsefront.errors import InputError, one_line

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import core_schema

PLUGIN = "__sparsefront_plugin__"
PROTOCOLS = "sparsefront.search.config.task"
"""A class may derive from Task there, whose methods do nothing."""


class Kind(NamedTuple):
    """needed: what a class of the kind must have; a field, a property or a method."""

    name: str
    entry_points: str
    needed: tuple[str, ...]


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "task", "sparsefront.tasks",
            ("metrics", "build", "training_batches", "evaluation_batches", "loss", "evaluate"),
        ),
        Kind("model", "sparsefront.models", ("build", "task")),
        Kind("data", "sparsefront.data", ("open",)),
        Kind("objective", "sparsefront.objectives", ("metric", "value")),
        Kind("fuser", "sparsefront.fusers", ("build",)),
        Kind("tracker", "sparsefront.trackers", ("track",)),
        Kind(
            "criterion", "sparsefront.criteria",
            ("statistics", "combine", "scores", "statistics_key", "check_scored", "uses_batches",
             "uses_forward"),
        ),
    )
}  # fmt: skip


class Plugin:
    """In an annotation: data whose `name` is an import path or an entry point's name become an
    instance of that class.
    """

    def __init__(self, kind: str) -> None:
        self.kind = KINDS[kind]

    def means(self, data: Any) -> bool:
        """Whether such data name a class of one's own: a mapping with its options, or its name."""
        name = data.get("name") if isinstance(data, Mapping) else data
        return isinstance(name, str) and (":" in name or name in entry_points(self.kind))

    def class_of(self, data: Mapping[str, Any] | str) -> type:
        """The class that the data name. InputError in one line."""
        return plugin_class(self.kind.name, data if isinstance(data, str) else data["name"])

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self._read)

    def _read(self, data: Any) -> Any:
        if not self.means(data):
            given = data.get("name") if isinstance(data, Mapping) else data
            raise ValueError(f"name: value {given!r}; allowed: package.module:Class")
        options = {"name": data} if isinstance(data, str) else data
        own, text = self.class_of(data), json.dumps(options, default=plain)
        try:
            return _adapter(own).validate_json(text, strict=True)
        except ValueError:  # as pydantic's own, which says the field
            raise
        except Exception as error:
            raise ValueError(
                f"{own.__name__} raised {type(error).__name__}: {one_line(error, 200)}"
            ) from error


def plugin_class(kind: str, name: str) -> type:
    """The class that a name stands for, with a field `name` beside its own, so that it is written
    and read like ours. InputError, one line, for a path that is wrong or a class that lacks
    something.
    """
    path = entry_points(KINDS[kind]).get(name, name)
    own = _import(path, name)
    _require_here(own, name)
    return _named(own, kind, name)


@lru_cache
def _named(own: type, kind: str, name: str) -> type:
    _check(own, KINDS[kind], name)
    made = dataclasses.make_dataclass(
        own.__name__,
        [("name", Literal[name], dataclasses.field(default=name, kw_only=True))],
        bases=(own,),
        frozen=True,
        eq=False,
        repr=False,
        namespace={
            PLUGIN: kind, "__module__": own.__module__, "__qualname__": own.__qualname__,
            "__doc__": own.__doc__,
            "__reduce__": lambda self: (_again, (kind, name, _values(self))),
            "__eq__": _equal, "__hash__": _hashed, "__repr__": own.__repr__,
        },
    )  # fmt: skip
    return made


def plain(value: Any) -> Any:
    """JSON's form of what an option may be: enums by value, sets as lists, else words."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def kind_of(instance: object) -> str | None:
    """The kind of class that a sweep file named for an instance; None for ours."""
    return getattr(type(instance), PLUGIN, None)


@lru_cache
def entry_points(kind: Kind) -> dict[str, str]:
    """Short name -> import path, of installed packages. InputError where two give one name."""
    found: dict[str, str] = {}
    for entry in metadata.entry_points(group=kind.entry_points):
        if found.setdefault(entry.name, entry.value) != entry.value:
            raise InputError(
                f"{kind.entry_points}: {entry.name!r} is both {found[entry.name]} and "
                f"{entry.value}; allowed: one package that gives the name, or the import path"
            )
    return found


_home: list[str] = []
"""The folder that stands in the place of the current one, where a sweep goes on from elsewhere."""


def home() -> str:
    """Where classes of one's own are looked for first."""
    return _home[-1] if _home else os.getcwd()


@contextmanager
def at_home(folder: str | None) -> Iterator[None]:
    """Inside, classes are looked for in that folder first, as if one stood there."""
    if folder is None or not os.path.isdir(folder):
        yield
        return
    _home.append(folder)
    try:
        yield
    finally:
        _home.pop()


def code_paths(folders: Iterable[str]) -> list[str]:
    """What goes on the path for folders of code: of a package the folder that it is in."""
    whole = [os.path.abspath(os.path.expanduser(os.path.expandvars(f))) for f in folders]
    return [os.path.dirname(f) if os.path.isfile(f"{f}/__init__.py") else f for f in whole]


def see_folder(folder: str | None = None) -> None:
    """Puts the folder that a command was started in where a script has its own; another one, such
    as that of a sweep's launch, behind everything else.
    """
    if folder is None:
        if sys.path[0] != home():
            sys.path.insert(0, home())
    elif folder not in sys.path and os.path.isdir(folder):
        sys.path.append(folder)


def _import(path: str, name: str) -> type:
    module_name, colon, class_name = path.partition(":")
    if not colon:
        raise InputError(f"name: value {name!r}: no class; allowed: package.module:Class")
    see_folder()
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"name: value {name!r}: {one_line(error)}; allowed: package.module:Class, to be "
            f"imported from {home()}, PYTHONPATH or installed packages"
        ) from error
    except Exception as error:
        raise InputError(
            f"name: value {name!r}: importing {module_name} raised "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    found = getattr(module, class_name, None)
    if isinstance(found, type):
        return found
    classes = [n for n, v in vars(module).items() if isinstance(v, type) and not n.startswith("_")]
    raise InputError(
        f"name: value {name!r}: {module_name} has no class {class_name!r}"
        f"{_closest(class_name, classes)}; allowed: {', '.join(classes) or 'a module with classes'}"
    )


def _require_here(own: type, name: str) -> None:
    """InputError where another module of that name was imported before: a process has one."""
    parts = own.__module__.split(".")
    here = [os.path.join(home(), *parts) + ending for ending in (".py", "/__init__.py")]
    there = getattr(sys.modules.get(own.__module__), "__file__", None)
    found = next((file for file in here if os.path.isfile(file)), None)
    if found and there and os.path.realpath(there) != os.path.realpath(found):
        raise InputError(
            f"name: value {name!r}: module {own.__module__} was imported from {there} before, here "
            f"it is {found}; allowed: a process of its own, or modules of different names"
        )


def _check(own: type, kind: Kind, name: str) -> None:
    if not dataclasses.is_dataclass(own) or not own.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise InputError(
            f"name: value {name!r}: {own.__name__} is no frozen dataclass; allowed: "
            "@dataclass(frozen=True) whose fields are the options"
        )
    fields = {field.name for field in dataclasses.fields(own)}
    missing = [w for w in kind.needed if w not in fields and not _has(own, w)]
    if missing:
        near = _closest(missing[0], [n for n in dir(own) if not n.startswith("_")])
        raise InputError(
            f"name: value {name!r}: {own.__name__} has no {missing[0]}{near}; a {kind.name} "
            f"needs {', '.join(kind.needed)}"
        )
    for field in dataclasses.fields(own):
        if not field.init:
            raise InputError(
                f"name: value {name!r}: field {field.name} of {own.__name__} has init=False; "
                "allowed: fields that are options"
            )
    try:
        hint = get_type_hints(own).get("name")
    except Exception as error:
        raise InputError(
            f"name: value {name!r}: the annotations of {own.__name__} cannot be read: "
            f"{one_line(error)}"
        ) from error
    if hint is not None and get_origin(hint) is not Literal:
        raise InputError(
            f"name: value {name!r}: {own.__name__} has a field `name`, which the import path "
            "takes; allowed: another name"
        )


def _has(own: type, what: str) -> bool:
    """Not only as the protocol itself says it."""
    found = getattr(own, what, None)
    if isinstance(found, property):
        found = found.fget
    said_by = getattr(found, "__module__", "") if inspect.isfunction(found) else ""
    return found is not None and said_by != PROTOCOLS


@lru_cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _closest(word: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _values(instance: Any) -> dict[str, Any]:
    fields = dataclasses.fields(instance)
    return {f.name: getattr(instance, f.name) for f in fields if f.init and f.name != "name"}


def _again(kind: str, name: str, values: dict[str, Any]) -> Any:
    """In another process, too."""
    return plugin_class(kind, name)(**values)


def _equal(self: Any, other: object) -> bool:
    return type(self) is type(other) and _values(self) == _values(other)


def _hashed(self: Any) -> int:
    return hash((type(self).__qualname__, json.dumps(_values(self), sort_keys=True, default=plain)))
