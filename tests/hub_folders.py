"""Small models with arbitrary weights, as folders that `save_pretrained` wrote."""

import random
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from models.hub_files import quiet

TEXT = 'The cat sat in the house (and the dog ran).\nShe said: "no, 12 cats".\n'
WORDS = sorted(set(re.findall(r"[a-z]+", TEXT)))
N_CTX, D_VOCAB = 24, 304
WIDTHS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": N_CTX,
}
SHAPES = {
    "GPT2LMHeadModel": {"n_positions": N_CTX, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "LlamaForCausalLM": WIDTHS | {"num_key_value_heads": 2},
    "Gemma2ForCausalLM": WIDTHS | {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8},
    "BertLMHeadModel": WIDTHS,
}


def write_texts(folder: Path, n: int = 24) -> Path:
    """Documents that differ, in words of `TEXT` and in some of several bytes a character."""
    folder.mkdir()
    for i in range(n):
        rng = random.Random(i)
        lines = [f'The {" ".join(rng.choices(WORDS, k=16))} (and {rng.random():.3f}) "no" é日本.' for _ in range(30)]
        (folder / f"{i:02d}.txt").write_text("\n".join(lines), "utf8")
    return folder


def bpe(end: str = "<|endoftext|>") -> Tokenizer:
    """Byte-level BPE as GPT-2's: the end of a text is a special token, and offsets leave out a token's first space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT * 20], trainer)
    tokenizer.add_special_tokens([end])
    return tokenizer


def save_hub_model(folder: Path, kind: str, **overrides: Any) -> Path:
    """A model of one of `SHAPES`, whose tokenizer has an EOS if it is GPT-2, and a BOS otherwise."""
    import transformers

    tokenizer = bpe()
    end = tokenizer.token_to_id("<|endoftext|>")
    shape = {"vocab_size": D_VOCAB, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config_type = getattr(transformers, re.sub("LMHeadModel|ForCausalLM", "Config", kind))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), quiet():
        model = getattr(transformers, kind)(config_type(**(shape | SHAPES[kind] | overrides)))
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            is_gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(noise + 1 if is_gain else noise)
        model.save_pretrained(folder)
        special = {"eos_token" if kind == "GPT2LMHeadModel" else "bos_token": "<|endoftext|>"}
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder
