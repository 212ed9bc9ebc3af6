"""What a recipe and a number of devices amount to, and how it is said."""

import json

import pytest
import yaml
from fairseq2.runtime.dependency import get_dependency_resolver

from sekd_plugin.cli import main
from sekd_plugin.memory.plan import make_plan
from sekd_plugin.recipes_folder import recipes_folder
from sekd_plugin.toolkits.fairseq2.plan_settings import plan_settings
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe

GIB = 1024**3
SEVEN = 6_738_415_616
THIRTEEN = 13_015_864_320
RECIPE = recipes_folder() / "cluster" / "llama_13b_to_7b.yaml"
PAIR_RECIPE = recipes_folder() / "cluster" / "nllb_3b_to_600m.yaml"
TABLE_OF_POSITIONS = 4 * 4097 * 128
"""Bytes of Llama-2's rotary table."""


@pytest.fixture
def planned(tmp_path):
    """The plan of the cluster recipe with some sections changed."""

    def plan(devices=16, devices_per_node=None, on_gpu=True, **sections):
        content = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
        for name, section in sections.items():
            if isinstance(section, dict) and isinstance(content.get(name), dict):
                content[name] = content[name] | section
            else:
                content[name] = section
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        settings = plan_settings(
            load_recipe(file, []),
            get_dependency_resolver(),
            devices=devices,
            devices_per_node=devices_per_node,
            on_gpu=on_gpu,
        )
        return make_plan(settings)

    return plan


def moment(plan, name):
    (found,) = (moment for moment in plan.moments if moment.name == name)
    return found.parts


def test_fsdp_shards_all_that_is_trained_and_leaves_the_teacher_whole(planned):
    step = moment(planned(devices=16), "step")

    assert step["student weights"] == 4 * SEVEN // 16 + TABLE_OF_POSITIONS
    assert step["gradients"] == 4 * SEVEN // 16
    assert step["teacher weights"] == 2 * THIRTEEN + TABLE_OF_POSITIONS
    averages_and_a_copy_for_the_step = 3 * 4 * SEVEN // 16
    assert step["optimizer"] == averages_and_a_copy_for_the_step + 4 * (9 * 32 + 3)


def test_ddp_keeps_everything_on_every_device_and_buckets_beside_it(planned):
    step = moment(planned(devices=16, trainer={"data_parallelism": "ddp"}), "step")

    assert step["student weights"] == 4 * SEVEN + TABLE_OF_POSITIONS
    assert step["gradients"] == step["gradients in exchange"] == 4 * SEVEN
    alone = moment(planned(devices=1, trainer={"data_parallelism": "ddp"}), "step")
    assert alone["gradients in exchange"] == 0


def test_tensor_parallelism_divides_the_teacher_too_but_for_its_norms(planned):
    step = moment(planned(devices=16, gang={"tensor_parallel_size": 2}), "step")

    norms = 5120 * (2 * 40 + 1)
    assert step["teacher weights"] - TABLE_OF_POSITIONS == THIRTEEN - norms + 2 * norms
    norms = 4096 * (2 * 32 + 1)
    assert step["gradients"] == 4 * ((SEVEN - norms) // 2 + norms) // 8


def test_hybrid_sharding_shards_within_a_machine(planned):
    trainer = {"fsdp": {"hybrid": True}}
    step = moment(planned(devices=16, devices_per_node=8, trainer=trainer), "step")
    assert step["gradients"] == 4 * SEVEN // 8


def test_a_teacher_that_is_not_in_memory_takes_nothing(planned):
    cached = planned(teacher=None, criterion={"name": "cross_entropy", "config": None})

    assert not [part for each in cached.moments for part in each.parts if "teacher" in part]
    live = {each.name: each.total for each in planned().moments}
    for each in cached.moments:
        if each.name != "start":
            assert live[each.name] - each.total >= 2 * THIRTEEN
    kept = planned(teacher_cache={"path": "/caches/13b"})
    assert kept.peak.total == cached.peak.total


def test_the_first_process_must_hold_the_whole_student_before_it_is_sharded(planned):
    assert moment(planned(), "start")["student weights"] == 4 * SEVEN + TABLE_OF_POSITIONS


def test_validation_gathers_the_whole_student(planned):
    assert moment(planned(), "validation")["gathered or cast"] == 2 * SEVEN
    assert "validation" not in [each.name for each in planned(dataset={"valid": []}).moments]


@pytest.mark.parametrize(("every", "again"), [(1, 32), (2, 16), (5, 7)])
def test_layers_that_are_computed_again_keep_their_input_alone(planned, every, again):
    kept = planned(trainer={"activation_checkpointing": {"mode": "off"}})
    some = planned(
        trainer={"activation_checkpointing": {"mode": "layerwise", "every_nth_layer": every}}
    )

    saved = moment(kept, "loss")["activations, student"]
    saved -= moment(some, "loss")["activations, student"]
    a_layer = saved / again / 8192 + 2 * 4096
    assert a_layer == pytest.approx(2 * (8 * 4096 + 4 * 11008), rel=0.02)


def test_accumulated_gradients_are_there_from_the_second_batch_on(planned):
    one = {"grad_accumulation": {"num_batches": 1}}
    assert moment(planned(trainer=one), "teacher")["gradients"] == 0
    assert moment(planned(), "teacher")["gradients"] == 4 * SEVEN // 16
    unsummed = {"grad_accumulation": {"num_batches": 2, "no_sync": True}}
    assert moment(planned(trainer=unsummed), "teacher")["gradients"] == 4 * SEVEN


def test_the_loss_does_not_grow_with_tokens_times_words(planned):
    plans = [
        moment(planned(dataset={"batch_tokens": tokens}), "loss")["loss"]
        for tokens in (8192, 16384)
    ]
    states_and_their_gradient = 8192 * (4096 + 5120 + 4096) * 2
    assert plans[1] - plans[0] == states_and_their_gradient
    assert planned().dense_loss == 10 * 8192 * 32000 * 4
    dense = planned(criterion={"kernel": "reference"})
    assert moment(dense, "loss")["loss"] == dense.dense_loss


@pytest.mark.parametrize(
    ("optimizer", "numbers"),
    [
        ({"name": "adamw", "config": {"impl": "fused"}}, 2),
        ({"name": "adamw", "config": {"amsgrad": True, "impl": "fused"}}, 3),
        ({"name": "adamw", "config": {}}, 3),
    ],
)
def test_the_optimizer_keeps_two_averages_and_needs_room_for_a_step(planned, optimizer, numbers):
    counts = 4 * (9 * 32 + 3)
    assert moment(planned(optimizer=optimizer), "step")["optimizer"] == (
        numbers * 4 * SEVEN // 16 + counts
    )


def test_adafactor_keeps_a_row_and_a_column(planned):
    plan = planned(devices=1, optimizer={"name": "adafactor", "config": None})
    assert moment(plan, "loss")["optimizer"] < 4 * SEVEN / 500


def test_mixed_precision_is_what_fairseq2_makes_of_it(planned):
    ddp = {"data_parallelism": "ddp"}
    autocast = moment(planned(trainer=ddp), "loss")["gathered or cast"]
    matrices = SEVEN - 2 * 32000 * 4096 - 4096 * 65
    assert autocast == 2 * matrices
    off = planned(trainer=ddp | {"mixed_precision": {"mode": "off"}})
    assert moment(off, "loss")["gathered or cast"] == 0
    lost = planned(devices=2, gang={"tensor_parallel_size": 2})
    assert "static has no effect" in lost.settings.notes[0]
    assert lost.settings.precision.compute_bytes == 4


def test_fp16_gradients_are_kept_in_fp32_until_they_are_unscaled(planned):
    fp16 = {"mixed_precision": {"mode": "static", "dtype": "float16"}}
    narrow = moment(planned(), "backward")["loss"]
    scaled = moment(planned(trainer=fp16), "backward")["loss"]

    by_states, by_weight = 8192 * 4096, 32000 * 4096
    assert narrow == 2 * by_states + 4 * by_weight
    assert scaled == 2 * 4 * (by_states + by_weight)


def sekd(capsys, *words, recipe=RECIPE):
    code = main(["memory-plan", "--config-file", str(recipe), *words])
    out, error = capsys.readouterr()
    return code, out, error


def test_the_command_says_whether_it_fits(capsys):
    code, out, _ = sekd(capsys, "--devices", "16", "--device-memory", "80GiB")
    assert code == 0
    assert "It fits: " in out
    assert "6,738,415,616 parameters" in out and "13,015,864,320 parameters" in out
    code, out, _ = sekd(capsys, "--devices", "16", "--device-memory", "24GB")
    assert code == 0
    assert "It does not fit: " in out


def test_programs_get_the_same_in_bytes(capsys):
    code, out, _ = sekd(capsys, "--devices", "16", "--device-memory", "80GiB", "--json")
    record = json.loads(out)

    assert code == 0
    assert record["fits"] is True
    assert record["device_bytes"] == 80 * GIB
    assert record["peak_bytes"] == max(each["total"] for each in record["moments"].values())
    for parts in record["moments"].values():
        assert parts["total"] == sum(size for part, size in parts.items() if part != "total")


def test_settings_on_the_command_line_replace_the_recipes(capsys):
    _, out, _ = sekd(capsys, "--json", "--config", "dataset.batch_tokens=2048", "teacher=null")
    record = json.loads(out)
    assert record["batch_tokens"] == 2048
    assert record["teacher_parameters"] is None
    assert record["fits"] is None


def test_an_encoder_decoders_plan_has_the_moment_when_the_decoder_is_done(capsys):
    one_batch = ("--config", "trainer.grad_accumulation.num_batches=1")
    code, out, _ = sekd(capsys, "--json", *one_batch, recipe=PAIR_RECIPE)
    record = json.loads(out)

    assert code == 0
    assert record["student_parameters"] == 615_073_792
    assert record["teacher_parameters"] == 3_344_863_232
    assert record["batch_tokens"] == 8192
    places = 4 * 1025 * 1024
    step, done = record["moments"]["step"], record["moments"]["decoder done"]
    assert step["student weights"] == 4 * 615_073_792 + places
    assert step["teacher weights"] == 2 * 3_344_863_232 + 2 * places
    a_layer = 8 * 1024**2 + 8 * 1024 + 2 * 1024 * 4096 + 4096 + 1024 + 6 * 1024
    table = 256_206 * 1024
    assert done["gradients"] == 4 * (12 * a_layer + 2 * table)
    assert "4,096 source and 4,096 target tokens" in sekd(capsys, recipe=PAIR_RECIPE)[1]


def test_tensor_parallel_ranks_hold_the_whole_table_of_an_encoder_decoder(capsys):
    words = ("--json", "--devices", "2", "--config", "gang.tensor_parallel_size=2")
    _, out, _ = sekd(capsys, *words, recipe=PAIR_RECIPE)
    weights = json.loads(out)["moments"]["step"]["teacher weights"]

    table, width, inner, layers = 256_206 * 2048, 2048, 8192, 24
    attentions = layers * (1 + 2) * (4 * width**2 + 3 * width)
    feed_forward = layers * 2 * (2 * width * inner + inner)
    kept_whole = layers * 2 * width + 3 * layers * width  # biases of what is summed over ranks
    norms = 2 * width * (2 * layers + 3 * layers + 2)
    numbers = table + (attentions + feed_forward) // 2 + kept_whole + norms
    assert weights == 2 * numbers + 4 * 1025 * width


def test_a_teacher_of_another_kind_is_refused_in_a_plan_too(capsys):
    words = ("--config", "teacher={family: llama, arch: 7b, path: /models/7b}")
    code, out, error = sekd(capsys, *words, recipe=PAIR_RECIPE)
    assert (code, out) == (2, "")
    assert error == (
        "sekd memory-plan: teacher.family: the teacher is decoder-only, the student "
        "encoder–decoder; they must be of one kind\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--devices", "0"), "--devices: 0 is out of range"),
        (("--device-memory", "80Gi"), "--device-memory: '80Gi' is not a size; write 80GiB"),
        (("--reserve", "much"), "--reserve: 'much' is not a size"),
        (
            ("--devices", "3", "--config", "gang.tensor_parallel_size=2"),
            "gang.tensor_parallel_size: 2 does not divide the 3 devices",
        ),
        (
            ("--devices", "3", "--config", "gang.tensor_parallel_size=3"),
            "gang.tensor_parallel_size: 3 does not divide the 32000 of",
        ),
        (
            ("--config", "trainer.fsdp.hybrid=true", "--devices", "8"),
            "trainer.fsdp.hybrid: shards within a machine; say with --devices-per-node",
        ),
        (
            (
                *("--devices", "2", "--config", "gang.tensor_parallel_size=2"),
                "model={family: qwen, arch: qwen25_1_5b}",
            ),
            "model.config_overrides.tied_embeddings: must be false where gang.tensor_parallel_size",
        ),
        (("--config", "trainer.data_parallelism=fsdp2"), "trainer.data_parallelism: 'fsdp2'"),
        (("--config", "model.config_overrides.num_layer=2"), "did you mean 'num_layers'?"),
        (("--config", "dataset.batch_tokens=0"), "dataset.batch_tokens: 0 is out of range"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, words, said):
    code, out, error = sekd(capsys, *words)
    assert (code, out) == (2, "")
    assert said in error
    assert error.startswith("sekd memory-plan: ") and error.count("\n") == 1


def test_small_models_are_shown_in_smaller_units(capsys):
    demo = recipes_folder() / "demo" / "student.yaml"
    settings = ["--config", "tokenizer.path=vocabulary.model"]
    assert main(["memory-plan", "--config-file", str(demo), *settings]) == 0
    out = capsys.readouterr().out

    (weights,) = (line for line in out.splitlines() if line.startswith("student weights"))
    assert "MiB on the fullest device" in out
    parameters_and_positions = 4 * (605_664 + 513 * 24)
    assert float(weights.split()[2]) == pytest.approx(parameters_and_positions / 2**20, abs=0.006)
