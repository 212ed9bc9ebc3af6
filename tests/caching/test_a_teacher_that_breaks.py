"""A teacher that is not finite on a sentence is not cached; the sentence is named."""

from poisoned_teacher import LINE, poisoned_teacher, with_one_marked_sentence

from sekd_plugin.cli import main


def test_caching_stops_at_the_sentence_and_makes_no_whole_cache(taught):
    piece, file = with_one_marked_sentence(taught)
    settings = ("criterion.name=self_evolution_kd", f"dataset.train=[{{path: {file}}}]")
    arguments = taught.arguments((*settings, poisoned_teacher(taught, piece)))
    taught.capture()

    code = main(["cache-teacher", str(taught.folder / "cache"), *arguments])

    last = taught.capture()[1].splitlines()[-1]
    assert code == 2
    assert last.endswith(
        f"{file}, line {LINE}: the teacher's logits are not finite on this sentence"
    )
    assert main(["cache-teacher", "verify", str(taught.folder / "cache")]) != 0
