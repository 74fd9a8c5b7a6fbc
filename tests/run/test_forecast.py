"""Fake plans, whose times follow by hand."""

import json
from pathlib import Path

from galaxymorph.run.forecast import Forecast
from galaxymorph.run.notebooks import Notebook
from galaxymorph.run.plan import Job


def planned(name, notebook="n.ipynb"):
    described = Notebook(Path(notebook), (), {}, ())
    return Job(name, name.partition("/")[0], {}, described, {}, (), ())


def test_the_time_left_follows_from_what_similar_jobs_took(tmp_path):
    jobs = [planned("cnn/seed=0"), planned("cnn/seed=1"), planned("moco", "m.ipynb")]
    forecast = Forecast(jobs, tmp_path)
    assert forecast.line(jobs, [], at_once=2) == "0 of 3 jobs"  # nothing is known
    forecast.count(jobs[0], 300.0)
    # the same step took 5 min, of which 2 have passed; any job took 5 min
    assert forecast.line(jobs[2:], [(jobs[1], 120.0)], at_once=1) == "1 of 3 jobs, about 8 min left"
    # in parallel the longest of them counts
    left = forecast.line(jobs[2:], [(jobs[1], 120.0)], at_once=2)
    assert left == "1 of 3 jobs, about 5 min left"
    forecast.count(jobs[1])  # unchanged, or failed: says nothing about time
    assert forecast.line(jobs[2:], [], at_once=2) == "2 of 3 jobs, about 5 min left"
    forecast.count(jobs[2], 20.0)
    assert forecast.line([], [], at_once=2) == "3 of 3 jobs"


def test_earlier_runs_tell_the_time_before_the_first_job_ends(tmp_path):
    jobs = [planned("cnn/seed=0"), planned("cnn/seed=1"), planned("moco", "m.ipynb")]
    for name, seconds in (("cnn/seed=0", 1200.0), ("moco", 60.0)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "done.json").write_text(json.dumps({"seconds": seconds}))
    forecast = Forecast(jobs, tmp_path)
    # 1200 s of its own, 1200 s as its step took, 60 s of its own
    assert [forecast.expected(job) for job in jobs] == [1200.0, 1200.0, 60.0]
    assert forecast.line(jobs, [], at_once=1) == "0 of 3 jobs, about 41 min left"
    forecast.count(jobs[0], 600.0)  # what it takes today
    assert forecast.line(jobs[2:], [], at_once=1) == "1 of 3 jobs, about 1 min left"
    assert forecast.line([], [(jobs[2], 90.0)], at_once=1).endswith("less than a minute left")
