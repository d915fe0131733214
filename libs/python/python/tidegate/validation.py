"""The parameters of a function: bound, checked and converted by their type hints, and written as JSON by them.

pydantic does what a look at the type of a value does not settle. It is imported with the first value that needs it.
"""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import re
import types
import typing
from typing import Any, Callable, Mapping, Optional, Sequence, Union

from .errors import InvalidArgument, ParameterError

#: What a refused value is shown as, at most, in characters.
_MAX_SHOWN = 80
#: Problems of one call that are told, at most.
_MAX_PROBLEMS = 5
#: Hints that pydantic would read lazily, and so hand the code something else than it was given.
_LAZY = frozenset(
    {collections.abc.Iterable, collections.abc.Iterator, collections.abc.Generator, collections.abc.AsyncIterable}
)
_UNION_KINDS = frozenset({Union, getattr(types, "UnionType", Union)})
_NO_HINT: Any = inspect.Parameter.empty
#: How the standard library and pydantic print the same zone.
_UTC = re.compile(r"datetime\.timezone\.utc|TzInfo\((?:0|UTC)\)")
_JSON_LEAVES = frozenset({str, int, bool, type(None)})


class Parameters:
    """What a function can be called with."""

    def __init__(self, fn: Callable[..., Any], name: str, names_in_scope: Mapping[str, Any]) -> None:
        self._fn = fn
        self._name = name
        self._names_in_scope = names_in_scope
        try:
            self.signature = inspect.signature(fn)
        except ValueError:  # code that Python cannot look into
            raise InvalidArgument(
                f"`{name}` cannot be decorated: Python does not tell its parameters; decorate a function of your own that calls it"
            ) from None
        self._hints: Optional[dict[str, Any]] = None
        self._adapters: dict[str, Any] = {}

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the names of the parameters."""
        try:
            return dict(self.signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise ParameterError(self._why_unbound(len(args), kwargs, str(error))) from None

    def named(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments`, which are by name already: none is missing, and others are for `**kwargs` alone."""
        parameters = self.signature.parameters
        others = {name: value for name, value in arguments.items() if name not in parameters}
        if others:
            takes_any = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
            if not takes_any:
                raise ParameterError(self._unknown(next(iter(others))))
            rest = {**arguments.get(takes_any[0], {}), **others}
            arguments = {**{name: arguments[name] for name in arguments if name in parameters}, takes_any[0]: rest}
        for name, parameter in parameters.items():
            if name not in arguments and _is_required(parameter):
                raise ParameterError(self._missing(name))
        return arguments

    def checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` as their hints want them. What fits as it is stays the same object."""
        checked: dict[str, Any] = {}
        problems: list[str] = []
        for name, value in arguments.items():
            hint = self._hint(name)
            checked[name] = value
            if hint is _NO_HINT:
                continue
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                checked[name] = tuple(self._check(f"*{name}[{n}]", name, item, problems) for n, item in enumerate(value))
            elif kind is inspect.Parameter.VAR_KEYWORD:
                checked[name] = {key: self._check(key, name, item, problems) for key, item in value.items()}
            else:
                checked[name] = self._check(name, name, value, problems)
        if problems:
            more = len(problems) - _MAX_PROBLEMS
            shown = problems[:_MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
            raise ParameterError(
                f"`{self._name}` cannot be called so: {'; '.join(shown)}. Pass what the hints say, change the hints, or "
                "decorate it with validate_parameters=False to take anything"
            )
        return checked

    def plain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` with JSON in the place of values that their hints give back from it: models, times, ids, paths."""
        return {name: self._plain(name, value) for name, value in arguments.items()}

    def _hint(self, name: str) -> Any:
        if self._hints is None:
            self._hints = _hints_of(self._fn, self.signature, self._names_in_scope)
        return self._hints.get(name, _NO_HINT)

    def _check(self, field: str, name: str, value: Any, problems: list[str]) -> Any:
        if _fits(value, self._hint(name)):
            return value
        adapter = self._adapter(name)
        if adapter is None:
            return value
        from pydantic import ValidationError

        try:
            converted = adapter.validate_python(value)
        except ValidationError as error:
            problems.extend(self._problem(field, name, value, fault) for fault in error.errors(include_url=False))
            return value
        return value if _is_same(value, converted) else converted

    def _problem(self, field: str, name: str, value: Any, fault: Any) -> str:
        inside = "".join(f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
        found = fault["input"] if inside else value
        expected = f"`{_hint_text(self._hint(name))}`"
        return (
            f"parameter `{field}{inside}` is {_shown(found)}, {_a(type(found).__name__)}, but "
            f"{f'`{name}` has the type' if inside else 'has to be'} {expected} "
            f"({fault['msg'][:1].lower()}{fault['msg'][1:]})"
        )

    def _adapter(self, name: str) -> Any:
        if name not in self._adapters:
            self._adapters[name] = adapter_of(self._hint(name))
        return self._adapters[name]

    def _plain(self, name: str, value: Any) -> Any:
        if is_json(value):
            return value
        hint = self._hint(name)
        if hint is _NO_HINT:
            return value
        kind = self.signature.parameters[name].kind
        if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            items = value if isinstance(value, tuple) else value.values()
            plain = [item if is_json(item) else as_json(item, self._adapter(name)) for item in items]
            if any(item is None and original is not None for item, original in zip(plain, items)):
                return value
            return plain if isinstance(value, tuple) else dict(zip(value, plain))
        plain = as_json(value, self._adapter(name))
        return value if plain is None else plain

    def _why_unbound(self, n_args: int, kwargs: Mapping[str, Any], said: str) -> str:
        parameters = self.signature.parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in kwargs:
            if name not in parameters and not takes_any:
                return self._unknown(name)
        for name in kwargs:
            if name in parameters and parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
                return f"`{self._name}` takes `{name}` by its position, not by name: call it as {self._call()}"
        positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        takes_more = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values())
        if n_args > len(positional) and not takes_more:
            count = "no positional argument" if not positional else f"at most {len(positional)} positional arguments"
            return f"`{self._name}` takes {count}, but was given {n_args}: call it as {self._call()}"
        given = {parameter.name for parameter in positional[:n_args]} | set(kwargs)
        for name, parameter in parameters.items():
            if name not in given and _is_required(parameter):
                return self._missing(name)
        return f"`{self._name}` cannot be called so: {said}; call it as {self._call()}"

    def _missing(self, name: str) -> str:
        return f"`{self._name}` needs the parameter `{name}`, which has no default: call it as {self._call()}"

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.signature.parameters, n=1)
        mend = f"; did you mean `{near[0]}`? Call" if near else ": call"
        return f"`{self._name}` has no parameter `{name}`{mend} it as {self._call()}"

    def _call(self) -> str:
        parameters = [
            parameter.replace(annotation=_Verbatim(parameter.annotation))
            if isinstance(parameter.annotation, str)
            else parameter
            for parameter in self.signature.parameters.values()
        ]
        return f"{self._name}{inspect.Signature(parameters)}"


class _Verbatim:
    """A hint that is written as it is in the code, without quotation marks."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def names_in_scope(fn: Callable[..., Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """Those names of `scope`, where `fn` is defined, that the hints of `fn` have."""
    words: set[str] = set()
    for hint in getattr(fn, "__annotations__", {}).values():
        if isinstance(hint, str):
            words.update("".join(c if c.isidentifier() or c.isdigit() else " " for c in hint).split())
    return {word: scope[word] for word in words if word in scope}


def adapter_of(hint: Any) -> Any:
    """What reads and writes values of `hint`; None where pydantic knows nothing of them."""
    if hint is _NO_HINT or _is_lazy(hint):
        return None
    try:
        from pydantic import PydanticUserError, TypeAdapter
    except ImportError:
        raise InvalidArgument(
            "type hints of parameters are checked by pydantic, which is not installed: `pip install pydantic`, or "
            "decorate with validate_parameters=False"
        ) from None
    try:
        return TypeAdapter(hint, config={"arbitrary_types_allowed": True})
    except PydanticUserError:  # a type with a configuration of its own
        pass
    except Exception:  # such as a hint that is no type
        return None
    try:
        return TypeAdapter(hint)
    except Exception:
        return None


def as_json(value: Any, adapter: Any) -> Any:
    """`value` as JSON data of which `adapter` makes an equal value; None where it cannot."""
    if adapter is None:
        return None
    try:
        plain = adapter.dump_python(value, mode="json", warnings="error")
        if isinstance(value, (set, frozenset)):
            plain = sorted(plain, key=repr)  # two processes order them differently, and calls are found by their arguments
        if not is_json(plain):
            return None
        again = adapter.validate_python(plain)
        return plain if type(again) is type(value) and bool(again == value) and _is_as_clear(again, value) else None
    except Exception:  # what pydantic, or the value's own code, cannot do with it
        return None


def is_json(value: Any) -> bool:
    """True when JSON gives the value back as it is, but for tuples, which come back as lists."""
    try:
        return _is_json(value)
    except RecursionError:  # it holds itself, or is nested deeper than JSON can be read
        return False


def _is_json(value: Any) -> bool:
    kind = type(value)
    if kind in _JSON_LEAVES:
        return True
    if kind is float:
        return value == value and value not in (float("inf"), float("-inf"))
    if kind is list or kind is tuple:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return False


def _is_as_clear(again: Any, value: Any) -> bool:
    """Times that are equal may be of other zones, and equal sets may be printed in another order."""
    if isinstance(value, (set, frozenset)):
        return True
    return _UTC.sub("UTC", repr(again)) == _UTC.sub("UTC", repr(value))


def _hints_of(fn: Callable[..., Any], signature: inspect.Signature, scope: Mapping[str, Any]) -> dict[str, Any]:
    annotated = {name: p.annotation for name, p in signature.parameters.items() if p.annotation is not _NO_HINT}
    if not annotated:
        return {}
    plain = inspect.unwrap(fn)
    code = getattr(plain, "__func__", plain)
    known = getattr(code, "__globals__", {})
    cells = zip(getattr(getattr(code, "__code__", None), "co_freevars", ()), getattr(code, "__closure__", None) or ())
    local = {**scope, **{name: cell.cell_contents for name, cell in cells if _is_filled(cell)}}
    hints = {}
    for name, annotation in annotated.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hint = typing.get_type_hints(holder, known, local, include_extras=True)[name]
        except Exception:  # names that are there for type checkers alone
            continue
        if hint is not Any and hint is not object and not isinstance(hint, typing.TypeVar):
            hints[name] = hint
    return hints


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents
    except ValueError:
        return False
    return True


def _fits(value: Any, hint: Any) -> bool:
    """True where a look at types tells that `value` is what `hint` says."""
    if hint is Any or hint is object:
        return True
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return type(value) is hint
    if hint is None:
        return value is None
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNION_KINDS:
        return any(_fits(value, arg) for arg in args)
    if type(value) is not origin:
        return False
    if origin in (list, set, frozenset):
        return all(_fits(item, args[0]) for item in value)
    if origin is dict:
        return all(_fits(key, args[0]) and _fits(item, args[1]) for key, item in value.items())
    return False


def _is_same(value: Any, converted: Any) -> bool:
    """True where a conversion has changed nothing, so that the code gets the object that its caller has."""
    if value is converted:
        return True
    kind = type(value)
    if kind is not type(converted):
        return False
    if kind in (list, tuple):
        return len(value) == len(converted) and all(map(_is_same, value, converted))
    if kind is dict:
        keys = zip(value, converted)
        return len(value) == len(converted) and all(
            _is_same(key, other) and _is_same(value[key], converted[other]) for key, other in keys
        )
    return kind in (str, int, float, bool, bytes) and bool(value == converted)


def _is_lazy(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and origin in _LAZY or any(map(_is_lazy, typing.get_args(hint)))


def _is_required(parameter: inspect.Parameter) -> bool:
    varies = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not varies


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # the value's own code
        return f"(its text cannot be had: {type(error).__name__} in its __repr__)"
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _hint_text(hint: Any) -> str:
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__qualname__
    return str(hint).replace("typing.", "")
