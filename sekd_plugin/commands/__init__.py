"""The sub-commands of ``sekd``: each module has ``add_arguments(parser)`` and ``run(args)``."""
