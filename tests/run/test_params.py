"""params.yaml: what is resolved, and what is refused in which words. Takes about 5 s."""

import json

import pytest

from galaxymorph.run.plan import _notebook
from galaxymorph.run.plan import plan as read_plan
from galaxymorph.run.problems import ParamsError

TRAIN = """\
run = "by_hand"  # results/<run>/<step>
step: str = "resnet18"
galaxies = dict(name="simulated", n_galaxies=3000)
seed = 0
n_labels = None
zoom = 0.1
flip = True
classes = ("round", "edge-on")
encoder = dict(name="resnet18", stem="small")
training = {"epochs": 5, "patience": None}
free = dict(depth=dict(a=1, b=2))
"""
USE = """\
%matplotlib inline
from galaxymorph import data, train
from galaxymorph.encoders import encoder as make_encoder
found = data.load(**galaxies, seed=seed, n_labels=n_labels)
rows = train.fit(model, found, found, **training, seed=seed)
model = make_encoder(**encoder)
model.anything(**training)
"""
COMPARE = 'run = "by_hand"\nstep = "compare"\nsteps = None\n'
PARAMS = """\
run: mock
galaxies: {name: simulated, image_size: 32}
resnet18:
  notebook: 02_train
  over: {seed: [0, 1]}
  training: {epochs: 10}
compare:
  notebook: 10_compare
"""


def cell(source, *tags):
    return {
        "cell_type": "code",
        "source": source.splitlines(keepends=True),
        "metadata": {"tags": list(tags)},
        "outputs": [],
    }


def notebook(path, *cells, **metadata):
    path.write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)})
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    outputs = {"outputs": ["model.safetensors"]}
    notebook(
        tmp_path / "notebooks" / "02_train.ipynb",
        cell(TRAIN, "parameters"),
        cell(USE),
        galaxymorph=outputs,
    )
    notebook(tmp_path / "notebooks" / "10_compare.ipynb", cell(COMPARE, "parameters"))
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    _notebook.cache_clear()
    return tmp_path


def problems(project, *overrides, text=None):
    """The mistakes that are found with these overrides, or in this file."""
    if text is not None:
        (project / "params.yaml").write_text(text)
    with pytest.raises(ParamsError) as error:
        read_plan(project / "params.yaml", overrides=overrides)
    return error.value.problems


def test_every_combination_is_a_piece_of_its_own(project):
    plan = read_plan(
        project / "params.yaml", overrides=["resnet18.over.training.learning_rate=[1.0e-3, 0.1]"]
    )
    assert plan.run == "mock"
    assert [piece.name for piece in plan.pieces] == [
        "resnet18/seed=0,training.learning_rate=0.001",
        "resnet18/seed=0,training.learning_rate=0.1",
        "resnet18/seed=1,training.learning_rate=0.001",
        "resnet18/seed=1,training.learning_rate=0.1",
        "compare",
    ]
    piece = plan.pieces[1]
    assert piece.combination == {"seed": 0, "training.learning_rate": 0.1}
    assert piece.parameters["training"] == {"epochs": 10, "patience": None, "learning_rate": 0.1}
    assert (piece.parameters["run"], piece.parameters["step"], piece.parameters["seed"]) == (
        "mock",
        piece.name,
        0,
    )


def test_defaults_stay_unless_another_thing_is_named(project):
    plan = read_plan(project / "params.yaml", overrides=["resnet18.free={depth: {b: 3}}"])
    assert plan.pieces[0].parameters["galaxies"] == {
        "name": "simulated",
        "n_galaxies": 3000,
        "image_size": 32,
    }
    assert plan.pieces[0].parameters["free"] == {"depth": {"a": 1, "b": 3}}
    assert plan.pieces[0].parameters["classes"] == ["round", "edge-on"]
    plan = read_plan(
        project / "params.yaml",
        overrides=["resnet18.encoder.name=vgg16", "resnet18.galaxies.image_size=64"],
    )
    assert plan.pieces[0].parameters["encoder"] == {"name": "vgg16"}  # a small stem is ResNet's
    assert plan.pieces[0].parameters["galaxies"] == {
        "name": "simulated",
        "n_galaxies": 3000,
        "image_size": 64,
    }


def test_run_can_be_named_from_outside(project):
    assert read_plan(project / "params.yaml", run="other").run == "other"
    assert read_plan(project / "params.yaml", overrides=["run=2"]).run == "2"


def test_readers_get_the_earlier_pieces(project):
    (project / "params.yaml").write_text(
        PARAMS
        + "late: {notebook: 10_compare, steps: [resnet18], over: {}}\n"
        + "single: {notebook: 10_compare, steps: [resnet18/seed=1]}\n"
    )
    late = read_plan(project / "params.yaml").pieces
    assert (late[2].reads, late[2].needs) == (("resnet18/seed=0", "resnet18/seed=1"), ())
    assert late[2].parameters["steps"] == ["resnet18/seed=0", "resnet18/seed=1"]
    assert late[3].reads == late[3].needs == ("resnet18/seed=0", "resnet18/seed=1")
    assert late[4].reads == ("resnet18/seed=1",)


def test_a_repeated_reader_gets_its_own_combination(project):
    train = cell(TRAIN + 'steps = ["resnet18"]\n', "parameters")
    notebook(project / "notebooks" / "06_transfer.ipynb", train, cell(USE))
    (project / "params.yaml").write_text(
        PARAMS + "transfer: {notebook: 06_transfer, over: {seed: [1], n_labels: [50]}}\n"
    )
    piece = read_plan(project / "params.yaml").pieces[-1]
    assert piece.name == "transfer/seed=1,n_labels=50"
    assert piece.reads == piece.needs == ("resnet18/seed=1",)


def tuned(project, *lines, **options):
    """The pieces of a step `tuned` after those of `resnet18`; its lines are YAML."""
    (project / "params.yaml").write_text(
        "\n".join([PARAMS + "tuned:", "  notebook: 02_train", *(f"  {line}" for line in lines)])
    )
    return [
        piece
        for piece in read_plan(project / "params.yaml", **options).pieces
        if piece.step == "tuned"
    ]


def test_placeholders_are_filled_in_for_each_piece(project):
    first, second = tuned(
        project,
        "over: {training.learning_rate: [1.0e-3], n_labels: [1, null]}",
        "free: {a: '{run}/{n_labels}/{n_labels}', b: ['{training.learning_rate}', 3], c: '{{seed}} {} { seed } {0}'}",
        run="other",
    )
    assert first.parameters["free"]["a"] == "other/1/1"
    assert second.parameters["free"]["a"] == "other/null/null"
    assert second.name.endswith(",n_labels=null")  # the folder's name has it so, too
    assert first.parameters["free"]["b"] == ["0.001", 3]
    assert first.parameters["free"]["c"] == "{{seed}} {} { seed } {0}"


def test_what_is_repeated_keeps_its_placeholders_in_the_name(project):
    first, second = tuned(project, "over: {free.from: ['{run}/{seed}'], seed: [0, 1]}")
    assert [first.parameters["free"]["from"], second.parameters["free"]["from"]] == [
        "mock/0",
        "mock/1",
    ]
    assert first.combination["free.from"] == second.combination["free.from"] == "{run}/{seed}"
    assert first.name != second.name


def test_a_text_for_what_has_a_name_is_the_name(project):
    other, same, text = tuned(
        project,
        "over: {encoder: [vgg16, resnet18, models/of/others.txt]}",
        "galaxies: galaxy10",
    )
    assert other.parameters["encoder"] == {"name": "vgg16"}
    assert same.parameters["encoder"] == {"name": "resnet18", "stem": "small"}
    assert text.parameters["encoder"] == {"name": "models/of/others.txt"}
    assert text.parameters["galaxies"] == {"name": "galaxy10"}
    assert other.name == "tuned/encoder=vgg16"
    piece = read_plan(
        project / "params.yaml", overrides=["resnet18.encoder=resnet50", "galaxies=simulated"]
    ).pieces[0]
    assert piece.parameters["encoder"] == {"name": "resnet50"}
    assert piece.parameters["galaxies"] == {"name": "simulated", "n_galaxies": 3000}
    (piece,) = tuned(project, "galaxies: galaxy10", overrides=["tuned.galaxies.image_size=64"])
    assert piece.parameters["galaxies"] == {"name": "galaxy10", "image_size": 64}
    (piece,) = tuned(project, "galaxies: simulated")
    assert piece.parameters["galaxies"] == {
        "name": "simulated",
        "n_galaxies": 3000,
        "image_size": 32,
    }


def test_a_model_of_an_earlier_step_is_read_and_needed(project):
    first, second = tuned(
        project,
        "over: {n_labels: [50, 100], seed: [1]}",
        "encoder: models/{run}/resnet18/seed={seed}.safetensors",
    )
    assert first.reads == first.needs == second.needs == ("resnet18/seed=1",)
    assert first.parameters["encoder"] == {"name": "models/mock/resnet18/seed=1.safetensors"}


def test_a_reader_of_all_steps_needs_the_model_alone(project):
    train = cell(TRAIN + "steps = None\n", "parameters")
    notebook(project / "notebooks" / "06_transfer.ipynb", train, cell(USE))
    model = "models/mock/resnet18/seed=1.safetensors"
    (project / "params.yaml").write_text(
        f"{PARAMS}transfer: {{notebook: 06_transfer, encoder: {model}}}\n"
    )
    piece = read_plan(project / "params.yaml").pieces[-1]
    assert (
        set(piece.reads)
        == {"resnet18/seed=0", "resnet18/seed=1", "compare"}
        == set(piece.parameters["steps"])
    )
    assert piece.needs == ("resnet18/seed=1",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["over: {seed: [0]}", "encoder: x/{sed}"],
            "tuned.encoder: nothing stands for {sed} here (did you mean seed?); there",
        ),
        (["over: {seed: [0]}", "encoder: x/{sed}"], "; there is {run}, {seed}"),
        (
            ["free: {deep: ['{seed}']}"],
            "tuned.free.deep.0: nothing stands for {seed} here; there is {run}",
        ),
        (
            ["over: {free.x: ['{sed}'], seed: [0]}"],
            "tuned.over.free.x: nothing stands for {sed} here",
        ),
        (
            ["encoder: vgg16", "over: {encoder.name: [resnet50]}"],
            "tuned.encoder.name: is given by tuned.over, too",
        ),
        (
            ["galaxies: galaxy10", "over: {galaxies.image_sise: [3]}"],
            "tuned.over.galaxies.image_sise: data.load has no such",
        ),
        (
            ["encoder: models/mock/resnet18.safetensors"],
            "tuned.encoder.name: models/mock/resnet18.safetensors: there is no such file "
            "(did you mean models/mock/resnet18/seed=",
        ),
        (
            ["over: {seed: [1, 2]}", "encoder: models/{run}/resnet18/seed={seed}.safetensors"],
            "models/mock/resnet18/seed=2.safetensors: there is no such file",
        ),
        (
            ["over: {encoder: [models/mock/no.safetensors]}"],
            "tuned.over.encoder: models/mock/no.safetensors: there is no",
        ),
        (
            ["encoder: models/mock/compare.safetensors"],
            "models/mock/compare.safetensors: there is no such file",
        ),
        (
            ["encoder: models/other/resnet18.safetensors"],
            "models/other/resnet18.safetensors: there is no such file",
        ),
        (["encoder: models/mock/tuned.safetensors"], "tuned makes it, which is no earlier step"),
    ],
)
def test_wrong_placeholders_and_models_are_named(project, lines, message):
    with pytest.raises(ParamsError) as error:
        tuned(project, *lines)
    assert any(message in each for each in error.value.problems), error.value.problems


def test_a_model_that_is_there_may_be_of_any_run(project):
    file = (
        project / "models" / "mock" / "gone.safetensors"
    )  # of a step that is no longer in params.yaml
    file.parent.mkdir(parents=True)
    file.touch()
    (piece,) = tuned(project, "encoder: models/mock/gone.safetensors")
    assert piece.reads == piece.needs == ()
    (found,) = problems(project, "resnet18.encoder=models/mock/gnoe.safetensors")
    assert found.startswith(
        "-s resnet18.encoder=models/mock/gnoe.safetensors: resnet18.encoder.name: "
    )
    file.with_name(
        "late.safetensors"
    ).touch()  # of an earlier execution: the first step cannot read what the last one makes
    (project / "params.yaml").write_text(PARAMS + "late: {notebook: 02_train}\n")
    (found,) = problems(project, "resnet18.encoder=models/mock/late.safetensors")
    assert "late makes it, which is no earlier step" in found


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "resnet18.sed=1",
            "resnet18.sed: 02_train.ipynb has no such parameter (did you mean seed?); it has galaxies, seed,",
        ),
        (
            "resnet18.training.epocs=3",
            "resnet18.training.epocs: train.fit has no such option (did you mean epochs?); it has",
        ),
        (
            "galaxies.image_sise=3",
            "galaxies.image_sise: data.load has no such option (did you mean image_size?)",
        ),
        (
            "galaxies.crop=40",
            "galaxies.crop: the source 'simulated' has no option 'crop', but folder, galaxy_zoo, ",
        ),
        (
            "resnet18.galaxies.image_sise=3",
            "resnet18.galaxies.image_sise: data.load has no such option",
        ),
        (
            "resnet18.encoder.nme=resnet50",
            "make_encoder has no such option (did you mean name?); it has name",
        ),
        (
            "resnet18.over.trainin.epochs=[3]",
            "02_train.ipynb has no such parameter (did you mean training?)",
        ),
        (
            "resnet18.over.training.epocs=[3]",
            "resnet18.over.training.epocs: train.fit has no such option",
        ),
        (
            "resnet18.training.seed=3",
            "the notebook itself fills seed of train.fit; set the step's parameter instead",
        ),
        ("resnet18.training.val=3", "the notebook itself fills val of train.fit"),
        ("resnt18.seed=3", "there is no step resnt18 (did you mean resnet18?)"),
        ("resnet18.step=x", "resnet18.step: is set by the runner"),
        ("resnet18.notebook=02_trian", "there is no such notebook in"),
        ("resnet18.notebook=02_trian", "(did you mean 02_train?)"),
        (
            "compare.steps=[resnet81]",
            "compare.steps: resnet81 is no earlier step (did you mean resnet18?)",
        ),
        ("compare.steps=resnet18", "expected a list of earlier steps, found 'resnet18'"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest_one(project, override, message):
    (found,) = problems(project, override)
    assert found.startswith(f"-s {override}: ")
    assert message in found


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "resnet18.training.epochs=2.5",
            "resnet18.training.epochs: expected a whole number, found 2.5",
        ),
        ("resnet18.training.epochs=true", "expected a whole number, found true"),
        (
            "resnet18.training.learning_rate=3e-2",
            'found "3e-2", which YAML reads as text; write 3.0e-2',
        ),
        (
            "resnet18.training.learning_rate=1.5e3",
            'found "1.5e3", which YAML reads as text; write 1.5e+3',
        ),
        ("resnet18.training.patience=long", 'expected a whole number or null, found "long"'),
        (
            "resnet18.training.optimizer=adam",
            'expected adamw or sgd, found "adam" (did you mean adamw?)',
        ),
        ("resnet18.training=5", "resnet18.training: expected keys below it, found 5"),
        ("resnet18.training.epochs.more=5", "resnet18.training.epochs has no keys below it"),
        ("resnet18.over.seed=[0.5]", "resnet18.over.seed: expected a whole number, found 0.5"),
        ("resnet18.over.seed.x=[0]", "resnet18.over.seed.x: "),
        (
            "resnet18.seed=3",
            "resnet18.seed: is given by resnet18.over, too; leave one of the two out",
        ),
        ("resnet18.zoom=big", "resnet18.zoom: expected a number"),
        ("resnet18.zoom=true", "resnet18.zoom: expected a number, found true"),
        ("resnet18.flip=1", "resnet18.flip: expected true or false, found 1"),
        ("resnet18.classes=round", "resnet18.classes: expected a list"),
        (
            "resnet18.n_labels=lots",
            'resnet18.n_labels: expected a whole number or a list (text) or null, found "lots"',
        ),  # handed to load
        ("resnet18.over.seed=[0, x]", 'resnet18.over.seed: expected a whole number, found "x"'),
        ("resnet18.over.seed=3", "resnet18.over.seed: expected a list of values, found 3"),
        ("resnet18.over.seed=[3, 3]", "a value is given twice"),
        ("resnet18.over.zoom=[]", "expected a list of values"),
        ("resnet18.over=[seed]", "expected parameters with lists of values"),
        ("galaxies=3", "galaxies: expected keys below it, found 3"),
        ("resnet18.encoder=3", "resnet18.encoder: expected keys below it, found 3"),
        (
            "resnet18.training=long",
            'resnet18.training: expected keys below it, found "long"',
        ),  # it has no name
        ("run=a/b", "expected a name of letters"),
        ("resnet18.free={3: x}", "the key 3 is no text"),
        ("resnet18.seed", "expected KEY=VALUE"),
        ("resnet18.seed=[", "not valid YAML"),
    ],
)
def test_wrong_values_are_named_with_what_was_expected(project, override, message):
    found = problems(project, override)
    assert any(message in each for each in found), found


@pytest.mark.parametrize(
    "override",
    [
        "resnet18.zoom=1",  # a whole number is a number
        "resnet18.n_labels=100",
        "resnet18.n_labels=null",
        "resnet18.training.optimizer=sgd",
        "resnet18.training.patience=null",
        "galaxies={name: folder, root: some/folder, class_names: [a, b]}",
        "resnet18.free.anything=[1, x, null]",  # handed to nothing that is known
        "resnet18.over.n_labels=[100, null]",
    ],
)
def test_right_values_are_taken(project, override):
    read_plan(project / "params.yaml", overrides=[override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: x\n", "params.yaml: there is no step"),
        ("resnet18: {notebook: 02_train}\n", "params.yaml: run: missing"),
        ("run: x\nresnet18:\n", "params.yaml: resnet18: a step needs `notebook: NAME`"),
        (
            "run: x\ngalaxis: {name: simulated}\nresnet18: {notebook: 02_train}\n",
            "galaxis: a step needs `notebook: NAME` below it (did",
        ),
        (
            "run: x\na: {notebook: 02_train}\na: {notebook: 02_train}\n",
            "params.yaml: line 3: the key a is given twice",
        ),
        ("run: x\na: {notebook: 02_train, seed: 1, seed: 2}\n", "the key seed is given twice"),
        ("run: x\n../a: {notebook: 02_train}\n", "a step's name is of letters"),
        (
            "run: x\na: {notebook: 02_train, training: {epochs: 3e2}}\n",
            "params.yaml: a.training.epochs: expected",
        ),
        (
            "run: x\na: {notebook: 02_train, over: {encoder.name: [a/b, a-b]}}\n",
            "two combinations have the same folder",
        ),
        ("- run\n", "expected `run:`"),
        ("a: [\n", "params.yaml: not valid YAML"),
    ],
)
def test_wrong_files_are_refused(project, text, message):
    found = problems(project, text=text)
    assert any(message in each for each in found), found


def test_all_mistakes_are_told_at_once(project):
    assert len(problems(project, "resnet18.sed=1", "galaxies.image_size=x", "compare.x=1")) == 3


def test_a_missing_file_is_named(project):
    with pytest.raises(ParamsError, match=r"other\.yaml: there is no such file"):
        read_plan(project / "other.yaml")


def test_what_is_no_text_file_is_named(project):
    with pytest.raises(ParamsError, match=r"notebooks: cannot be read \(Is a directory\)"):
        read_plan(project / "notebooks")
    (project / "params.yaml").write_bytes(b"run: caf\xe9\n")
    with pytest.raises(ParamsError, match=r"params\.yaml: is no text in UTF-8 \(byte 9\)"):
        read_plan(project / "params.yaml")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([cell("x = 1")], "has 0 cells with the tag `parameters`"),
        ([cell("run = 1\nstep = print(3)", "parameters")], r"`print\(3\)` is no plain value"),
        ([cell("import os", "parameters")], "`import os` is no plain assignment"),
        ([cell("x = = 1", "parameters")], "not valid Python: x = = 1"),
        ([cell("seed = 1", "parameters")], "has no parameter `run`"),
        (None, "is no notebook of format 4"),
    ],
)
def test_notebooks_that_are_no_steps(project, cells, message):
    path = project / "notebooks" / "03_odd.ipynb"
    notebook(path, *cells) if cells else path.write_text("{}")
    (project / "params.yaml").write_text("run: x\na: {notebook: 03_odd}\n")
    with pytest.raises(ParamsError, match=message):
        read_plan(project / "params.yaml")


@pytest.mark.parametrize(
    "output",
    [
        "../../params.yaml",
        "../params.yaml",
        "..",
        "a/b/c.csv",
        "a..b/c.csv",
        "seed=0/c.csv",
        "/c.csv",
        "a/",
    ],
)
def test_outputs_stay_in_the_folder(project, output):
    cells = [cell(COMPARE, "parameters")]
    notebook(
        project / "notebooks" / "03_odd.ipynb",
        *cells,
        galaxymorph={"outputs": ["dnn/predictions.csv", output]},
    )
    (project / "params.yaml").write_text("run: x\na: {notebook: 03_odd}\n")
    with pytest.raises(ParamsError, match="outputs are files in the step's folder"):
        read_plan(project / "params.yaml")
