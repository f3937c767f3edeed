"""Keys as other tools name them, and what they are here: one table for YAML, options and Python.

    meant("per_device_train_batch_size").key     # "training.completions_per_forward"
    meant("remove_unused_columns").note          # why there is none, and what to do

The names are of TRL, transformers, PEFT, Unsloth, open-r1, verl, axolotl, LLaMA-Factory, OpenRLHF
and older GRPO scripts. Left out: keys that exist here, under whatever section they are looked for;
`messages.py` finds those by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Meant(NamedTuple):
    """The key that a name stands for, "" if there is none, and what else is to be known."""

    key: str
    note: str = ""

    def __str__(self) -> str:
        """As the end of a message."""
        if not self.key:
            return self.note
        return f"did you mean {self.key}" + (f" ({self.note})?" if self.note else "?")


def snake(name: str) -> str:
    """A name as keys are written: `lora-alpha`, `loraAlpha` and `LORA_ALPHA` are `lora_alpha`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def meant(name: str, sections: Sequence[str] = ()) -> Meant | None:
    """What a name stands for, under these sections; None if the table does not have it."""
    inner = ".".join(map(snake, (*sections[-1:], name)))
    return OTHER_NAMES.get(inner) or OTHER_NAMES.get(snake(name))


def _read(table: str) -> Iterator[tuple[str, Meant]]:
    target = Meant("")
    for line in table.strip().splitlines():
        if line.startswith(" "):
            yield from ((name, target) for name in line.split())
        else:
            key, _, note = line.partition(": ")
            target = Meant("" if key == "-" else key, note)


# Each key (or -, where there is none) with a note, and below it the names that stand for it. A name
# with a dot is meant in a section of that name only.
_TABLE = """
-: the config is an argument by itself: groupwise train CONFIG
    config config_file config_path recipe
-: a section of another tool; what it sets is in several sections here
    trainer algorithm actor_rollout_ref rollout actor critic ref trl grpo lora peft generation
training.prompts_per_step: problems in a step; the memory knob is completions_per_forward
    batch_size train_batch_size rollout_batch_size ppo_mini_batch_size mini_batch_size
training.completions_per_forward: completions in one pass
    per_device_train_batch_size micro_batch_size micro_train_batch_size per_gpu_batch_size
    ppo_micro_batch_size ppo_micro_batch_size_per_gpu per_device_batch_size
    log_prob_micro_batch_size log_prob_micro_batch_size_per_gpu
-: it is training.prompts_per_step x num_generations / completions_per_forward, and derived
    gradient_accumulation_steps grad_accum_steps gradient_accumulation steps_per_generation
-: it is training.prompts_per_step x training.num_generations, and derived
    generation_batch_size
training.num_generations: completions of each problem; an evaluation has evaluation.num_samples
    num_samples group_size rollout.n n_samples_per_prompt num_rollouts num_return_sequences
    samples_per_prompt rollouts_per_example num_completions training.n sampling.n
evaluation.num_samples
    num_generations_eval val_kwargs.n n_samples_eval evaluation.n
training.learning_rate
    lr learning_rate_rl actor_learning_rate optim.lr
training.num_train_epochs
    epochs num_epochs n_epochs total_epochs max_epochs num_train_epoch
training.max_steps
    steps total_training_steps num_steps train_steps max_train_steps
training.num_iterations
    ppo_epochs num_ppo_epochs mu inner_epochs
training.max_completion_length
    max_new_tokens max_tokens max_response_length response_length generate_max_len max_gen_len
    max_generation_length max_completion_tokens
training.max_completion_length: prompt and completion together are model.max_seq_length
    max_length
model.max_seq_length
    sequence_len cutoff_len max_model_len max_model_length vllm_max_model_length model_max_length
    max_sequence_length
data.max_prompt_length
    prompt_length prompt_max_len max_prompt_len max_input_length
training.optim
    optimizer
training.lr_scheduler_type
    scheduler lr_scheduler scheduler_type warmup_style lr_scheduler_kwargs
training.warmup_ratio: a share of the steps
    warmup_steps lr_warmup_steps num_warmup_steps lr_warmup_steps_ratio warmup
training.max_grad_norm
    grad_clip max_norm gradient_clipping clip_grad_norm clip_grad
-: the optimiser's other settings are as TRL has them
    adam_epsilon optim_args optim_target_modules
training.adam_beta1: and training.adam_beta2
    betas adam_betas
training.beta
    kl_coef kl_loss_coef init_kl_coef kl_beta kl_penalty pref_beta
training.beta: above 0 there is a KL term
    use_kl_loss use_kl_in_reward kl_ctrl
-: the KL is estimated by k3, as TRL does it
    kl_loss_type kl_estimator
training.loss_type
    loss loss_agg_mode policy_loss_type loss_mode loss_fn
training.epsilon
    clip_ratio clip_eps clip_range cliprange clip_ratio_low epsilon_low eps_clip
training.epsilon_high
    clip_ratio_high clip_high eps_clip_high
training.scale_rewards
    norm_adv_by_std_in_grpo normalize_advantages scale_advantages
training.method
    adv_estimator advantage_estimator rl stage algorithm.name
training.resample_rounds
    filter_groups max_num_gen_batches dynamic_sampling
training.mask_truncated_completions
    mask_truncated overlong_filtering
-: training.loss_type names the losses; they have no such setting
    delta clip_ratio_c sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos
    vespo_k_neg vespo_lambda_neg entropy_coef entropy_coeff use_adaptive_entropy entropy_coef_min
    entropy_coef_max entropy_coef_delta entropy_target off_policy_mask_threshold
    use_bias_correction_kl router_aux_loss_coef label_smoothing_factor neftune_noise_alpha gamma
    lam
-: the reference is the model as GRPO began; training.beta ties to it
    sync_ref_model ref_model_mixup_alpha ref_model_sync_steps
model.fast_inference: true, and training.sampler: vllm; without vLLM the engine slots samples
    use_vllm
-: vLLM runs inside training; model.gpu_memory_utilization is what it may be told
    vllm_mode vllm_model_impl vllm_enable_sleep_mode vllm_structured_outputs_regex
    vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout vllm_group_port
    vllm_tensor_parallel_size vllm_device vllm_importance_sampling_correction
    vllm_importance_sampling_mode vllm_importance_sampling_clip_max
    vllm_importance_sampling_clip_min vllm_importance_sampling_cap tensor_model_parallel_size
    free_cache_engine enforce_eager infer_backend
model.gpu_memory_utilization
    vllm_gpu_memory_utilization
training.sampler
    rollout.name sampling_backend inference_backend
training.max_rows
    max_num_seqs per_device_rollout_batch_size micro_rollout_batch_size
-: sampling is set by training.temperature, top_p, top_k, min_p, repetition_penalty and sampler
    generation_kwargs cache_implementation use_transformers_continuous_batching
    transformers_continuous_batching_config use_transformers_paged do_sample
-: completions call no tools here
    max_tool_calling_iterations tools environment_factory
model.name
    model_name model_name_or_path base_model pretrained_model_name_or_path pretrain model_id
    model_path model.path base_model_name_or_path hf_model_id
model.adapter
    adapter_name_or_path adapter_path lora_model_dir sft_model lora_adapter_path peft_model_id
model.lora_r
    r lora_rank rank max_lora_rank
model.lora_alpha
    alpha
model.lora_dropout
    dropout
model.target_modules
    lora_target_modules lora_target lora_modules
model.full_finetuning: a LoRA adapter is trained, unless this is true
    use_lora use_peft finetuning_type peft_config lora_config no_lora
model.load_in_4bit: or model.load_in_8bit
    quantization quantization_bit quantize quantization_config bits bnb_config use_4bit use_qlora
    no_4bit
-: 4 bits are NF4 with double quantisation, as Unsloth loads them; model.load_in_4bit
    bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage bnb_4bit_compute_dtype
    bnb_4bit_use_double_quant quantization_method double_quantization
model.dtype: bfloat16, float16 or float32; auto takes the best that the device has
    bf16 fp16 torch_dtype precision mixed_precision compute_dtype half
model.dtype
    tf32 bf16_full_eval fp16_full_eval cast_lm_head_to_fp32
model.use_gradient_checkpointing
    gradient_checkpointing gradient_checkpointing_kwargs enable_gradient_checkpointing
    activation_checkpointing activation_offloading
-: Groupwise chooses it for the model and the machine; leave it out
    attn_implementation flash_attn flash_attention use_flash_attention_2 use_cache
    use_liger_kernel liger_kernel_config torch_compile torch_compile_backend torch_compile_mode
    use_unsloth use_remove_padding xformers_attention sdp_attention torch_empty_cache_steps
    disable_dropout
model.name: download that revision to a folder
    model_revision revision model_init_kwargs
model.chat_template_kwargs: such as {enable_thinking: false}
    enable_thinking reasoning_effort apply_chat_template_kwargs template_kwargs
    chat_template_args tokenizer_chat_template_kwargs
model.chat_template_date: 2026-11-26
    date_string strftime_now
training.stop: texts; the end-of-text tokens, and the chat template's, end a completion anyway
    stop_strings stop_sequences stop_words stop_tokens stop_token_ids eos_token_id
model.chat_template: a Jinja file
    chat_template_path template tokenizer_chat_template
-: the tokenizer is the one in the model's folder
    eos_token pad_token special_tokens tokenizer_name tokenizer_name_or_path processing_class
    tokenizer_type
-: adapters are plain LoRA: model.lora_r, lora_alpha, lora_dropout and target_modules set them
    bias use_rslora use_dora modules_to_save lora_modules_to_save init_lora_weights
    layers_to_transform layers_pattern rank_pattern alpha_pattern task_type lora_task_type
    lora_target_parameters target_parameters exclude_modules fan_in_fan_out peft_type auto_mapping
    peft_version inference_mode megatron_config megatron_core trainable_token_indices loftq_config
    eva_config corda_config lora_ga_config velora_config alora_invocation_tokens use_qalora
    qalora_group_size monteclora_config layer_replication runtime_config lora_bias use_bdlora
    arrow_config kasa_config ensure_weight_tying lora_target_linear loraplus_lr_ratio
data.train: a file (.json, .jsonl, .csv, .parquet) or a name on the hub
    dataset datasets train_data train_file train_files dataset_name train_dataset dataset_path
    dataset_name_or_path prompt_data data_path data_files training_data data.path dataset_mixture
    dataset_dir
data.eval: a file (.json, .jsonl, .csv, .parquet) or a name on the hub
    val_data val_file val_files eval_data eval_file eval_dataset validation_file test_file
    eval_dataset_name test_data valid_data validation_data
data.train_split
    dataset_train_split split train_dataset_split
data.eval_split
    dataset_test_split dataset_eval_split test_split val_split
data.config_name
    dataset_config dataset_config_name subset data.name
data.question_field
    dataset_prompt_column prompt_column prompt_key prompt_field input_key question_key
    question_column problem_field dataset_text_field
    data.prompt data.question data.problem data.input data.instruction
data.answer_field
    answer_key answer_column label_key solution_field reward_fn_key
    data.answer data.response data.output data.solution data.label data.ground_truth
data.system_prompt
    system system_message system_content
data.max_train_examples: and data.max_eval_examples
    max_samples max_examples max_train_samples
data.eval_fraction
    val_set_size val_size test_size eval_ratio validation_split
data.max_prompt_length: longer prompts are counted and left out, never cut
    filter_overlong_prompts truncation truncation_mode
seed
    random_state random_seed
seed: one seed draws everything
    data_seed dataset_seed split_seed shuffle_seed
-: rewards get every column of the data; leave it out
    remove_unused_columns label_names
-: problems are shuffled by seed; leave it out
    shuffle shuffle_dataset shuffle_data
-: a problem is a whole row here: nothing is packed, grouped or padded beforehand
    packing sample_packing packing_strategy padding_free eval_packing pad_to_multiple_of
    pad_to_sequence_len train_sampling_strategy length_column_name group_by_length dataset_kwargs
    dataset_num_proc preprocessing_num_workers overwrite_cache dataset_prepared_path
    dataset_streaming dataloader_drop_last dataloader_num_workers dataloader_pin_memory
    dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context
    dataloader_in_order completion_only_loss assistant_only_loss
rewards.parts: each by its name with its weight, as in `correctness: 1.0`
    reward_funcs reward_functions reward_fns reward_fn reward_function custom_reward_function
    reward_weights reward_names weights
rewards.parts.reward_model.params.model
    reward_model_path reward_pretrain reward_model_name_or_path
rewards.parts: the part is called reward_model
    reward_model reward_processing_classes
rewards.aggregation
    multi_objective_aggregation
evaluation.every_steps: in steps; null evaluates before and after only
    eval_steps eval_strategy evaluation_strategy test_freq eval_every eval_freq eval_interval
    evals_per_epoch eval_on_start_steps
evaluation.before
    eval_on_start val_before_train eval_before_train
evaluation.after
    do_eval do_predict eval_on_end
evaluation.max_rows: answers sampled at once; null lets the engine decide
    per_device_eval_batch_size eval_batch_size val_batch_size
evaluation.temperature
    eval_temperature val_kwargs.temperature
data.max_eval_examples
    eval_samples max_eval_samples eval_limit
-: evaluation.every_steps keeps the best model in best_model/; evaluation.best_metric says by what
    load_best_model_at_end greater_is_better save_best_model
evaluation.best_metric
    metric_for_best_model
evaluation.patience
    early_stopping_patience early_stopping
-: an evaluation is Pass@K on sampled answers: evaluation.every_steps, num_samples and k
    eval_delay eval_accumulation_steps prediction_loss_only eval_do_concat_batches
    eval_use_gather_object include_for_metrics batch_eval_metrics
-: every step is logged, in the run's metrics.jsonl; leave it out
    logging_steps log_steps logging_strategy logging_first_step logging_interval log_freq
    log_every_n_steps logging_nan_inf_filter include_num_input_tokens_seen skip_memory_metrics
output_dir: the logs are in the run's folder there
    logging_dir log_dir
-: every completion is kept, in the run's rollouts.jsonl; leave it out
    log_completions num_completions_to_print log_unique_prompts log_multimodal
    log_completions_hub_repo wandb_log_unique_prompts print_samples
-: what libraries print goes to the run's libraries.log; --quiet shows notices only
    log_level log_level_replica log_on_each_node disable_tqdm verbose plot_loss debug
tracking.wandb: off, offline or online; trackio has tracking.trackio
    report_to logger use_wandb loggers
tracking.project
    wandb_project project_name
tracking.entity
    wandb_entity
tracking.run_name
    wandb_name wandb_run_name experiment_name exp_name
tracking.trackio: local
    trackio_space_id trackio_bucket_id trackio_static_space_id
training.save_steps
    save_freq save_every checkpoint_steps saves_per_epoch save_interval
training.save_steps: in steps; the last checkpoint and final_model are always written
    save_strategy
training.save_total_limit
    max_checkpoints keep_checkpoints max_ckpt_to_keep
output_dir
    save_path save_dir default_local_dir output_path ckpt_path export_dir
-: checkpoints are whole, so that a run resumes to the bit; training.save_total_limit
    save_only_model save_on_each_node enable_jit_checkpoint
-: `groupwise train CONFIG` makes a new run, and with --resume continues it
    resume_from_checkpoint resume_mode resume auto_resume ignore_data_skip
    restore_callback_states_from_checkpoint overwrite_output_dir do_train
-: a run uploads nothing; its final_model/ is a folder for `hf upload`
    push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision
    push_to_hub_model_id hf_token
-: training is on one GPU, or the same on each of several (docs/scaling.md)
    ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph
    ddp_backend ddp_timeout fsdp fsdp_config deepspeed local_rank accelerator_config
    parallelism_config ds3_gather_for_generation average_tokens_across_devices nnodes
    n_gpus_per_node num_gpus zero_stage ignore_bias_buffers
-: a GPU is used where there is one; to hide it: CUDA_VISIBLE_DEVICES=
    use_cpu no_cuda device device_map
training.longest_first: which tries one step, and names the completions_per_forward that fits
    auto_find_batch_size
seed: the same config, seed and machine give the same weights
    full_determinism deterministic
"""

OTHER_NAMES = dict(_read(_TABLE))
