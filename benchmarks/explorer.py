"""Measure the explorer in headless chromium: first paint, pan, lasso, selection, size of the page.

    python benchmarks/explorer.py                    # 100,000 galaxies, 10,000 pictures
    python benchmarks/explorer.py --n 10000 --keep page.html

Galaxies are mock ones, repeated with other noise; features, votes and classes are random. Times are
of the browser's own clock, so they include whatever else the machine is doing: repeat them on a
machine at rest. Goals: first paint within 2 s, 30 frames/s in the median while panning and drawing
a lasso, 50 ms from a selection to its table at the 95th percentile; 15 MB for 10,000 galaxies with
pictures, 25 MB for 100,000 with 10,000 pictures."""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import explorer
from galaxymorph.apply.explored import judged, unusual, with_votes
from galaxymorph.data.mock.survey import mock_survey
from tests.browser import opened

PAN = """async () => {
  const { map } = galaxymorph, gaps = [];
  let last = 0;
  for (let i = 0; i < 60; i++) {
    map.pan(6 * Math.cos(i / 5), 6 * Math.sin(i / 5));
    const now = await new Promise(requestAnimationFrame);
    if (last) gaps.push(now - last);
    last = now;
  }
  return gaps;
}"""
LASSO = """async () => {
  const { map } = galaxymorph, gaps = [];
  let last = 0;
  map.line = [];
  for (let i = 0; i < 60; i++) {
    const angle = i / 9.5;
    map.line.push([map.width / 2 + 150 * Math.cos(angle), map.height / 2 + 150 * Math.sin(angle)]);
    map.draw();
    const now = await new Promise(requestAnimationFrame);
    if (last) gaps.push(now - last);
    last = now;
  }
  map.line = null;
  return gaps;
}"""
SELECT = """async () => {
  const { times, change } = galaxymorph, full = 65535;
  times.selection.length = 0;
  for (let i = 0; i < 40; i++) {
    const area = Array.from({ length: 60 }, (_, k) => [
      full * (0.5 + (0.1 + i / 120) * Math.cos(k / 9.55)),
      full * (0.5 + (0.1 + i / 120) * Math.sin(k / 9.55))]);
    await change({ area });
    await new Promise(requestAnimationFrame);
  }
  return times.selection;
}"""


def galaxies(n: int, pictured: int) -> explorer.Explored:
    """Make a page's content of the size of a run with three methods."""
    rng, classes = np.random.default_rng(0), galaxy_zoo_tree.CLASSES[4]
    true = rng.integers(0, 4, n)
    p = {name: rng.dirichlet(np.full(4, 0.4), n) for name in ("CNN", "ResNet18", "forest")}
    features = (np.eye(192)[true] * 4 + rng.normal(size=(n, 192))).astype(np.float32)
    main = judged(p["CNN"], classes, pd.Series(np.array(classes)[true]))
    main = main.assign(split=rng.choice(["train", "test"], n)).join(unusual(features))
    said = pd.DataFrame({name: judged(each, classes, None).predicted for name, each in p.items()})
    survey = mock_survey(min(pictured, 2000)).images.numpy()
    pictures = survey[np.arange(pictured) % len(survey)].astype(np.int16)
    pictures += rng.integers(-3, 4, pictures.shape, np.int16)
    made = explorer.Explored(
        ids=[f"mock-0-{i:07d}" for i in range(n)],
        projections={"map": rng.normal(size=(n, 2)) + 4 * np.eye(4)[true][:, :2]},
        columns={"galaxy": main, "methods": said},
        classes=classes,
        probabilities=p,
        features=features,
        pictures=pictures.clip(0, 255).astype(np.uint8),
        pictured=np.sort(rng.permutation(n)[:pictured]),
    )
    votes = galaxy_zoo_tree.cumulative(galaxy_zoo_tree.shares(rng.random((n, 37)) ** 3))
    with_votes(made, None, votes)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000, help="galaxies (default: 100,000)")
    parser.add_argument("--pictures", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--keep", type=Path, help="keep the page as this file")
    parser.add_argument("--draw", default="", help="webgl or canvas (default: what the page takes)")
    options = parser.parse_args()
    given = galaxies(options.n, min(options.n, options.pictures))
    page = explorer.page(given, title=f"{options.n:,} galaxies")
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        draw = f"?draw={options.draw}" if options.draw else ""
        with opened(path, address=draw) as shown:
            shown.page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
            times = shown.page.evaluate("galaxymorph.times")
            gaps = {"pan": shown.page.evaluate(PAN), "lasso": shown.page.evaluate(LASSO)}
            selections = shown.page.evaluate(SELECT)
            backend = shown.page.evaluate("galaxymorph.map.backend")
            print(f"{path.stat().st_size / 1e6:.1f} MB, drawn by {backend}")
            print(f"first paint {times['paint']:.0f} ms, all read {times['ready']:.0f} ms")
            for name, each in gaps.items():
                print(f"{name}: {1000 / np.median(each):.0f} frames/s in the median")
            print(f"selection to table: 95th percentile {np.percentile(selections, 95):.0f} ms")
            print(f"requests: {len(shown.outside())}, messages: {shown.errors}")


if __name__ == "__main__":
    main()
