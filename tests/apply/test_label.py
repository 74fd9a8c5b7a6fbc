"""The labelling page: what is on it, and a person's session in a browser without a network."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxymorph import cli
from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.apply import label
from galaxymorph.evaluation import annotations
from tests import browser

CLASSES = "round,edge-on,spiral"


@pytest.fixture
def folder(tmp_path):
    """Ten galaxies, 0 to 9."""
    images, rng = tmp_path / "images", np.random.default_rng(0)
    images.mkdir()
    for n in range(10):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(images / f"{n}.png")
    return images


def made(folder, *more, out=None):
    """Write a page by the command line; return its path."""
    out = out or folder.parent / "label.html"
    given = ["label", "--images", str(folder), "--out", str(out), *map(str, more)]
    if not {"--tree", "--classes"} & set(given):
        given += ["--classes", CLASSES]
    assert cli.main(given) == 0
    return out


def data(page):
    return json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])


def ids(page):
    return [id for id, _ in data(page)["galaxies"]]


def table(file, text):
    file.write_text(text)
    return file


def saved(shown, tmp_path):
    """Save by the keyboard; return the rows, which the library reads, too."""
    with shown.page.expect_download() as download:
        shown.page.keyboard.press("Control+s")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    if len(rows := list(csv.DictReader(io.StringIO(file.read_text())))):
        assert len(annotations.read([file]).rows) == len(rows)
    return file, rows


def keys(shown, text):
    for key in text.split():
        shown.page.keyboard.press(key)


def counts(shown, text):
    """Wait until the page has labelled as many galaxies as this."""
    from playwright.sync_api import expect

    # not `wait_for_function`: it evaluates a text, which the page's policy forbids
    expect(shown.page.locator("#count")).to_have_text(re.compile(f"^{text}"), timeout=30_000)


# ---- what is on the page


def test_all_galaxies_come_in_random_order_the_same_for_everybody(folder):
    page = made(folder)
    assert sorted(ids(page)) == [*"0123456789"] != ids(page)
    assert ids(made(folder, out=folder.parent / "b.html")) == ids(page)
    assert ids(made(folder, "--n", 3)) == ids(page)[:3]


def test_ids_keep_their_order_and_their_spelling_may_differ(folder):
    wanted = table(folder.parent / "next.csv", "id,score\n7.png,3\n007,2\n2,1\n")
    with pytest.raises(ValueError, match="line 3: no galaxy '007' among the 10 images"):
        label.chosen([folder], wanted)
    wanted.write_text("id,score\n7.png,3\n2,1\n")
    assert ids(made(folder, "--ids", wanted)) == ["7", "2"]


def test_golden_galaxies_are_mixed_in_and_their_answers_are_not_on_the_page(folder):
    golden = table(folder.parent / "g.csv", "id,label\n3,spiral\n8,spiral\n7,round\n")
    wanted = table(folder.parent / "next.csv", "id\n7\n2\n1\n0\n")
    page = made(folder, "--ids", wanted, "--golden", golden)
    assert sorted(ids(page)) == [*"012378"]
    assert [id for id in ids(page) if id in "7210"] == [*"7210"]
    assert "golden" not in page.read_text() and page.read_text().count("spiral") == 1


def test_pictures_are_cropped_and_not_enlarged(tmp_path):
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[40:60, 40:60] = 255
    Image.fromarray(pixels).save(tmp_path / "1.png")
    Image.fromarray(np.full((900, 900, 3), 50, np.uint8)).save(tmp_path / "2.png")
    found = label.chosen([tmp_path], None)

    def drawn(crop, encode):
        return dict(zip(*label.drawn(found, crop, encode)[:2], strict=True))

    for crop, expected in ((20, [(20, 20), (20, 20)]), (None, [(100, 100), (384, 384)])):
        got = drawn(crop, lambda each: json.dumps(each.shape[:2]))
        assert [tuple(json.loads(got[id])) for id in "12"] == expected
    assert drawn(20, lambda each: str(each.min()))["1"] == "255"


def test_unreadable_images_are_left_out_and_named(folder, capsys):
    (folder / "3.png").write_bytes(b"no image")
    page = folder.parent / "x.html"
    given = ["label", "--images", str(folder), "--classes", CLASSES, "--out", str(page)]
    assert cli.main(given) == 3
    assert "3" not in ids(page) and "3.png: not a valid image" in capsys.readouterr().err


MISTAKES = {
    "no classes": (["--classes", "round"], "expected two or more different classes"),
    "same": (["--classes", "a,A"], "expected two or more different classes"),
    "reserved": (["--classes", "a,Cannot tell,b"], "leave out cannot tell"),
    "both": (["--classes", "a,b", "--tree"], "either --classes a,b,c or --tree"),
    "neither": ([], "either --classes a,b,c or --tree"),
    "ending": (["--classes", "a,b", "--out", "x.csv"], "x.csv: the page needs the ending .html"),
    "n": (["--classes", "a,b", "--n", "0"], "n=0: expected at least 1"),
    "crop": (["--classes", "a,b", "--crop", "99"], "crop of 99 px, but the image has only 32"),
    "ids": (["--classes", "a,b", "--ids", "ids"], "ids.csv, line 3: no galaxy 'x' among"),
    "twice": (["--classes", "a,b", "--ids", "twice"], "duplicate id '1' (rows 2, 3)"),
    "golden": (["--classes", "a,b", "--golden", "g"], "g.csv, line 2: unknown class 'round'"),
    "tree": (["--tree", "--golden", "g"], "g.csv: no column 'answers'"),
    "answers": (["--tree", "--golden", "t"], "t.csv, line 3: unknown answer 'soft' to 'smooth'"),
}
TABLES = {"ids": "id\n1\nx\n", "twice": "id\n1\n1\n", "g": "id,label\n1,round\n"}
TABLES |= {"t": "id,answers\n1,smooth=smooth\n2,smooth=soft\n"}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_and_nothing_is_written(folder, capsys, monkeypatch, name):
    monkeypatch.chdir(folder.parent)
    given, expected = MISTAKES[name]
    for stem, text in TABLES.items():
        Path(f"{stem}.csv").write_text(text)
    given = [f"{each}.csv" if each in TABLES else each for each in given]
    out = [] if "--out" in given else ["--out", "page.html"]
    assert cli.main(["label", "--images", "images", *out, *given]) == 2
    assert expected in capsys.readouterr().err
    assert not [*Path().glob("*.html"), *Path().glob("x*")]


def test_too_many_galaxies_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(label, "MOST", 5)
    with pytest.raises(ValueError, match="10 galaxies, but a page has at most 5: choose some"):
        label.label(images=[folder], out=folder.parent / "x.html", tree=True)


def test_names_are_never_code(folder):
    page = made(folder, "--annotator", "</script><b>", "--classes", "<i>,b&c")
    assert data(page)["annotator"] == "</script><b>"
    assert data(page)["questions"][0]["answers"] == ["<i>", "b&c"]


def test_galaxies_are_exported_and_labels_imported(folder, capsys):
    out = folder.parent / "set"
    given = ["labels", "export", "--to", "zooniverse", "--images", str(folder), "--out", str(out)]
    assert cli.main(given) == 0
    manifest = pd.read_csv(out / "manifest.csv", dtype=str)
    assert sorted(manifest["#galaxy"]) == [*"0123456789"]
    with Image.open(out / manifest.image[0]) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 32))
    out = folder.parent / "tasks.json"
    given = ["labels", "export", "--to", "label-studio", "--images", str(folder), "--tree"]
    assert cli.main([*given, "--out", str(out)]) == 0
    tasks = json.loads(out.read_text())
    for task in tasks:
        result = {"type": "choices", "from_name": "smooth", "value": {"choices": ["artifact"]}}
        task["annotations"] = [{"completed_by": 1, "result": [result]}]
    out.write_text(json.dumps(tasks))
    imported = folder.parent / "in.csv"
    given = ["labels", "import", str(out), "--from", "label-studio", "--out", str(imported)]
    assert cli.main(given) == 0
    assert cli.main(["labels", "merge", str(imported), "--out", str(folder.parent / "l.csv")]) == 0
    assert "without a class: artifact 10" in capsys.readouterr().out
    assert cli.main(["labels", "merge", "--out", "x.csv"]) == 2
    assert "labels merge needs FILE" in capsys.readouterr().err
    for more, expected in (
        (["--tree", "--to", "zooniverse"], "labels merge does not use --to, --tree"),
        (["--images", str(folder)], "line 2 (id z): no such galaxy among the 10 images"),
    ):
        wrong = table(folder.parent / "w.csv", "id,label\nz,x\n")
        assert cli.main(["labels", "merge", str(wrong), "--out", "x.csv", *more]) == 2
        assert expected in capsys.readouterr().err


def test_merged_labels_are_read_by_the_source_folder(folder):
    from galaxymorph.data.load import load

    merged = folder.parent / "labels.csv"
    files = []
    for name, labels in (("anna", "xyxyxyxyx"), ("ben", "xyxyxyxyy")):
        files.append(folder.parent / f"{name}.csv")
        rows = [f"{id},{each}" for id, each in zip("012345678", labels, strict=True)]
        files[-1].write_text("\n".join(["id,label", *rows]) + "\n")
    assert cli.main(["labels", "merge", *map(str, files), "--out", str(merged)]) == 0
    options = {"root": folder, "labels": merged, "image_size": 32, "test": 0.25, "val": 0.25}
    galaxies = load("folder", **options, cache=folder.parent / "cache", on_bad="skip")
    assert galaxies.classes == ("x", "y") and galaxies.labels.tolist() == [0, 1] * 4 + [-1, -1]
    given = ["data", "check", str(folder), "-s", f"galaxies.labels={merged}"]
    given += ["--out", str(folder.parent / "check.html")]
    assert cli.main(given) == 1  # some images have no row
    assert cli.main([*given, "-s", "galaxies.on_bad=skip"]) == 0


# ---- in a browser


@pytest.mark.long
def test_a_session_by_keys_is_kept_and_goes_on_after_a_reload(folder, tmp_path):
    page = made(folder, "--annotator", "anna")
    order = ids(page)
    with browser.opened(page) as shown:
        keys(shown, "1 2 3 a c s 1 u 2")
        shown.page.reload()
        counts(shown, "6 of 10")
        assert shown.page.inner_text("#id") == order[7]
        keys(shown, "1 1 1")
        assert shown.page.inner_text("#id") == order[5]  # the skipped one
        keys(shown, "3")
        assert shown.page.is_visible("#done") and not shown.page.is_visible("#work")
        file, rows = saved(shown, tmp_path)
        assert shown.errors == [] and shown.outside() == []
    assert file.name == "labels_anna.csv"
    expected = ["round", "edge-on", "spiral", "star or artifact", "cannot tell", "edge-on"]
    expected += ["round"] * 3 + ["spiral"]
    assert [row["label"] for row in rows] == expected
    assert [row["id"] for row in rows] == [*order[:5], *order[6:], order[5]]
    assert {row["annotator"] for row in rows} == {"anna"}
    assert all(float(row["seconds"]) >= 0 and row["time"].endswith("Z") for row in rows)


@pytest.mark.long
def test_the_tree_is_asked_as_in_galaxy_zoo_and_undo_goes_back_an_answer(folder, tmp_path):
    with browser.opened(made(folder, "--tree", "--n", 2)) as shown:
        shown.page.fill("#name", "ben")
        shown.page.keyboard.press("Enter")
        given, way = {}, ["features", "no", "yes", "yes", "tight"]
        for answer in (*way, "can't tell", "obvious", "no"):
            question = tree.next_question(given)
            assert shown.page.inner_text("#question") == tree.PROMPTS[question.name]
            assert shown.page.locator("#answers button").count() == len(question.answers)
            keys(shown, str(1 + question.answers.index(answer)))
            given[question.name] = answer
        counts(shown, "1 of 2")
        keys(shown, "u u")
        assert shown.page.inner_text("#question") == tree.PROMPTS["bulge"]
        assert "arms: can't tell" in shown.page.inner_text("#path")
        keys(shown, "4 2 2 a")
        file, rows = saved(shown, tmp_path)
        keys(shown, "u u u")
        assert shown.page.inner_text("#question") == tree.PROMPTS["odd"]
        shown.page.set_input_files("#file", file)
        shown.page.wait_for_selector("#done:visible")
        assert saved(shown, tmp_path)[1] == rows and shown.errors == []
    given["bulge"] = "dominant"
    assert [row["answers"] for row in rows] == [tree.text_of(given), "smooth=artifact"]


@pytest.mark.long
def test_a_saved_file_goes_on_in_another_browser_and_wrong_ones_change_nothing(folder, tmp_path):
    page = made(folder, "--annotator", "anna")
    with browser.opened(page) as shown:
        keys(shown, "1 2")
        file, _ = saved(shown, tmp_path)
    with browser.opened(page) as shown:
        counts(shown, "0 of 10")
        wrong = table(tmp_path / "w.csv", "id,label\n1,round\n1,oval\n")
        shown.page.set_input_files("#file", wrong)
        shown.page.wait_for_selector("#alert:visible")
        alert = shown.page.inner_text("#alert")
        assert "w.csv: line 3: no answer “oval” to label" in alert and "Nothing was" in alert
        counts(shown, "0 of 10")
        shown.page.set_input_files("#file", file)
        counts(shown, "2 of 10")
        keys(shown, "3")
        assert [row["label"] for row in saved(shown, tmp_path)[1]] == ["round", "edge-on", "spiral"]


@pytest.mark.long
def test_sets_and_people_do_not_mix_and_without_storage_the_page_says_so(folder):
    page = made(folder)
    with browser.opened(page) as shown:
        for name in ("anna", "ben"):
            shown.page.fill("#name", name)
            shown.page.keyboard.press("Enter")
            for done in range(2):
                counts(shown, f"{done} of 10")
                keys(shown, "1")
            counts(shown, "2 of 10")
            shown.page.click("#person")
        other = made(folder, "--n", 9, out=folder.parent / "other.html")
        shown.page.goto(other.as_uri())
        assert shown.page.is_visible("#who")
        shown.page.goto(page.as_uri())
        counts(shown, "2 of 10")
        denied = "Object.defineProperty(window, 'localStorage', {get() { throw new Error(); }})"
        shown.page.add_init_script(denied)
        shown.page.reload()
        shown.page.fill("#name", "ben")
        shown.page.keyboard.press("Enter")
        assert "keeps nothing" in shown.page.inner_text("#alert")
        keys(shown, "1")
        counts(shown, "1 of 10")
        assert shown.errors == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("more", "scheme"),
    [
        (["--annotator", "x"], "light"),
        (["--tree", "--annotator", "x"], "dark"),
        ([], "light"),
    ],
)
def test_a_phone_shows_all_of_it_and_axe_finds_nothing_serious(folder, more, scheme):
    page = made(folder, *more)
    phone = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}
    with browser.opened(page, color_scheme=scheme, **phone) as shown:
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert shown.axe() == []
        if more:
            shown.page.tap("#answers button")
            box = shown.page.locator(".undo:visible").bounding_box()
            assert box["y"] + box["height"] < 844
            assert shown.page.inner_text("#last")


@pytest.mark.long
def test_the_next_pictures_are_decoded_before_they_are_shown(folder):
    with browser.opened(made(folder, "--annotator", "x")) as shown:
        keys(shown, "1")
        ready = "[...decoded.values()].filter((each) => each.complete && each.naturalWidth).length"
        for _ in range(300):  # `wait_for_function` may evaluate a text, which the page forbids
            if shown.page.evaluate(ready) == 5:
                return
            shown.page.wait_for_timeout(100)
        raise AssertionError(shown.page.evaluate(ready))


def test_pure_functions_in_node(tmp_path):
    node = browser.node()
    shutil.copy(label.ASSETS / "labelling.js", tmp_path)
    shutil.copy(Path(__file__).with_name("labelling.test.mjs"), tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    questions = label.asked(None, True)

    def walks(given):
        if (question := tree.next_question(given)) is None:
            return [list(given.items())]
        answers = question.answers
        return [end for each in answers for end in walks(given | {question.name: each})]

    known = {"questions": questions, "end": tree.END, "walks": walks({})}
    (tmp_path / "tree.json").write_text(json.dumps(known))
    command = [node, "--test", "labelling.test.mjs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_joined_without_imports(tmp_path):
    (tmp_path / "a.js").write_text(
        'import { b } from "./b.js";\nexport const c = b;\n// export d\n'
    )
    assert label._plain_script(tmp_path / "a.js") == "const c = b;\n// export d\n"
