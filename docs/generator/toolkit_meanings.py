"""What the keys mean that fairseq2's dataclasses leave without a word, or say at great length."""

from __future__ import annotations

_MODEL = {
    "name": "A model that fairseq2 knows by name, instead of `path`.",
    "path": "A checkpoint: a run's `checkpoints/step_N/model`, or a Hugging Face folder or file. "
    "Without `path` and `name` the model starts from random weights.",
    "family": "The model's family: `llama`, `qwen`, `mistral`, `olmo` or `nllb`.",
    "arch": "An architecture that the family knows by name, as `7b`; it fixes the sizes.",
    "config_overrides": "Sizes that replace those of the architecture, as `model_dim: 96`; the "
    "keys are the family's own, and a wrong one is named with those there are.",
    "dtype": "The type of the weights.",
    "mmap": "Whether checkpoint files are mapped into memory rather than read.",
    "compile": "Whether the model goes through `torch.compile`.",
    "compile_options": "How it is compiled.",
}

MEANINGS: dict[str, str] = {
    **{f"ModelSection.{key}": meaning for key, meaning in _MODEL.items()},
    **{f"ReferenceModelSection.{key}": meaning for key, meaning in _MODEL.items()},
    "ReferenceModelSection.path": "A checkpoint: a run's `checkpoints/step_N/model`, or a Hugging "
    "Face folder or file. A teacher needs `path` or `name`.",
    "CompileOptions.fullgraph": "`torch.compile`'s `fullgraph`: refuse to split the graph.",
    "CompileOptions.dynamic": "`torch.compile`'s `dynamic`: shapes that change.",
    "CompileOptions.mode": "`torch.compile`'s `mode`.",
    "CompileOptions.backend": "`torch.compile`'s `backend`.",
    "CompileOptions.backend_options": "`torch.compile`'s `options`, handed to the backend.",
    "TokenizerSection.name": "A tokenizer that fairseq2 knows by name, instead of `path`.",
    "TokenizerSection.path": "The SentencePiece model, as `sekd prepare` makes one.",
    "TokenizerSection.family": "The tokenizer's family; `llama` reads any SentencePiece model.",
    "TokenizerSection.config_overrides": "Settings of the family's own.",
    "GangSection.tensor_parallel_size": "Over how many processes each layer is split.",
    "GangSection.timeout": "After how many minutes a process that waits for another gives up.",
    "GangSection.high_priority": "Whether NCCL's kernels run in a stream of high priority.",
    "TrainerSection.fsdp": "How FSDP shards the model.",
    "TrainerSection.mixed_precision": "The precision of forward and backward pass.",
    "TrainerSection.grad_accumulation": "Micro-batches of an optimizer step.",
    "TrainerSection.activation_checkpointing": "Memory for time: recomputing activations.",
    "FSDPConfig.fp32_reduce": "Whether gradients are summed over processes in float32.",
    "MixedPrecisionConfig.dtype": "The type of forward and backward pass, unless `mode` is `off`.",
    "GradAccumulationConfig.no_sync": "Whether processes exchange gradients only after the last "
    "micro-batch of a step.",
    "ActivationCheckpointingConfig.mode": "`layerwise` keeps a layer's input only, and runs the "
    "layer again in the backward pass.",
    "ActivationCheckpointingConfig.every_nth_layer": "Which layers: 1 is each of them.",
    "OptimizerSection.name": "`adamw` or `adafactor`.",
    "OptimizerSection.config": "The settings of that optimizer, listed below.",
    "LRSchedulerSection.name": "`cosine_annealing`, `myle`, `noam`, `passthrough`, "
    "`polynomial_decay` or `tri_stage`.",
    "LRSchedulerSection.config": "The settings of that schedule, listed below.",
    "RegimeSection.validate_after_n_data_epochs": "The number of epochs after which validation by "
    "epochs begins.",
    "RegimeSection.validate_every_n_data_epochs": "The interval of validations, in epochs.",
    "RegimeSection.score_metric": "What decides which checkpoint is best: a metric of the "
    "validation, as `bleu` or `cross_entropy`.",
    "RegimeSection.checkpoint_after_n_steps": "The number of steps after which checkpoints begin.",
    "RegimeSection.checkpoint_after_n_data_epochs": "The number of epochs after which checkpoints "
    "by epochs begin.",
    "RegimeSection.export_hugging_face": "Whether each checkpoint is also exported for the "
    "Transformers library, as `checkpoints/step_N/hg`.",
    "RegimeSection.keep_best_n_checkpoints": "How many of the best checkpoints to keep, by "
    "`score_metric`.",
    "RegimeSection.keep_checkpoint_every_n_steps": "Checkpoints of these steps are kept whatever "
    "the other rules say.",
    "RegimeSection.publish_metrics_after_n_steps": "The number of steps after which reports begin.",
    "RegimeSection.publish_metrics_after_n_data_epochs": "The number of epochs after which reports "
    "by epochs begin.",
    "CommonSection.torch": "Settings of PyTorch.",
    "CommonSection.metric_recorders": "Where metrics go, beside the files in `metrics/`.",
    "CommonSection.profilers": "Measuring where time goes.",
    "CommonSection.assets": "Where fairseq2 looks for models that are named.",
    "CommonSection.seed": "Decides initial weights, dropout and the order of each epoch.",
    "CommonSection.debug": "Whether fairseq2 logs its debugging messages.",
    "CommonSection.cluster": "How processes find each other: `auto`, `none` or `slurm`.",
    "CommonSection.no_sweep_dir": "Whether output goes to the folder named on the command line "
    "itself, rather than to one below it that `sweep_format` names.",
    "CommonSection.sweep_format": "The name of that folder; idle while `no_sweep_dir` is `true`.",
    "MetricRecordersConfig.tensorboard": "TensorBoard, in `tb/`.",
    "MetricRecordersConfig.wandb": "Weights & Biases.",
    "TensorBoardConfig.enabled": "Whether it is written.",
    "ProfilersConfig.torch": "PyTorch's profiler.",
    "TorchProfilerConfig.enabled": "Whether it runs.",
    "TorchProfilerConfig.skip_n_steps": "`torch.profiler.schedule`'s `skip_first`.",
    "TorchProfilerConfig.wait_n_steps": "`torch.profiler.schedule`'s `wait`.",
    "TorchProfilerConfig.num_warmup_steps": "`torch.profiler.schedule`'s `warmup`.",
    "TorchProfilerConfig.num_active_steps": "`torch.profiler.schedule`'s `active`.",
    "TorchProfilerConfig.repeat": "`torch.profiler.schedule`'s `repeat`.",
    "AssetsConfig.extra_paths": "Folders with descriptions of models, beside fairseq2's own.",
}
