"""A sweep trains every row with every seed once, whatever befalls it, and says what came out."""

import csv
import json
import math
import os
import shutil
import signal
import statistics
import time

import pytest
import sacrebleu
import torch
from forked_programs import fork, start_forked
from interruptions import same_bits

from sekd_plugin.cli import main
from sekd_plugin.errors import SekdError
from sekd_plugin.programs import process
from sekd_plugin.programs.folder_lock import alone

ROWS = {
    "plain": None,
    "slow": {"settings": {"optimizer.config.lr": 0.003}},
}


def weights(folder, step=8):
    file = folder / "checkpoints" / f"step_{step}" / "model/pp_00/tp_00/sdp_00.pt"
    return torch.load(file, weights_only=True)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_sweep_that_is_killed_goes_on_and_ends_as_if_nothing_had_happened(sweeping, monkeypatch):
    sweeping.write(rows=ROWS, baseline="plain")

    def sweep_that_dies():
        started = []

        def start(command, log, **how):
            started.append(command)
            if len(started) == 1:
                return start_forked(command, log, **how)
            half = start_forked((*command, "--stop-after", "4"), log, **how)
            while half.poll() is None:
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(process, "start_command", start)
        return main(["sweep", str(sweeping.file), str(sweeping.out), "--jobs", "1"])

    dying = fork(sweep_that_dies)
    while dying.poll() is None:
        time.sleep(0.02)
    assert dying.code == -signal.SIGKILL
    assert sweeping.record("plain/seed_1")["is_trained"]
    assert sweeping.record("plain/seed_2")["state"] == "training"
    before = times(sweeping.out / "runs/plain/seed_1")

    sweeping.run()

    assert times(sweeping.out / "runs/plain/seed_1") == before, "a finished run was touched"
    log = (sweeping.out / "logs/plain/seed_2.log").read_text()
    assert "Resuming from step 4" in log
    settings = [
        "translation={bleu: true, max_sentences: 8, max_target_tokens: 12}",
        "regime.score_metric=bleu",
        "regime.validate_every_n_steps=4",
        "regime.checkpoint_every_n_steps=4",
        "common.seed=2",
    ]
    sweeping.workshop.train("by_hand", *settings)
    assert same_bits(
        weights(sweeping.workshop.folder / "by_hand"), weights(sweeping.out / "runs/plain/seed_2")
    )
    check_report(sweeping)

    everything = times(sweeping.out / "runs") | times(sweeping.out / "scores")
    sweeping.run()
    assert times(sweeping.out / "runs") | times(sweeping.out / "scores") == everything


def check_report(sweeping):
    """The report's numbers against the translations themselves."""
    results = sweeping.results()
    assert [row["name"] for row in results["rows"]] == ["plain", "slow"]
    lines = (sweeping.workshop.folder / "test.jsonl").read_text().splitlines()
    references = [json.loads(line)["tgt"] for line in lines]
    bleu = {}
    for row in results["rows"]:
        for run in row["seeds"]:
            file = sweeping.out / "translations" / row["name"] / f"seed_{run['seed']}.txt"
            score = sacrebleu.corpus_bleu(file.read_text().splitlines(), [references]).score
            assert run["scores"]["BLEU"] == score
            bleu[row["name"], run["seed"]] = score
        scores = [bleu[row["name"], seed] for seed in (1, 2)]
        found = row["summaries"]["BLEU"]
        assert math.isclose(found["mean"], statistics.mean(scores))
        assert math.isclose(found["deviation"], statistics.stdev(scores), abs_tol=1e-12)
        assert [step for step, _ in row["curve"]] == [4, 8]
    assert results["rows"][0]["against"] == {}
    against = results["rows"][1]["against"]["BLEU"]
    difference = statistics.mean(bleu["slow", seed] - bleu["plain", seed] for seed in (1, 2))
    assert math.isclose(against["over_sentences"]["difference"], difference, abs_tol=1e-9)
    assert math.isclose(against["over_seeds"]["mean"], difference, abs_tol=1e-9)

    table = list(csv.DictReader((sweeping.out / "results.csv").open()))
    assert [(line["row"], line["seed"]) for line in table] == [
        ("plain", "1"), ("plain", "2"), ("slow", "1"), ("slow", "2"),
    ]  # fmt: skip
    assert float(table[0]["BLEU"]) == bleu["plain", 1]
    page = (sweeping.out / "results.md").read_text()
    mean = statistics.mean(bleu["plain", seed] for seed in (1, 2))
    assert f"| plain | 2 | {mean:.2f} ± " in page
    assert "12 test sentences" in page and "BLEU: `nrefs:1|" in page


def test_a_row_that_fails_is_told_stops_no_other_and_is_tried_again(sweeping):
    missing = sweeping.workshop.folder / "start"
    sweeping.write(
        seeds=[1],
        rows={
            "diverges": {"settings": {"optimizer.config.lr": 1e20}},
            "plain": {"settings": {"regime.num_steps": 4}},
        },
    )
    out, error = sweeping.run(expect=1)

    (failure,) = sweeping.results()["failures"]
    assert failure["run"] == "diverges/seed_1"
    log = (sweeping.out / "logs/diverges/seed_1.log").read_text()
    assert failure["problem"] == f"exit code 3: {log.strip().splitlines()[-1].strip()}"
    assert "the same command tries what failed again" in out
    assert [row["name"] for row in sweeping.results()["rows"]] == ["plain"]
    assert "**diverges/seed_1 failed**" in (sweeping.out / "results.md").read_text()

    before = times(sweeping.out / "runs/plain")
    out, error = sweeping.run(expect=1)
    assert "diverges/seed_1: had failed; it is tried again" in error
    assert times(sweeping.out / "runs/plain") == before
    assert not missing.exists()

    out, _ = sweeping.run("--only", "plain")
    assert "failed" not in out, "what was not worked on is no failure of this command"
    out, _ = sweeping.run("--report", expect=1)
    assert "without --report the same command tries what failed again" in out


def test_halving_ends_as_training_to_the_end_does_and_tests_what_validation_chose(sweeping):
    rows = {"tuned": {"tune": {"optimizer.config.lr": [0.0001, 0.02]}}}
    sweeping.write(rows=rows, seeds=[3], halving={"steps": [4], "keep": 0.3})
    _, error = sweeping.run()

    (decision,) = json.loads((sweeping.out / "halving/tuned.json").read_text())
    scores = {}
    for trial in ("lr=0.0001", "lr=0.02"):
        folder = sweeping.out / "runs/tuned" / trial / "seed_3"
        lines = (folder / "metrics/valid/bleu.jsonl").read_text().splitlines()
        scores[f"tuned/{trial}"] = {each["Step"]: each["BLEU"] for each in map(json.loads, lines)}
    assert decision["scores"] == {trial: found[4] for trial, found in scores.items()}
    best = max(scores, key=lambda trial: scores[trial][4])
    assert decision["kept"] == [best]
    assert {trial: sorted(found) for trial, found in scores.items()} == {
        trial: [4, 8] if trial == best else [4] for trial in scores
    }

    rate = best.rpartition("=")[2]
    sweeping.workshop.train(
        "whole",
        "translation={bleu: true, max_sentences: 8, max_target_tokens: 12}",
        "regime.score_metric=bleu",
        "regime.validate_every_n_steps=4",
        "regime.checkpoint_every_n_steps=4",
        "common.seed=3",
        f"optimizer.config.lr={rate}",
    )
    folder = sweeping.workshop.folder / "whole"
    assert same_bits(weights(folder), weights(sweeping.out / "runs" / best / "seed_3"))

    (row,) = sweeping.results()["rows"]
    assert row["trial"] == best
    given_up = {each["name"]: each["given_up_after"] for each in row["tried"]}
    assert given_up == {trial: None if trial == best else 4 for trial in scores}
    assert not (sweeping.out / "halving/tuned.json.partial").exists()

    sweeping.write(rows=rows, seeds=[3], halving={"steps": [4], "keep": 0.5})
    _, error = sweeping.run(expect=2)
    assert "was halved after step 4, keeping 0.3" in error

    rows["tuned"]["tune"]["optimizer.config.lr"].append(0.05)
    sweeping.write(rows=rows, seeds=[3], halving={"steps": [4], "keep": 0.3})
    _, error = sweeping.run(expect=2)
    assert "row tuned was halved with other trials than the sweep file has now" in error


def test_changed_settings_are_refused_and_new_rows_are_not(sweeping):
    short = {"regime.num_steps": 4}
    sweeping.write(rows={"a": {"settings": short}}, seeds=[1])
    sweeping.run()
    before = times(sweeping.out / "runs")

    sweeping.write(rows={"a": {"settings": {**short, "optimizer.config.lr": 0.5}}}, seeds=[1])
    _, error = sweeping.run(expect=2)
    assert len(error.splitlines()) == 1 and error.startswith("sekd sweep: row a, seed 1: ")
    assert "optimizer.config.lr was 0.01, is now 0.5" in error
    assert times(sweeping.out / "runs") == before
    sweeping.write(rows={"a": {"settings": {**short, "trainer.max_grad_norm": None}}}, seeds=[1])
    _, error = sweeping.run(expect=2)
    assert "trainer" in error and "was not set, is now" in error, "its default is not None"

    other = {**short, "translation": {"bleu": True, "max_sentences": 4, "max_target_tokens": 12}}
    both = {"a": {"settings": short}, "o": {"settings": other}, "best": {"choose": ["a", "o"]}}
    sweeping.write(rows=both, seeds=[1])
    _, error = sweeping.run(expect=2)
    assert "row o: translation differs from that of a" in error, "though a is trained"

    sweeping.write(rows={"b": {"settings": short}, "c": {"settings": short}}, seeds=[1])
    _, error = sweeping.run("--only", "c")
    assert "a/seed_1: not in the sweep file; left alone" in error
    assert {path.name for path in (sweeping.out / "runs").iterdir()} == {"a", "c"}
    out, _ = sweeping.run("--report")
    assert "without a result: b" in out

    with alone(sweeping.out / "records/lock", sweeping.out, "sweep"):
        _, error = sweeping.run(expect=2)
    assert "another sweep is at work there" in error


def test_ctrl_c_has_the_trainings_save_themselves(sweeping, monkeypatch):
    sweeping.write(rows={"long": {"settings": {"regime.num_steps": 100000}}}, seeds=[1])

    def start(command, log, **how):
        program = start_forked(command, log, **how)
        checkpoint = sweeping.out / "runs/long/seed_1/checkpoints/step_4"
        while not checkpoint.exists():
            assert program.poll() is None, log.read_text()
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        return program

    monkeypatch.setattr(process, "start_command", start)
    _, error = sweeping.run(expect=128 + signal.SIGINT)

    assert error.splitlines()[-1] == (
        "sekd sweep: stopped by SIGINT; the same command goes on from here"
    )
    record = sweeping.record("long/seed_1")
    assert record["state"] == "waiting" and record["problem"] is None
    log = (sweeping.out / "logs/long/seed_1.log").read_text()
    assert "stopped by SIGTERM after step" in log.splitlines()[-1]


def test_a_program_is_started_with_its_log_its_variables_and_the_lock(tmp_path):
    code = 'import os\nprint("seven:", os.environ["OMP_NUM_THREADS"])\n'
    (tmp_path / "says_threads.py").write_text(code)
    with alone(tmp_path / "lock", tmp_path, "test") as lock:
        program = process.start_command(
            ("list", "forward_kl", "--plugin", "says_threads"),
            tmp_path / "logs/a.log",
            lock=lock,
            environment={"OMP_NUM_THREADS": "7", "PYTHONPATH": str(tmp_path)},
        )
    with (
        pytest.raises(SekdError, match="another test is at work"),
        alone(tmp_path / "lock", tmp_path, "test"),
    ):
        pass
    while program.poll() is None:
        time.sleep(0.02)
    assert program.poll() == 0
    log = (tmp_path / "logs/a.log").read_text()
    assert "seven: 7" in log and "forward_kl (divergence" in log
    with alone(tmp_path / "lock", tmp_path, "test"):
        pass


def test_another_search_scores_anew_and_trains_nothing(sweeping):
    rows = {"a": {"settings": {"regime.num_steps": 4}}}
    test = {"path": str(sweeping.workshop.folder / "test.jsonl"), "bootstrap_samples": 20}
    sweeping.write(rows=rows, seeds=[1], test=test)
    sweeping.run()
    before = times(sweeping.out / "runs")
    scores = json.loads((sweeping.out / "scores/a/seed_1.json").read_text())
    assert scores["systems"][0]["made_from"]["search"]["beam_size"] == 1

    sweeping.write(rows=rows, seeds=[1], test={**test, "beam_size": 2})
    out, _ = sweeping.run("--report")
    assert "without a result: a" in out, "scores of another search are no result"
    sweeping.run()

    scores = json.loads((sweeping.out / "scores/a/seed_1.json").read_text())
    assert scores["systems"][0]["made_from"]["search"]["beam_size"] == 2
    assert times(sweeping.out / "runs") == before

    table, kept = (sweeping.out / "results.csv").read_text(), sweeping.out / "translations/a"
    shutil.rmtree(kept)
    out, _ = sweeping.run("--report")
    assert "without a result: a" in out
    sweeping.run()
    assert (sweeping.out / "results.csv").read_text() == table and kept.is_dir()
    (sweeping.out / "scores/a/seed_1.json").write_text("{")
    _, error = sweeping.run(expect=2)
    assert "scores/a/seed_1.json: holds no scores; it is damaged" in error


def test_tables_share_rows_and_a_choice_reports_what_is_best_on_the_validation_set(sweeping):
    sweeping.write(
        seeds=[1],
        rows={
            "plain": {"settings": {"regime.num_steps": 4}},
            "rate": {
                "grid": {"optimizer.config.lr": [0.0001, 0.02]},
                "settings": {"regime.num_steps": 4},
            },
            "untouched": None,
            "best": {"choose": ["rate"]},
        },
        settings={
            "translation.bleu": True,
            "translation.max_sentences": 8,
            "regime.score_metric": "bleu",
            "regime.validate_every_n_steps": 4,
            "regime.checkpoint_every_n_steps": 4,
        },
        baseline="plain",
        tables={
            "first": {"rows": ["plain", "rate"], "title": "What the rate does"},
            "second": {"rows": ["best", "plain", "rate,lr=0.02"], "baseline": "best"},
        },
    )
    longer = sweeping.workshop.folder / "over.yaml"
    longer.write_text(
        f"test: {{path: {sweeping.workshop.folder / 'test.jsonl'}, beam_size: 2}}\n"
        # It replaces all that the sweep file says below this key.
        "settings: {translation: {bleu: true, max_sentences: 4, max_target_tokens: 12}}\n"
    )
    _, error = sweeping.run("--table", "first", "second", "--over", str(longer))

    assert error.count(": training") == 3, "each run once, and none outside of the tables"
    tables = {
        name: json.loads((sweeping.out / "tables" / name / "results.json").read_text())
        for name in ("first", "second")
    }
    rows = {name: [row["name"] for row in found["rows"]] for name, found in tables.items()}
    rates = ["rate,lr=0.0001", "rate,lr=0.02"]
    assert rows == {"first": ["plain", *rates], "second": ["best", "plain", "rate,lr=0.02"]}
    assert (tables["first"]["name"], tables["first"]["baseline"]) == ("What the rate does", "plain")
    assert tables["second"]["baseline"] == "best"
    assert not (sweeping.out / "results.json").exists()
    assert sweeping.record("rate,lr=0.02/seed_1")["scored"]["beam_size"] == 2
    laid_over = {"bleu": True, "max_sentences": 4, "max_target_tokens": 12}
    assert sweeping.record("plain/seed_1")["recipe"]["translation"] == laid_over

    valid = {row["trial"]: row["tried"][0]["valid"] for row in tables["first"]["rows"]}
    best = tables["second"]["rows"][0]
    assert {each["name"]: each["valid"] for each in best["tried"]} == {
        trial: valid[trial] for trial in rates
    }
    assert best["trial"] == max(rates, key=lambda trial: valid[trial])
    scores = {row["name"]: row["seeds"][0]["scores"] for row in tables["first"]["rows"]}
    assert best["seeds"][0]["scores"] == scores[best["trial"]]

    _, error = sweeping.run("--table", "frist", expect=2)
    assert "--table: 'frist' is not a table; did you mean 'first'?" in error
