"""How much memory a recipe needs on each device, by part; nothing is loaded or started.

  sekd memory-plan --config-file recipe.yaml --devices 16 --device-memory 80GiB
  sekd memory-plan --config-file recipe.yaml --devices 8 --config dataset.batch_tokens=4096 --json

The recipe is the one that trains. Files it names need not exist.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.argparse import ConfigAction

from sekd_plugin.memory.byte_size import parse_bytes
from sekd_plugin.memory.plan import make_plan
from sekd_plugin.memory.table import plan_record, plan_text
from sekd_plugin.toolkits.fairseq2.plan_settings import plan_settings
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--config-file", type=Path, required=True, metavar="FILE", help="the recipe"
    )
    parser.add_argument(
        "--config",
        action=ConfigAction,
        help="settings that replace the recipe's, as section.key=value",
    )
    parser.add_argument(
        "--devices", type=int, default=1, help="how many devices, of all machines (default 1)"
    )
    parser.add_argument("--devices-per-node", type=int, metavar="N", help="for trainer.fsdp.hybrid")
    parser.add_argument("--device-memory", metavar="SIZE", help="of one device, as 80GiB or 24GB")
    parser.add_argument(
        "--reserve",
        metavar="SIZE",
        default="4GiB",
        help="for what is not planned: the driver, communication, gaps (default 4GiB)",
    )
    parser.add_argument(
        "--cpu", action="store_true", help="the devices are CPUs, whose operations keep more"
    )
    parser.add_argument("--json", action="store_true", help="for programs, in bytes")


def run(args: Namespace) -> int:
    """Print the plan; 0 whether it fits or not."""
    reserve = parse_bytes("--reserve", args.reserve)
    memory = None
    if args.device_memory is not None:
        memory = parse_bytes("--device-memory", args.device_memory)
    config = load_recipe(args.config_file, args.config or [])
    plan = make_plan(
        plan_settings(
            config,
            get_dependency_resolver(),
            devices=args.devices,
            devices_per_node=args.devices_per_node,
            on_gpu=not args.cpu,
        )
    )
    if args.json:
        print(json.dumps(plan_record(plan, memory, reserve), indent=2, ensure_ascii=False))
    else:
        print(plan_text(plan, memory, reserve))
    return 0
