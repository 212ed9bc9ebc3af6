"""Bits that flip and ends that go missing, at random places of a checkpoint's files."""

import random
import shutil

from sekd_plugin.toolkits.fairseq2.durability.checkpoint_checksums import damage

FLIPS, CUTS = 300, 100
SETTINGS = (
    "regime.num_steps=4",
    "regime.publish_metrics_every_n_steps=2",
    "regime.validate_every_n_steps=null",
    "regime.checkpoint_every_n_steps=2",
)


def fault_every_flipped_bit_and_every_cut_is_noticed(workshop, figure):
    workshop.train("run", *SETTINGS)
    checkpoint = workshop.folder / "run/checkpoints/step_4"
    draw = random.Random(11)
    files = sorted(checkpoint.rglob("*.pt"))
    bits = sum(8 * file.stat().st_size for file in files)

    for number in range(FLIPS + CUTS):
        file = draw.choices(files, [file.stat().st_size for file in files])[0]
        sound = file.read_bytes()
        if number < FLIPS:
            content = bytearray(sound)
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            file.write_bytes(content)
        else:
            file.write_bytes(sound[: draw.randrange(len(sound))])
        assert damage(file), (file, number)
        file.write_bytes(sound)
        assert damage(file) is None

    spoilt = workshop.folder / "spoilt"
    told = 0
    for file in files:
        shutil.copytree(workshop.folder / "run", spoilt)
        victim = spoilt / file.relative_to(workshop.folder / "run")
        content = bytearray(victim.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        victim.write_bytes(content)
        said = workshop.train("spoilt", *SETTINGS, expect=2)
        last = said.splitlines()[-1]
        assert last.startswith(f"sekd train: {victim} is not what was written"), last
        assert "step_2 before it is sound" in last
        told += 1
        shutil.rmtree(spoilt)
    figure(
        f"{FLIPS} of {FLIPS} flipped bits (of {bits:,}) and {CUTS} of {CUTS} cuts noticed; the "
        f"command named the file for each of the {told} kinds and offered step_2"
    )
