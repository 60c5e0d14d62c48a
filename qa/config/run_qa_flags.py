"""The flags of Hugging Face's `run_qa.py`, and what each means here."""

from typing import Any

# flags of run_qa.py and of TrainingArguments, and our keys that mean the same
KEYS = {
    "model_name_or_path": "model.pretrained",
    "dataset_name": "data.name",
    "train_file": "data.train_file",
    "validation_file": "data.validation_file",
    "test_file": "data.test_file",
    "max_seq_length": "data.max_length",
    "doc_stride": "data.stride",
    "n_best_size": "decode.n_best",
    "max_answer_length": "decode.max_answer_length",
    "max_train_samples": "data.limit",
    "max_eval_samples": "data.limit",
    "max_predict_samples": "data.limit",
    "per_device_eval_batch_size": "data.eval_batch_size",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "adam_epsilon": "optimizer.eps",
    "warmup_ratio": "scheduler.warmup_ratio",
    "num_train_epochs": "trainer.max_epochs",
    "max_steps": "trainer.max_steps",
    "max_grad_norm": "trainer.gradient_clip_val",
    "activation_checkpointing": "model.gradient_checkpointing",
    "gradient_checkpointing": "model.gradient_checkpointing",
    "save_steps": "checkpoint.every_n_steps",
    "eval_steps": "trainer.val_check_interval",
    "dataloader_num_workers": "data.num_workers",
    "seed": "seed",
    "data_seed": "data.seed",
    "output_dir": "hydra.run.dir",
}
# flags with values that are overrides; other values have no counterpart
CHOICES: dict[str, dict[Any, str]] = {
    "lr_scheduler_type": {
        **{name: f"scheduler={name}" for name in ("linear", "cosine", "constant")},
        "cosine_with_restarts": "scheduler=cosine",  # without lr_scheduler_kwargs it never starts again
        "constant_with_warmup": "scheduler=constant",
    },
    "optim": {"adamw_torch": "optimizer=adamw", "adamw_torch_fused": "optimizer=adamw"},
    "metric_for_best_model": {
        **dict.fromkeys(("loss", "eval_loss"), "checkpoint.monitor=val_loss"),
        **dict.fromkeys(("f1", "eval_f1"), "checkpoint.monitor=f1"),
        **dict.fromkeys(("exact_match", "eval_exact_match"), "checkpoint.monitor=exact_match"),
    },
    "report_to": {name: f"logger={name}" for name in ("wandb", "tensorboard", "none")},
    "train_sampling_strategy": {"random": "data.batching=random", "group_by_length": "data.batching=bucketed"},
    "group_by_length": {True: "data.batching=bucketed", False: "data.batching=random"},
    "fp16": {True: "trainer.precision=16-mixed", False: ""},
    "bf16": {True: "trainer.precision=bf16-mixed", False: ""},
    "tf32": {True: "matmul_precision=high", False: "matmul_precision=highest"},
    "use_cpu": {True: "trainer.accelerator=cpu", False: ""},
    "use_mps_device": {True: "trainer.accelerator=mps", False: ""},
    "full_determinism": {True: "trainer.deterministic=true", False: ""},
    "overwrite_output_dir": {True: "resume=never", False: ""},
}
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")
STAGES = {"do_train": "fit", "do_eval": "validate", "do_predict": "predict"}
SAMPLES = {"fit": "max_train_samples", "validate": "max_eval_samples", "predict": "max_predict_samples"}
# why flags have no counterpart, or what stands in their place
NOTES = {
    "no counterpart": "activation_checkpointing_kwargs adafactor debug gradient_checkpointing_kwargs"
    " label_smoothing_factor lr_scheduler_kwargs mp_parameters neftune_noise_alpha optim_args optim_target_modules"
    " past_index project ray_scope skip_memory_metrics tpu_metrics_debug tpu_num_cores trackio_bucket_id"
    " trackio_space_id trackio_static_space_id use_cache use_legacy_prediction_loop",
    "set HF_HOME": "cache_dir",
    "set HF_TOKEN, or log in by `hf auth login`": "hub_token token use_auth_token",
    "it is the model's own": "config_name tokenizer_name",
    "code from the hub is never run": "trust_remote_code",
    "the data set's default is taken": "dataset_config_name",
    "windows are cached by their content; `make clean-cache` removes them": "overwrite_cache",
    "windows take seconds, in one process": "preprocessing_num_workers",
    "batches are padded to their longest window; data.batching says which go together": "pad_to_max_length"
    " length_column_name",
    "the data say which questions have no answer": "version_2_with_negative",
    "the best one on the validation data is kept in RUN/model": "null_score_diff_threshold",
    "every epoch is evaluated; trainer.val_check_interval for more": "eval_delay eval_on_start eval_strategy",
    "every evaluation computes EM, F1 and the loss": "batch_eval_metrics eval_accumulation_steps"
    " eval_do_concat_batches eval_use_gather_object include_for_metrics include_inputs_for_metrics"
    " prediction_loss_only",
    "checkpoints come with every evaluation and every 15 minutes; models are safetensors": "enable_jit_checkpoint"
    " save_on_each_node save_safetensors save_strategy",
    "checkpoint.optimizer_state=last comes close": "save_only_model",
    "checkpoint.keep counts those beside the last and the best": "save_total_limit",
    "RUN/model is the best epoch's": "load_best_model_at_end",
    "checkpoint.monitor decides it": "greater_is_better",
    "every step is logged": "include_num_input_tokens_seen include_tokens_per_second log_on_each_node"
    " logging_first_step logging_nan_inf_filter logging_steps logging_strategy",
    "hydra.verbose=true prints more": "disable_tqdm log_level log_level_replica",
    "everything is in hydra.run.dir": "logging_dir",
    "logger.name, with logger=wandb": "run_name",
    "scheduler.warmup_ratio, as a share of all steps": "warmup_steps",
    "a run resumes by itself in its folder; resume=CHECKPOINT takes one of ours": "ignore_data_skip"
    " restore_callback_states_from_checkpoint resume_from_checkpoint",
    "push_to_hub=USER/NAME; a new one is private, and gets the model at the end": "hub_always_push"
    " hub_private_repo hub_revision hub_strategy push_to_hub push_to_hub_organization",
    "trainer.devices=N starts the processes": "accelerator_config average_tokens_across_devices ddp_backend"
    " ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout local_rank"
    " parallelism_config",
    "trainer=sharded, for a model too large for one device": "deepspeed fsdp fsdp_config fsdp_min_num_params"
    " fsdp_transformer_layer_cls_to_wrap sharded_ddp",
    "data.micro_batch_size=auto does it by itself": "auto_find_batch_size",
    "model.attention=auto takes what is fast": "jit_mode_eval liger_kernel_config torch_compile"
    " torch_compile_backend torch_compile_mode torch_empty_cache_steps torchdynamo use_ipex use_liger_kernel",
    "trainer.precision is for all stages": "bf16_full_eval fp16_backend fp16_full_eval fp16_opt_level"
    " half_precision_backend xpu_backend",
    "batches hold what the model needs, and every window": "dataloader_drop_last dataloader_in_order"
    " dataloader_multiprocessing_context dataloader_persistent_workers dataloader_pin_memory"
    " dataloader_prefetch_factor dispatch_batches label_names remove_unused_columns split_batches",
}
WHY = {name: why for why, names in NOTES.items() for name in names.split()}
OTHERS = ("adam_beta1", "adam_beta2", "hub_model_id", "model_revision")
KNOWN = {*KEYS, *CHOICES, *BATCH, *STAGES, *WHY, *OTHERS}
# earlier names
ALIASES = {
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "hub_token",
    "max_val_samples": "max_eval_samples",
    "max_test_samples": "max_predict_samples",
}
# the reading of flags that do not take one text: switches, those that are on by default, lists, numbers, and those that
# are only noted, whatever their value
FLAG_KINDS = {
    "switch": "activation_checkpointing bf16 do_eval do_predict do_train fp16 full_determinism gradient_checkpointing"
    " group_by_length overwrite_output_dir push_to_hub tf32 use_cpu use_mps_device",
    "on": "average_tokens_across_devices dataloader_in_order dataloader_pin_memory eval_do_concat_batches"
    " log_on_each_node logging_nan_inf_filter pad_to_max_length remove_unused_columns skip_memory_metrics",
    "list": "debug include_for_metrics label_names",
    "whole": "data_seed dataloader_num_workers doc_stride gradient_accumulation_steps max_answer_length"
    " max_eval_samples max_predict_samples max_seq_length max_steps max_train_samples n_best_size"
    " per_device_eval_batch_size per_device_train_batch_size save_total_limit seed",
    "real": "adam_beta1 adam_beta2 adam_epsilon eval_steps learning_rate max_grad_norm num_train_epochs save_steps"
    " warmup_ratio warmup_steps weight_decay",
}
KIND = {**dict.fromkeys(WHY, "noted"), **{name: kind for kind, names in FLAG_KINDS.items() for name in names.split()}}
