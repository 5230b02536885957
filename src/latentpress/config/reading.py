"""Configurations as text: JSON and TOML, and settings by dotted names."""

from __future__ import annotations

import dataclasses
import functools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from latentpress.errors import ConfigError

__all__ = ["from_json", "from_toml", "override", "to_json"]

T = TypeVar("T")


def to_json(config: Any) -> str:
    """Returns any configuration here as JSON text, keys in the order of the dataclass."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(kind: type[T], text: str | bytes) -> T:
    """Reads JSON text as a configuration of type `kind`; raises `ConfigError` for anything else.

    >>> from latentpress.items import Image
    >>> from_json(Image, '{"channels": 1}')
    Image(kind='image', channels=1, size=None)
    """
    return _from_tree(kind, _parsed(json.loads, text, "JSON"))


def from_toml(kind: type[T], text: str) -> T:
    """Reads TOML text as a configuration of type `kind`; raises `ConfigError` for anything else."""
    return _from_tree(kind, _parsed(tomllib.loads, text, "TOML"))


def override(config: T, settings: Mapping[str, Any]) -> T:
    """Returns `config` with dotted keys replaced, their values as in JSON (or plain text).

    A key that ends in `kind` puts that kind's defaults into its section; the other keys of the call
    then set fields of the new kind, in whatever order they come.

    >>> from latentpress.config import VQVAEConfig
    >>> override(VQVAEConfig(), {"latents.codebook_size": "1024"}).latents.codebook_size
    1024
    >>> kind, scale = "parallel.likelihood.kind", "parallel.likelihood.scale"
    >>> override(VQVAEConfig(), {scale: "0.1", kind: "laplace"}).parallel.likelihood
    LaplaceConfig(kind='laplace', scale=0.1)
    """
    changes = {key: _value(value) for key, value in settings.items()}
    return _from_tree(type(config), _changed(json.loads(to_json(config)), changes))


def _changed(section: Any, changes: Mapping[str, Any], path: str = "", fresh: bool = False) -> dict[str, Any]:
    """A section with changes by dotted names; of a `fresh` one, of a new kind, only the reader knows more."""
    if isinstance(section, dict):
        fresh = changes.get("kind", section.get("kind")) != section.get("kind")
    elif section is None and any(key.rpartition(".")[2] == "kind" for key in changes):
        fresh = True
    elif section is not None or not fresh:
        raise ConfigError(f"no setting {path + next(iter(changes))!r}: {path[:-1]} is no section")
    result: dict[str, Any] = {} if section is None or fresh else {**section}
    below: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        name, dot, rest = key.partition(".")
        if name not in result and not fresh:
            raise ConfigError(f"no setting {path + key!r}; here are: {', '.join(result)}")
        if dot:
            below.setdefault(name, {})[rest] = value
        else:
            result[name] = value
    for name, further in below.items():
        result[name] = _changed(result.get(name), further, f"{path}{name}.", fresh)
    return result


def _parsed(parse: Callable[[Any], object], text: str | bytes, language: str) -> object:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not {language}: {error}") from None


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter  # slow to import, so not above

    return TypeAdapter(kind)


def _from_tree(kind: type[T], tree: object) -> T:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(_with_model_kind(tree))
    except ValidationError as error:
        raise ConfigError(_first_problem(error.errors(), kind.__name__)) from None


def _with_model_kind(tree: object) -> object:
    """A run whose model names no kind is a VQ-VAE's: said here, so that messages speak of that kind alone."""
    if isinstance(tree, dict) and isinstance(model := tree.get("model"), dict):
        return {**tree, "model": {"kind": "vq-vae", **model}}
    return tree


def _first_problem(errors: Sequence[Mapping[str, Any]], name: str) -> str:
    """Words the first problem; of a union, that of the kind which was asked for."""
    kinds = {e["loc"][:-1]: e["ctx"]["expected"] for e in errors if e["loc"][-1:] == ("kind",) and "ctx" in e}
    for place in sorted(kinds, key=len):  # outer unions first: drop the kinds that were not asked for
        rest = [error for error in errors if error["loc"][: len(place)] != place]
        if not rest:
            is_union = not all(map(_is_setting, place[-1:]))
            options = [kinds[at] for at in kinds if at == place or (is_union and at[:-1] == place[:-1])]
            return f"{_path((*place, 'kind'))}: should be one of {', '.join(options)}"
        errors = rest
    *sections, last = errors[0]["loc"] or ("",)
    if errors[0]["type"] == "unexpected_keyword_argument":
        return f"{'.'.join([*filter(None, [_path(sections)]), str(last)])}: there is no such setting"
    return f"{_path(errors[0]['loc']) or name}: {errors[0]['msg'].removeprefix('Value error, ')}"


def _path(place: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in place if _is_setting(part))


def _is_setting(part: str | int) -> bool:
    """Whether a part of a place is not the name of a class in a union."""
    return not str(part)[:1].isupper()
