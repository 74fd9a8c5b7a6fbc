"""Compare the network in a page with `galaxymorph predict`, in a browser, file by file.

    python benchmarks/page_model.py
    python benchmarks/page_model.py --real FOLDER --like '*.jpg'

The files are PNG files of mock galaxies of 64 px and, of every fourth, of 200 px; with --real they
are those of a folder, as they are and decoded and saved as PNG files. Needs playwright and
chromium. With --node the network alone is timed, in processor time."""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply import page_model
from galaxymorph.apply.predict import predict
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.data.pictures import read_image, to_rgb

PAGE = """<!doctype html><input type=file multiple><script>%s
const {classifier} = page, classify = classifier(%s);
async function all() {
  const answers = [];
  for (const file of document.querySelector("input").files) {
    const start = performance.now();
    const answer = await classify(file).catch((error) => ({ error: error.message }));
    answers.push({ ...answer, features: null, cutout: null, ms: performance.now() - start });
  }
  return answers;
}
</script>"""
TIMED = """const network = page.load(JSON.parse(require("node:fs").readFileSync(0, "utf8")));
const side = network.image_size, times = [];
const data = new Uint8Array(3 * side * side).map((_, at) => (at * 37) %% 256);
for (let turn = 0; turn < %d; turn++) {
  const start = process.cpuUsage();
  page.forward(network, { width: side, height: side, data });
  const { user, system } = process.cpuUsage(start);
  times.push((user + system) / 1000);
}
console.log(JSON.stringify(times));"""


def in_page(model: Path, files: list[Path], folder: Path) -> list[dict]:
    """Classify files in a page."""
    text = json.dumps(page_model.export(model)).replace("<", "\\u003c")
    (folder / "page.html").write_text(PAGE % (page_model.script("classify.js"), text))
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(offline=True)
        tab.set_default_timeout(0)
        tab.goto(f"file://{folder}/page.html")
        tab.set_input_files("input", [str(file) for file in files])
        answers = tab.evaluate("all()")
        browser.close()
    return answers


def predicted(model: Path, files: list[Path], out: Path) -> pd.DataFrame:
    """Predict the same files; a row each, of NaN for a file that is left out."""
    predict(model, [files[0].parent], out, say=len, force=True)
    table = pd.read_csv(out, dtype={"id": str}).set_index("id")
    return table.reindex([file.stem for file in files])


def compare(name: str, answers: list[dict], table: pd.DataFrame) -> None:
    """Print how far a page and a table are apart."""
    both = [k for k, each in enumerate(answers) if "error" not in each and table.iloc[k, 0] >= 0]
    answers, table = [answers[k] for k in both], table.iloc[both]
    classes = answers[0]["classes"]
    p = table[[f"p_{each}" for each in classes]].to_numpy()
    ours = np.array([each["probabilities"] for each in answers])
    apart = np.abs(ours - p).max(1)
    same = np.count_nonzero(ours.argmax(1) == p.argmax(1))
    line = f"{name}: {same:,} of {len(p):,} in the same class; probabilities differ by "
    line += f"{apart.max():.1e} at most, {np.median(apart):.1e} in the median, "
    line += f"{np.count_nonzero(apart > 1e-3):,} by more than 1e-3"
    if answers[0]["votes"]:
        votes = table[list(galaxy_zoo_tree.COLUMNS)].to_numpy()
        most = np.abs(np.array([each["votes"] for each in answers]) - votes).max()
        distance = np.array([each["unlike"] for each in answers])
        other = np.count_nonzero((distance > 1) != (table.unlike_training.to_numpy() > 1))
        sets = table["set"].fillna("")
        rows = zip(answers, sets, strict=True)
        differ = sum("|".join(each["set"]) != there for each, there in rows)
        line += f"; votes by {most:.1e}; {differ} sets and {other} verdicts `unlike` differ"
    print(line)


def mock_files(folder: Path, n: int) -> None:
    """Write PNG files of mock galaxies, every fourth of 200 px."""
    for side, count in ((64, n - n // 4), (200, n // 4)):
        for number, pixels in enumerate(mock_survey(count, image_size=side, seed=side).images):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{side}-{number}.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=project.BUNDLED)
    parser.add_argument("--galaxies", type=int, default=1000, help="at most (default: 1000)")
    parser.add_argument("--real", type=Path, help="folder of real galaxies")
    parser.add_argument("--like", default="*.jpg", help="names of the files in it")
    parser.add_argument("--node", type=int, default=0, help="turns of the network alone")
    given = parser.parse_args()
    if given.node:
        script = page_model.script("network.js") + TIMED % given.node
        model = json.dumps(page_model.export(given.model))
        command = ["node", "-e", script]
        done = subprocess.run(command, input=model, capture_output=True, text=True, check=True)
        times = json.loads(done.stdout)
        print(f"the network alone: {np.median(times):.0f} ms in the median, first {times[0]:.0f}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        sets = {name: Path(scratch) / name for name in ("PNG files", "files as they are")}
        for folder in sets.values():
            folder.mkdir()
        if given.real:
            for path in sorted(given.real.rglob(given.like))[: given.galaxies]:
                name = re.sub(r"\W", "-", str(path.relative_to(given.real).with_suffix("")))
                shutil.copy(path, sets["files as they are"] / f"{name}{path.suffix}")
                decoded, _ = to_rgb(read_image(str(path))[0])
                decoded.save(sets["PNG files"] / f"{name}.png")
        else:
            mock_files(sets["PNG files"], given.galaxies)
        for name, folder in sets.items():
            files = sorted(folder.iterdir())
            if not files:
                continue
            answers = in_page(given.model, files, Path(scratch))
            failed = [each["error"] for each in answers if "error" in each]
            for why in sorted(set(failed)):
                print(f"{name}: {failed.count(why)} refused: {why}")
            times = np.median([each["ms"] for each in answers])
            print(f"{name}: {times:.0f} ms each, in the median, on a machine that may be busy")
            table = predicted(given.model, files, Path(scratch) / "table.csv")
            compare(name, answers, table)


if __name__ == "__main__":
    main()
