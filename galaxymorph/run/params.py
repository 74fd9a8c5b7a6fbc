"""`params.yaml` to pieces of work; every key and type is checked against the notebooks and what
they call first.

    run: mock                            # results/<run>/..., models/<run>/... galaxies: {name:
    simulated}          # handed to every step whose notebook has the parameter `galaxies` resnet18:
    # every other key is a step, in this order
      notebook: 02_supervised            # notebooks/02_supervised.ipynb over: {seed: [0, 1],
      training.learning_rate: [1.0e-3, 3.0e-3]}   # each combination is a piece of work of its own
      training: {epochs: 10}             # everything else goes to the notebook's cell tagged
      `parameters`

A notebook's own defaults are the base: a dict changes them key by key, so that setting one option
keeps the others. A dict that gives another `name` than the default stands alone: the options of
what it replaces mean nothing to it. A plain text for such a dict is the name: `encoder: resnet50`
means `encoder: {name: resnet50}`.

A text in a step's block may hold `{run}`, and `{key}` for each key of the step's `over`: each piece
gets its own, as its folder's name has it. What is repeated itself keeps them in the folder's name,
so that the seeds of one setting stay together. Any other word in braces is a mistake; `{{word}}`,
and braces around anything but a word, are left as they are.

A text that is the path of an earlier piece's model file makes a piece read and need that piece:

    frozen:
      notebook: 07_frozen
      over: {seed: [0, 1]}
      encoder: models/{run}/moco/seed={seed}.safetensors

What `galaxymorph tune` may change, and in which range, stands beside it in the step's block; a run
takes no notice of it:

    search:
      training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
      training.epochs: {low: 5, high: 15}     # whole numbers, as the parameter is one
      training.batch_size: [16, 32, 64]       # one of these

A notebook with the parameter `steps` reads other steps. It gets the names of the pieces of work to
read: all earlier ones where params.yaml says nothing (it then runs over what there is), or those of
the steps listed there (it then needs them; where both are repeated over the same key, those of its
own combination).

A notebook that is a gate (see `notebooks`) is needed by all pieces after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from galaxymorph.run.keys import RESERVED, set_key
from galaxymorph.run.problems import ParamsError, Problems, kind_of
from galaxymorph.text import nearest


# ---- reading and overriding


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice (YAML keeps the last in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ParamsError(
                    [
                        f"{self.name}: line {key.start_mark.line + 1}: the key {key.value} is given twice"
                    ]
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml(text: str, name: str) -> Any:
    loader = _Loader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ParamsError([f"{name}: not valid YAML: {error}"]) from None
    finally:
        loader.dispose()


def _read(path: Path) -> dict[str, Any]:
    try:
        document = _yaml(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        raise ParamsError([f"{path}: there is no such file; --params FILE names another"]) from None
    except OSError as error:
        raise ParamsError(
            [f"{path}: cannot be read ({error.strerror}); --params FILE names another"]
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(
            [f"{path}: is no text in UTF-8 (byte {error.start + 1}); save it so"]
        ) from None
    if not isinstance(document, dict):
        raise ParamsError(
            [f"{path.name}: expected `run:`, `galaxies:` and steps, found {kind_of(document)}"]
        )
    odd = [key for key in document if not isinstance(key, str)]
    if odd:
        raise ParamsError([f"{path.name}: the key {odd[0]!r} is no text"])
    return document


def _override(document: dict[str, Any], text: str, problems: Problems) -> None:
    dotted, equals, value = text.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        problems.found.append(f"-s {text}: expected KEY=VALUE, such as resnet18.training.epochs=3")
        return
    if keys[0] not in document and keys[0] not in RESERVED:
        problems.found.append(
            f"-s {text}: there is no step {keys[0]}{nearest(keys[0], [*document, *RESERVED])}"
        )
        return
    problems.overridden[".".join(keys)] = text
    parsed = _yaml(value, f"-s {text}")
    if keys[:1] == ["run"]:
        parsed = value.strip()  # a name, also where it looks like a number
    # what is repeated or searched stands under dotted keys of its own:
    # `step.over.training.learning_rate`
    path = (
        [*keys[:2], ".".join(keys[2:])]
        if keys[1:2] in (["over"], ["search"]) and len(keys) > 2
        else keys
    )
    if not set_key(document, path, parsed):
        problems.add(".".join(keys), f"{'.'.join(keys[:-1])} has no keys below it")


# ---- checking
