"""What a params file is resolved to, and what is refused in which words. Takes about 20 s."""

import json
from pathlib import Path

import pytest

from galaxymorph.run.params import ParamsError
from galaxymorph.run.plan import make_plan

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
from galaxymorph.data.load import load
from galaxymorph.learning import train
from galaxymorph.learning.encoders import encoder as make_encoder
found = load(**galaxies, seed=seed, n_labels=n_labels)
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
    return tmp_path


def problems(project, *overrides, text=None):
    """The mistakes that are found with these overrides, or in this file."""
    if text is not None:
        (project / "params.yaml").write_text(text)
    with pytest.raises(ParamsError) as error:
        make_plan(project / "params.yaml", overrides=overrides)
    return error.value.problems


@pytest.mark.long
def test_every_combination_is_a_job_of_its_own(project):
    plan = make_plan(
        project / "params.yaml", overrides=["resnet18.over.training.learning_rate=[1.0e-3, 0.1]"]
    )
    assert plan.run == "mock"
    assert [job.name for job in plan.jobs] == [
        "resnet18/seed=0,training.learning_rate=0.001",
        "resnet18/seed=0,training.learning_rate=0.1",
        "resnet18/seed=1,training.learning_rate=0.001",
        "resnet18/seed=1,training.learning_rate=0.1",
        "compare",
    ]
    job = plan.jobs[1]
    assert job.combination == {"seed": 0, "training.learning_rate": 0.1}
    assert job.parameters["training"] == {"epochs": 10, "patience": None, "learning_rate": 0.1}
    assert (job.parameters["run"], job.parameters["step"], job.parameters["seed"]) == (
        "mock",
        job.name,
        0,
    )


def test_defaults_stay_unless_another_thing_is_named(project):
    plan = make_plan(project / "params.yaml", overrides=["resnet18.free={depth: {b: 3}}"])
    assert plan.jobs[0].parameters["galaxies"] == {
        "name": "simulated",
        "n_galaxies": 3000,
        "image_size": 32,
    }
    assert plan.jobs[0].parameters["free"] == {"depth": {"a": 1, "b": 3}}
    assert plan.jobs[0].parameters["classes"] == ["round", "edge-on"]
    plan = make_plan(
        project / "params.yaml",
        overrides=["resnet18.encoder.name=vgg16", "resnet18.galaxies.image_size=64"],
    )
    assert plan.jobs[0].parameters["encoder"] == {"name": "vgg16"}  # a small stem is ResNet's
    assert plan.jobs[0].parameters["galaxies"] == {
        "name": "simulated",
        "n_galaxies": 3000,
        "image_size": 64,
    }


def test_run_can_be_named_from_outside(project):
    assert make_plan(project / "params.yaml", run="other").run == "other"
    assert make_plan(project / "params.yaml", overrides=["run=2"]).run == "2"


def test_readers_get_the_earlier_jobs(project):
    (project / "params.yaml").write_text(
        PARAMS
        + "late: {notebook: 10_compare, steps: [resnet18], over: {}}\n"
        + "single: {notebook: 10_compare, steps: [resnet18/seed=1]}\n"
    )
    late = make_plan(project / "params.yaml").jobs
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
    job = make_plan(project / "params.yaml").jobs[-1]
    assert job.name == "transfer/seed=1,n_labels=50"
    assert job.reads == job.needs == ("resnet18/seed=1",)


def tuned(project, *lines, **options):
    """The jobs of a step `tuned` after those of `resnet18`; its lines are YAML."""
    (project / "params.yaml").write_text(
        "\n".join([PARAMS + "tuned:", "  notebook: 02_train", *(f"  {line}" for line in lines)])
    )
    return [
        job for job in make_plan(project / "params.yaml", **options).jobs if job.step == "tuned"
    ]


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
    job = make_plan(
        project / "params.yaml", overrides=["resnet18.encoder=resnet50", "galaxies=simulated"]
    ).jobs[0]
    assert job.parameters["encoder"] == {"name": "resnet50"}
    assert job.parameters["galaxies"] == {"name": "simulated", "n_galaxies": 3000}
    (job,) = tuned(project, "galaxies: galaxy10", overrides=["tuned.galaxies.image_size=64"])
    assert job.parameters["galaxies"] == {"name": "galaxy10", "image_size": 64}
    (job,) = tuned(project, "galaxies: simulated")
    assert job.parameters["galaxies"] == {
        "name": "simulated",
        "n_galaxies": 3000,
        "image_size": 32,
    }


def model(job):
    return f"models/mock/{job}.safetensors"


def test_a_model_of_an_earlier_step_is_read_and_needed(project):
    first, second = tuned(
        project, "over: {n_labels: [50, 100], seed: [1]}", "encoder: {step: resnet18}"
    )
    assert first.reads == first.needs == second.needs == ("resnet18/seed=1",)
    assert first.parameters["encoder"] == {"name": model("resnet18/seed=1")}
    assert first.name == "tuned/n_labels=50,seed=1"


@pytest.mark.parametrize(
    ("lines", "parameters"),
    [
        (  # one of several, and options beside the name
            ["encoder: {step: resnet18, seed: 1, freeze: 2}"],
            {"encoder": {"name": model("resnet18/seed=1"), "freeze": 2}},
        ),
        (  # another than its own
            ["over: {seed: [1]}", "encoder: {step: resnet18, seed: 0}"],
            {"encoder": {"name": model("resnet18/seed=0")}},
        ),
        (
            ["over: {seed: [1]}", "encoder: {step: resnet18}", "free: {encoder: {step: resnet18}}"],
            {
                "encoder": {"name": model("resnet18/seed=1")},
                "free": {"depth": {"a": 1, "b": 2}, "encoder": model("resnet18/seed=1")},
            },
        ),
        (  # in a list, and where no list is known
            ["classes: [{step: resnet18, seed: 0}, {step: resnet18, seed: 1}]"],
            {"classes": [model("resnet18/seed=0"), model("resnet18/seed=1")]},
        ),
        (
            ["over: {encoder: [{step: resnet18, seed: 1}]}"],
            {"encoder": {"name": model("resnet18/seed=1")}},
        ),
    ],
)
def test_a_step_stands_for_its_model_file(project, lines, parameters):
    (job,) = tuned(project, *lines)
    assert {key: job.parameters[key] for key in parameters} == parameters
    assert "resnet18/seed=1" in job.needs or job.needs == ("resnet18/seed=0",)
    assert job.reads == job.needs


def test_a_step_that_is_not_repeated_has_one_model_for_all(project):
    (project / "params.yaml").write_text(
        f"{PARAMS}single: {{notebook: 02_train}}\n"
        "tuned: {notebook: 02_train, over: {seed: [0, 1]}, encoder: {step: single, freeze: all}}\n"
        "first: {notebook: 02_train, over: {seed: [0], zoom: [0.1, 0.2]}}\n"
        "last: {notebook: 02_train, over: {zoom: [0.2], seed: [0]}, encoder: {step: first}}\n"
    )
    jobs = {job.name: job for job in make_plan(project / "params.yaml").jobs}
    for seed in (0, 1):
        job = jobs[f"tuned/seed={seed}"]
        assert job.needs == ("single",)
        assert job.parameters["encoder"] == {"name": model("single"), "freeze": "all"}
    assert jobs["last/zoom=0.2,seed=0"].needs == ("first/seed=0,zoom=0.2",)


def test_a_reader_of_all_steps_needs_the_model_alone(project):
    train = cell(TRAIN + "steps = None\n", "parameters")
    notebook(project / "notebooks" / "06_transfer.ipynb", train, cell(USE))
    (project / "params.yaml").write_text(
        f"{PARAMS}transfer: {{notebook: 06_transfer, encoder: {{step: resnet18, seed: 1}}}}\n"
    )
    job = make_plan(project / "params.yaml").jobs[-1]
    assert (
        set(job.reads)
        == {"resnet18/seed=0", "resnet18/seed=1", "compare"}
        == set(job.parameters["steps"])
    )
    assert job.needs == ("resnet18/seed=1",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["encoder: vgg16", "over: {encoder.name: [resnet50]}"],
            "tuned.encoder.name: is also given by tuned.over",
        ),
        (
            ["galaxies: galaxy10", "over: {galaxies.image_sise: [3]}"],
            "tuned.over.galaxies.image_sise: load has no such",
        ),
        (
            ["encoder: {step: resnet81}"],
            "tuned.encoder: no earlier step 'resnet81' (did you mean resnet18?)",
        ),
        (["over: {encoder: [{step: 3}]}"], "tuned.over.encoder: no earlier step 3"),
        (["encoder: {step: tuned}"], "tuned.encoder: no earlier step 'tuned'"),
        (
            ["encoder: {step: resnet18}"],
            "tuned.encoder: resnet18/seed=0, resnet18/seed=1 match; choose one, such as "
            "{step: resnet18, seed: 0}",
        ),
        (
            ["over: {seed: [1, 2]}", "encoder: {step: resnet18}"],
            "no job of resnet18 matches; it has resnet18/seed=0, resnet18/seed=1",
        ),
        (["encoder: {step: compare}"], "compare (10_compare.ipynb) makes no model file"),
        (
            ["encoder: {step: resnet18, seed: 0, name: cnn}"],
            "tuned.encoder: has both `step` and `name`",
        ),
        (
            ["encoder: {step: resnet18, seed: 0, frieze: all}"],
            "tuned.encoder.frieze: make_encoder has no such option (did you mean freeze?)",
        ),
        (
            ["classes: [{step: resnet18, sed: 0}]"],
            "tuned.classes.0: resnet18 is not repeated over sed (did you mean seed?)",
        ),
        (["zoom: {step: resnet18, seed: 0}"], "tuned.zoom: expected a number, found"),
    ],
)
def test_wrong_steps_for_models_are_named(project, lines, message):
    with pytest.raises(ParamsError) as error:
        tuned(project, *lines)
    assert any(message in each for each in error.value.problems), error.value.problems


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["over: {seed: [0]}", "encoder: models/{run}/resnet18/seed={seed}.safetensors"],
            "tuned.encoder: placeholders ('{run}') are not supported; "
            "write encoder: {step: resnet18}",
        ),
        (
            ["encoder: {name: 'models/{run}/resnet18/seed={seed},zoom=null.safetensors'}"],
            "tuned.encoder.name: placeholders ('{run}') are not supported; "
            "write encoder: {step: resnet18, zoom: null}",
        ),
        (
            ["classes: ['models/{run}/resnet18/seed={seed}.safetensors']"],
            "tuned.classes.0: placeholders ('{run}') are not supported; write {step: resnet18}",
        ),
        (
            ["encoder: 'models/{run}/{seed}.safetensors'"],
            "tuned.encoder: placeholders ('{run}') are not supported; "
            "write encoder: {step: NAME}, with",
        ),
        (
            ["free: {deep: ['{seed}']}"],
            "tuned.free.deep.0: placeholders ('{seed}') are not supported; "
            "write {step: NAME}, with",
        ),
        (
            ["over: {free.x: ['{sed}'], seed: [0]}"],
            "tuned.over.free.x.0: placeholders ('{sed}') are not supported; "
            "write {step: NAME}, with",
        ),
        (
            ["encoder: ./models/mock/resnet18/seed=1.safetensors"],
            "tuned.encoder: ./models/mock/resnet18/seed=1.safetensors is made by a step of this "
            "run; write encoder: {step: resnet18, seed: 1}",
        ),
        (
            ["encoder: models/mock/resnet18.safetensors"],
            "this run; write encoder: {step: resnet18}",
        ),
        (
            ["search: {encoder.name: [resnet18, models/mock/resnet18/seed=0.safetensors]}"],
            "tuned.search.encoder.name.1: models/mock/resnet18/seed=0.safetensors is made by",
        ),
        (["encoder: models/mock/tuned.safetensors"], "by tuned, which is not an earlier"),
        (
            ["over: {encoder: [models/mock/no.safetensors]}"],
            "tuned.over.encoder: models/mock/no.safetensors: no such file",
        ),
        (
            ["encoder: models/other/resnet18.safetensors"],
            "tuned.encoder.name: models/other/resnet18.safetensors: no such file",
        ),
    ],
)
def test_old_forms_and_missing_models_are_named(project, lines, message):
    with pytest.raises(ParamsError) as error:
        tuned(project, *lines)
    assert any(message in each for each in error.value.problems), error.value.problems


def test_braces_around_anything_but_a_word_are_text(project):
    (job,) = tuned(project, "free: {c: '{{seed}} {} { seed } {0}'}")
    assert job.parameters["free"]["c"] == "{{seed}} {} { seed } {0}"


def test_a_model_from_elsewhere_is_a_path(project):
    file = project / "models" / "mock" / "gone.safetensors"  # of a step no longer in params.yaml
    file.parent.mkdir(parents=True)
    file.touch()
    (job,) = tuned(project, "encoder: models/mock/gone.safetensors")
    assert job.reads == job.needs == ()
    (found,) = problems(project, "resnet18.encoder=models/mock/gnoe.safetensors")
    assert found.startswith(
        "-s resnet18.encoder=models/mock/gnoe.safetensors: resnet18.encoder.name: "
    )
    # of an earlier execution: the first step cannot read what the last one makes
    file.with_name("late.safetensors").touch()
    (project / "params.yaml").write_text(PARAMS + "late: {notebook: 02_train}\n")
    (found,) = problems(project, "resnet18.encoder=models/mock/late.safetensors")
    assert "late, which is not an earlier step" in found


def test_a_mistake_in_an_earlier_step_is_not_reported_of_later_ones(project):
    later = "late: {notebook: 02_train, encoder: {step: bad}}\n"
    later += "compared: {notebook: 10_compare, steps: [bad]}\n"
    (found,) = problems(project, text=f"{PARAMS}bad: {{notebook: nowhere}}\n{later}")
    assert found.startswith("params.yaml: bad.notebook: nowhere.ipynb: no such notebook")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "resnet18.sed=1",
            "resnet18.sed: 02_train.ipynb has no such parameter (did you mean seed?); it has gal",
        ),
        (
            "resnet18.training.epocs=3",
            "resnet18.training.epocs: train.fit has no such option (did you mean epochs?); it has",
        ),
        (
            "galaxies.image_sise=3",
            "galaxies.image_sise: load has no such option (did you mean image_size?)",
        ),
        (
            "galaxies.crop=autos",
            "galaxies.crop: expected ",
        ),
        (
            "galaxies.crop=40",
            "galaxies.crop: option 'crop' applies to folder, galaxy_zoo, ",
        ),
        (
            "resnet18.galaxies.image_sise=3",
            "resnet18.galaxies.image_sise: load has no such option",
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
            "the notebook itself sets seed of train.fit; change the step's parameter instead",
        ),
        ("resnet18.training.val=3", "the notebook itself sets val of train.fit"),
        ("galaxies={name: folder, root: nowhere/set}", "nowhere/set does not exist"),
        ("resnt18.seed=3", "unknown step 'resnt18'; did you mean 'resnet18'?"),
        ("resnet18.step=x", "resnet18.step: is set by the runner"),
        ("resnet18.notebook=02_trian", "no such notebook in"),
        ("resnet18.notebook=02_trian", "(did you mean 02_train?)"),
        (
            "compare.steps=[resnet81]",
            "compare.steps: no earlier step 'resnet81' (did you mean resnet18?)",
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
        ("resnet18.training=5", "resnet18.training: expected a mapping, found 5"),
        ("resnet18.training.epochs.more=5", "resnet18.training.epochs is not a mapping"),
        ("resnet18.over.seed=[0.5]", "resnet18.over.seed: expected a whole number, found 0.5"),
        ("resnet18.over.seed.x=[0]", "resnet18.over.seed.x: "),
        (
            "resnet18.seed=3",
            "resnet18.seed: is also given by resnet18.over; remove one of the two",
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
        ("resnet18.over.seed=[3, 3]", "duplicate value"),
        ("resnet18.over.zoom=[]", "expected a list of values"),
        ("resnet18.over=[seed]", "expected parameters with lists of values"),
        ("galaxies=3", "galaxies: expected a mapping, found 3"),
        ("resnet18.encoder=3", "resnet18.encoder: expected a mapping, found 3"),
        (
            "resnet18.training=long",
            'resnet18.training: expected a mapping, found "long"',
        ),  # it has no name
        ("run=a/b", "expected a name of letters"),
        ("resnet18.free={true: x}", "key true is not text"),
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
        "galaxies={name: folder, class_names: [a, b]}",
        "galaxies={name: folder, class_names: {-5: E, 0.5: S0, -999: null}}",
        "galaxies={name: folder, root: notebooks}",
        "resnet18.free.anything=[1, x, null]",  # handed to nothing that is known
        "resnet18.over.n_labels=[100, null]",
    ],
)
def test_right_values_are_taken(project, override):
    make_plan(project / "params.yaml", overrides=[override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: x\n", "params.yaml: no steps found"),
        ("resnet18: {notebook: 02_train}\n", "params.yaml: run: missing"),
        ("run: x\nresnet18:\n", "params.yaml: resnet18: a step needs `notebook: NAME`"),
        (
            "run: x\ngalaxis: {name: simulated}\nresnet18: {notebook: 02_train}\n",
            "galaxis: a step needs `notebook: NAME` below it (did",
        ),
        ("run: x\n../a: {notebook: 02_train}\n", "expected a name of letters"),
        (
            "run: x\na: {notebook: 02_train, training: {epochs: 3e2}}\n",
            "params.yaml: a.training.epochs: expected",
        ),
        (
            "run: x\na: {notebook: 02_train, over: {encoder.name: [a/b, a-b]}}\n",
            "two combinations share the folder",
        ),
    ],
)
def test_wrong_files_are_refused(project, text, message):
    found = problems(project, text=text)
    assert any(message in each for each in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("02_supervised", "03_supervised"),
        ("03_cae", "04_cae"),
        ("05_frozen", "08_frozen"),
        ("06_transfer", "13_transfer"),
        ("07_vote_fractions", "09_vote_fractions"),
        ("08_gradcam", "10_gradcam"),
        ("09_label_efficiency", "11_label_efficiency"),
        ("10_compare", "12_compare"),
        ("10_compare_votes", "14_compare_votes"),
        ("11_forensics", "17_published_mistakes"),
        ("12_consistency", "15_rotation"),
        ("12_failures", "16_failures"),
    ],
)
def test_a_notebook_of_an_old_name_is_refused_with_the_new_one(project, old, new):
    for path in (project / "notebooks").glob("*.ipynb"):
        path.unlink()
    for path in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb"):
        (project / "notebooks" / path.name).touch()
    (found,) = problems(project, text=f"run: x\na: {{notebook: {old}}}\n")
    assert f"{old}.ipynb: no such notebook" in found
    assert found.endswith(f" (did you mean {new}?)")


def test_all_mistakes_are_told_at_once(project):
    assert len(problems(project, "resnet18.sed=1", "galaxies.image_size=x", "compare.x=1")) == 3


def test_a_title_is_a_text(project):
    (found,) = problems(project, "resnet18.title=[1]")
    assert "resnet18.title: expected a text" in found
