"""A mistake in a sweep is one line that names the row and the key, before anything is trained."""

import pytest

PLAIN = {"plain": None}
TWO = {"tuned": {"tune": {"optimizer.config.lr": [0.1, 0.2]}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": PLAIN, "sedes": [1]}, "sedes: is not a known key; did you mean 'seeds'?"),
        ({"rows": PLAIN, "seeds": None}, "seeds: is missing"),
        ({"rows": PLAIN, "seeds": []}, "seeds: is empty"),
        ({"rows": PLAIN, "seeds": [1, 1]}, "seeds: 1 stands there twice"),
        ({"rows": PLAIN, "seeds": [-1]}, "seeds.0: -1 is out of range"),
        ({"rows": {}}, "rows: is empty"),
        ({"rows": {"a b": None}}, "rows.a b: the name 'a b' is not allowed"),
        ({"rows": {"a": {"tnue": {}}}}, "rows.a.tnue: is not a known key; did you mean 'tune'?"),
        ({"rows": {"a": {"settings": {"x..y": 1}}}}, "rows.a.settings.x..y: is not a dotted key"),
        ({"rows": PLAIN, "settings": {5: 1}}, "settings.5: is not a dotted key"),
        (
            {"rows": {"a": {"grid": {"settings.b": {"c": {5: 1}}}}}},
            "rows.a.grid.settings.b.c.5: is not a dotted key",
        ),
        ({"rows": PLAIN, "baseline": "plian"}, "'plian' is not a row; did you mean 'plain'?"),
        (
            {"rows": PLAIN, "tables": {"one": {"rows": ["plian"]}}},
            "tables.one.rows: 'plian' is not a row; did you mean 'plain'?",
        ),
        (
            {"rows": {**PLAIN, "b": None}, "tables": {"one": {"rows": ["b"], "baseline": "plain"}}},
            "tables.one.baseline: 'plain' is not one of its rows",
        ),
        ({"rows": PLAIN, "tables": {"one": {"row": []}}}, "tables.one.row: is not a known key"),
        ({"rows": PLAIN, "tables": {"a/b": {"rows": []}}}, "tables.a/b: the name 'a/b' is not"),
        (
            {"rows": {**PLAIN, "best": {"choose": ["plan"]}}},
            "rows.best.choose: 'plan' is not a row; did you mean 'plain'?",
        ),
        (
            {"rows": {**PLAIN, "best": {"choose": ["plain"], "settings": {"common.seed": 1}}}},
            "rows.best.choose: stands alone",
        ),
        (
            {"rows": {**TWO, "best": {"choose": ["tuned"]}}, "halving": {"steps": [4]}},
            "rows.best.choose: names a row with trials that halving gives up",
        ),
        ({"rows": PLAIN, "test": {"path": "t", "beam_size": 0}}, "test.beam_size: 0 is out of"),
        ({"rows": TWO, "halving": {"steps": [4, 4]}}, "halving.steps.1: 4 is out of range"),
        ({"rows": TWO, "halving": {"steps": [4], "keep": 1}}, "halving.keep: 1 is out of range"),
        ({"rows": TWO, "halving": {"steps": []}}, "halving.steps: is empty"),
    ],
)
def test_of_the_sweep_file(sweeping, changes, words):
    sweeping.write(**changes)
    _, error = sweeping.run(expect=2)
    assert error.startswith(f"sekd sweep: {sweeping.file}: ") and len(error.splitlines()) == 1
    assert words in error
    assert not sweeping.out.exists()


def row_of(settings):
    return {"good": {"settings": {"regime.num_steps": 4}}, "bad": {"settings": settings}}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            row_of({"optimizer.config.lt": 1}),
            "row bad, seed 1: optimizer.config.lt: is not a known",
        ),
        (
            row_of({"criterion.name": "word_dk"}),
            "row bad, seed 1: criterion.name: 'word_dk' is",
        ),
        (row_of({"criterion.name": "word_kd"}), "row bad, seed 1: teacher: is missing"),
        (row_of({"model.path": "no/{seed}"}), "row bad, seed 1: model.path: no/1 does not exist"),
        (row_of({"regime.score_metric": None}), "regime.score_metric: is None; a sweep chooses"),
        (row_of({"dataset.valid": []}), "dataset.valid: is empty"),
        (row_of({"regime.keep_last_n_checkpoints": 1}), "regime.keep_best_n_checkpoints: must be"),
        (row_of({"regime.save_model_only": True}), "regime.save_model_only: must be false"),
        (
            {
                "bad": {
                    "settings": {"regime.export_hugging_face": True},
                    "grid": {"optimizer.config.lr": [0.1]},
                }
            },
            "row bad,lr=0.1, seed 1: regime.export_hugging_face: fairseq2 cannot export from",
        ),
        (
            {"bad": {"tune": {"translation.max_sentences": [3, 4]}}},
            "row bad/max_sentences=4: translation differs from that of bad/max_sentences=3",
        ),
    ],
)
def test_of_a_row(sweeping, rows, words):
    sweeping.write(rows=rows)
    _, error = sweeping.run(expect=2)
    last = error.splitlines()[-1]
    assert last.startswith("sekd sweep: row bad") and words in last
    assert not sweeping.out.exists()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([3], "regime.validate_every_n_steps: is 4; the run must be validated at step 3"),
        ([8], "regime.num_steps: is 8; it must be more than halving's 8"),
    ],
)
def test_of_a_halving_that_does_not_fit_the_recipe(sweeping, steps, words):
    sweeping.write(rows=TWO, halving={"steps": steps})
    _, error = sweeping.run(expect=2)
    assert words in error.splitlines()[-1]


def test_of_a_recipe_of_several_prompts_that_no_test_set_could_be_asked_with(
    sweeping, shared_folder
):
    path = str(shared_folder / "train.jsonl")
    files = [{"path": path, "template": f"{word}: {{source}}"} for word in ("a", "b")]
    sweeping.write(rows={"bad": {"settings": {"dataset.train": files}}})
    _, error = sweeping.run(expect=2)
    last = error.splitlines()[-1]
    assert "row bad" in last and "dataset.train: its files have several prompts" in last


def test_of_a_row_that_no_table_asked_for_has(sweeping):
    sweeping.write(rows={**PLAIN, "b": None}, tables={"one": {"rows": ["plain"]}})
    _, error = sweeping.run("--table", "one", "--only", "b", "--dry-run", expect=2)
    assert "--only: 'b' is not a row of one" in error


def test_of_a_folder_that_cannot_be_made(sweeping):
    sweeping.write(rows=PLAIN)
    sweeping.out.write_text("a file")
    sweeping.out, below = sweeping.out / "below", sweeping.out
    _, error = sweeping.run(expect=2)
    assert f"{below / 'below'}: cannot be written: Not a directory" in error.splitlines()[-1]


def test_of_a_file_laid_over(sweeping):
    sweeping.write(rows=PLAIN)
    over = sweeping.file.with_name("over.yaml")
    over.write_text("settings: {5: 1}", encoding="utf-8")
    _, error = sweeping.run("--over", str(over), expect=2)
    assert "settings.5: is not a dotted key" in error


def test_of_the_command(sweeping):
    sweeping.write(rows=PLAIN)
    _, error = sweeping.run("--only", "palin", expect=2)
    assert "--only: 'palin' is not a row; did you mean 'plain'?" in error
    _, error = sweeping.run("--jobs", "many", expect=2)
    assert "--jobs: 'many' is not allowed; write auto or a whole number" in error
    _, error = sweeping.run("--report", expect=2)
    assert "holds no sweep yet" in error
    assert not sweeping.out.exists()
    sweeping.out.mkdir()
    (sweeping.out / "thesis.txt").write_text("years of work")
    _, error = sweeping.run(expect=2)
    assert "is not empty and holds no sweep" in error


def test_a_dry_run_lists_the_runs_and_writes_nothing(sweeping):
    sweeping.write(rows={**PLAIN, **TWO})
    out, _ = sweeping.run("--dry-run")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["plain/seed_1", "waiting"] and lines[-1] == ["6", "runs"]
    assert ["tuned/lr=0.2/seed_2", "waiting"] in lines
    assert not sweeping.out.exists()
