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


def to_json(config: object) -> str:
    """Returns any configuration here as JSON text, keys in the order of the dataclass.

    >>> from latentpress.items import Image
    >>> print(to_json(Image(channels=1)))
    {
      "kind": "image",
      "channels": 1,
      "size": null
    }
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError("to_json takes a configuration dataclass")
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
    tree = json.loads(to_json(config))
    fresh: set[str] = set()  # sections of a new kind: only the reader knows what their fields are
    for key, value in sorted(settings.items(), key=lambda each: (not _is_kind(each[0]), each[0].count("."))):
        section, _, name = key.rpartition(".")
        node, new = _section(tree, section, key, fresh), _value(value)
        if _is_kind(key) and new != node.get("kind"):
            node.clear()
            fresh.add(section)
        elif name not in node and section not in fresh:
            raise ConfigError(f"no setting {key!r}; here are: {', '.join(node)}")
        node[name] = new
    return _from_tree(type(config), tree)


def _is_kind(key: str) -> bool:
    return key.rpartition(".")[2] == "kind"


def _section(tree: dict[str, Any], path: str, key: str, fresh: set[str]) -> dict[str, Any]:
    """Returns the section at `path`; one that is null comes into being when it, or one above, gets a kind."""
    node, walked = tree, ""
    for part in path.split(".") if path else ():
        if (_is_kind(key) and part in node and node[part] is None) or (walked in fresh and part not in node):
            node[part] = {}
            fresh.add(f"{walked}.{part}" if walked else part)
        walked = f"{walked}.{part}" if walked else part
        node = node.get(part)
        if not isinstance(node, dict):
            raise ConfigError(f"no setting {key!r}: there is no section {part!r}")
    return node


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
