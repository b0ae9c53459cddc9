"""YAML file -> frozen dataclass by one pydantic TypeAdapter, with errors of one line.

`FILE: field a.b.c: value X ...; allowed: ...`. Unknown keys are looked for here, at every depth
and before pydantic runs: pydantic's own messages for a union list every member.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import types
import typing
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sparsefront.errors import InputError, one_line
from sparsefront.plugins import Plugin, plain

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.2) and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: str | Path, as_written: Collection[str] = ()) -> Any:
    """Plain data of a YAML file, $VARIABLES in its strings expanded, but for the top-level fields
    `as_written`. InputError in one line.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as text: {error}") from error
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        return expand(data)
    return {name: item if name in as_written else expand(item) for name, item in data.items()}


def parse_value(text: str) -> Any:
    """One value as YAML reads it: 3, 1e-3, true, null, word, {a: 1}."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"value {text!r}; allowed: a YAML value") from error


def expand(value: Any) -> Any:
    """$VARIABLE and ${VARIABLE} in every string, at any depth; unset ones stay as they are."""
    if isinstance(value, str):
        return os.path.expandvars(value)
    if isinstance(value, list):
        return [expand(item) for item in value]
    if isinstance(value, dict):
        return {key: expand(item) for key, item in value.items()}
    return value


def from_data(data: Any, kind: type[T], source: str | Path) -> T:
    """An instance of the dataclass `kind`; InputError, one line, for anything out of place."""
    try:
        _check_keys(data, kind, ())
        read: TypeAdapter[T] = adapter(typing.cast(Any, kind))
        return read.validate_json(json.dumps(data, default=plain), strict=True)
    except ValidationError as error:
        raise InputError(f"{source}: {message_of(error, data)}") from error
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


@lru_cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """pydantic's reader of a type; slow to make."""
    return TypeAdapter(kind)


def no_mapping(path: str | Path, data: Any) -> InputError:
    """The error for a file that holds no fields."""
    return InputError(f"{path}: field (top level): value {data!r}; allowed: a mapping of fields")


def read(path: str | Path, kind: type[T]) -> T:
    """read_yaml and from_data in one."""
    return from_data(read_yaml(path), kind, path)


def closest(word: str, allowed: list[str]) -> str:
    """' (did you mean X?)' or nothing."""
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _check_keys(data: Any, kind: Any, path: tuple[str, ...]) -> None:
    """Raises for the first unknown key, unknown union member or missing field."""
    member = _member(data, kind, path)
    if member is None:
        return
    if typing.get_origin(member) in (list, tuple) and isinstance(data, list):
        for index, item in enumerate(data):
            _check_keys(item, typing.get_args(member)[0], (*path, str(index)))
        return
    if not isinstance(data, dict):
        if dataclasses.is_dataclass(member):
            raise InputError(f"field {_dotted(path)}: value {data!r}; allowed: a mapping of fields")
        return
    if not dataclasses.is_dataclass(member):
        arguments = typing.get_args(member)
        if len(arguments) == 2:
            for key, value in data.items():
                _check_keys(value, arguments[1], (*path, str(key)))
        return
    hints = typing.get_type_hints(member, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(member) if f.init}
    for key in data:
        if key not in fields:
            raise InputError(
                f"field {_dotted((*path, str(key)))}: unknown key"
                f"{closest(str(key), list(fields))}; "
                f"allowed: {', '.join(fields)}"
            )
    for name in fields:
        if name in data:
            _check_keys(data[name], hints[name], (*path, name))
        elif name in _needed(member):
            raise InputError(f"field {_dotted((*path, name))}: missing; it has no default")


def _member(data: Any, kind: Any, path: tuple[str, ...]) -> Any:
    """The dataclass or container that `data` should be, the union member by its `name`; or None."""
    if typing.get_origin(kind) is typing.Annotated:
        if (plugin := _plugin(kind)) is not None:
            return _own_class(data, plugin, path)
        return _member(data, typing.get_args(kind)[0], path)
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        _check_name(data, [kind], path)
        return kind
    members = [m for m in typing.get_args(kind) if m is not type(None)]
    if data is None and len(members) < len(typing.get_args(kind)):
        return None
    plugins = [found for m in members if (found := _plugin(m)) is not None]
    if plugins and (len(members) == 1 or plugins[0].means(data)):
        return _own_class(data, plugins[0], path)
    members = [m for m in members if _plugin(m) is None]
    if len(members) == 1:
        return _member(data, members[0], path)
    _check_name(data, members, path)
    names = [m for m in members if _literal_name(m)]
    if names and isinstance(data, dict):
        return next(m for m in names if data["name"] in _literal_name(m))
    if isinstance(data, dict):
        return _meant_member(data, [m for m in members if dataclasses.is_dataclass(m)], path)
    if all(dataclasses.is_dataclass(m) for m in members):
        raise InputError(f"field {_dotted(path)}: value {data!r}; allowed: a mapping of fields")
    return None


def _plugin(kind: Any) -> Plugin | None:
    if typing.get_origin(kind) is not typing.Annotated:
        return None
    return next((m for m in kind.__metadata__ if isinstance(m, Plugin)), None)


def _own_class(data: Any, plugin: Plugin, path: tuple[str, ...]) -> type | None:
    """The class that the data name by its import path; None where they have no options."""
    if not isinstance(data, (dict, str)) or (
        isinstance(data, dict) and not isinstance(data.get("name"), str)
    ):
        raise InputError(
            f"field {_dotted(path)}: value {data!r}; allowed: a mapping with name: "
            "package.module:Class"
        )
    try:
        found = plugin.class_of(data)
        return found if isinstance(data, dict) else None
    except InputError as error:
        raise InputError(f"field {_dotted(path)}.{error}") from error


def _meant_member(data: dict[str, Any], members: list[Any], path: tuple[str, ...]) -> Any:
    """The union member with the fewest unknown keys, then with keys that are closest to these."""

    def misfit(member: Any) -> tuple[int, int]:
        fields = [f.name for f in dataclasses.fields(member)]
        unknown = [str(key) for key in data if key not in fields]
        return len(unknown), sum(not closest(key, fields) for key in unknown)

    if not members:
        return None
    meant = min(members, key=misfit)
    needed = [[name for name in _needed(m) if name not in data] for m in members]
    if len(members) > 1 and misfit(meant) == (0, 0) and all(needed):
        raise InputError(
            f"field {_dotted(path)}: value {data!r}; allowed: a mapping with "
            f"{' or with '.join(', '.join(names) for names in needed)}"
        )
    return meant


def _needed(kind: Any) -> list[str]:
    """Fields without a default."""
    none = dataclasses.MISSING
    return [
        f.name
        for f in dataclasses.fields(kind)
        if f.init and f.default is none and f.default_factory is none
    ]


def _check_name(data: Any, members: list[Any], path: tuple[str, ...]) -> None:
    allowed = [name for member in members for name in _literal_name(member)]
    if not allowed or not isinstance(data, dict):
        return
    if "name" not in data:
        if len(members) == 1:
            return
        raise InputError(
            f"field {_dotted((*path, 'name'))}: missing; allowed: {', '.join(allowed)}"
        )
    if data["name"] not in allowed:
        raise InputError(
            f"field {_dotted((*path, 'name'))}: value {data['name']!r} is unknown"
            f"{closest(str(data['name']), allowed)}; allowed: {', '.join(allowed)}"
        )


def _literal_name(member: Any) -> tuple[str, ...]:
    """Allowed values of a spec's `name` field when that is a Literal, else ()."""
    if not (isinstance(member, type) and dataclasses.is_dataclass(member)):
        return ()
    hint = typing.get_type_hints(member).get("name")
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def message_of(error: ValidationError, data: Any) -> str:
    """The first error that was meant, in one line: field, value, what is allowed."""
    first = _meant(error)
    path = _path_in(data, first["loc"])
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "value_error":
        return f"field {'.'.join((*path, ''))}{message}" if path else f"field {message}"
    return f"field {_dotted(path)}: value {first.get('input')!r}; allowed: {message}"


def _meant(error: ValidationError) -> ErrorDetails:
    """The first error of the union member that was meant; pydantic reports those of every member.

    Members whose `name` differs were not meant, and keys have been checked before.
    """
    errors = error.errors()
    others = [
        e["loc"][:-1] for e in errors if e["type"] == "literal_error" and e["loc"][-1] == "name"
    ]
    keys = ("missing", "unexpected_keyword_argument")
    meant = [
        e
        for e in errors
        if e["type"] not in keys and not any(e["loc"][: len(o)] == o for o in others)
    ]
    return (meant or errors)[0]


def _path_in(data: Any, location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The parts of a location that lead through the data: without pydantic's type tags."""
    path = []
    for part in location:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            continue
        path.append(str(part))
    return tuple(path)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path) or "(top level)"


def to_plain(data: Any) -> Any:
    """Tuples as lists, as YAML and JSON have no tuples; paths and the like as words."""
    return json.loads(json.dumps(data, default=plain))
