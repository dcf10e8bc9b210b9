"""Recordings of DINOISER, replayed by ours (yegcjs/DINOISER, a9c50bd)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.diffusion.decoding import length_mask, time
from core.diffusion.denoiser import Memory
from core.diffusion.dinoiser_network import SphereDenoiser
from core.diffusion.dinoiser_sections import SphereConfig
from core.diffusion.draws import Draws
from core.diffusion.noise_clipping import least_time
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Noise, Step, sample
from core.errors import UserError
from core.methods.dinoiser import Dinoiser, by_sentence, clamped, in_two_stages, passes, times, visited
from core.methods.dinoiser_options import Clipping, Decoding, Options
from core.model_folder import load_weights
from core.released.archives import Weights
from core.released.comparison import Arrays, Comparison
from core.released.recordings import Part, checked_options, encoder_decoder, tensor
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK
from core.training.step import reduced


def replay(options: dict[str, Any], weights: Weights, case: Arrays) -> dict[str, Any]:
    """The report of a recording (see core/released/systems.py)."""
    method = Dinoiser(configuration(options))
    network = build_network(method.options, options, weights)
    source, target = (tensor(case, side).long() for side in ("src", "tgt"))
    batch, found = Batch.padded(source, target), Comparison()
    replay_training(method, network, batch, case, found)
    with torch.no_grad():
        replay_encoder(network, batch, case, found)
        for name, given in options["decodings"].items():
            pairs = options["decode_pairs"]
            part = Batch.padded(source[:pairs], target[:pairs])
            recorded, ours = Part(case, f"decode_{name}_"), decoding_of(given, method.options)
            replay_decoding(network, part, given, ours, recorded, f"decode_{name}", found)
    return found.report()


def configuration(options: dict[str, Any]) -> Options:
    """Our options for a recording's."""
    for name, ours in REPLAYED.items():
        if options.get(name, ours) != ours:
            raise UserError(f"option {name}: {options[name]!r}; recordings of DINOISER are replayed with {ours!r}")
    norms = {"pre_norm": options["enc_prenorm"], "decoder_pre_norm": options["dec_prenorm"]}
    network = replace(encoder_decoder(options), **norms)
    space = SphereConfig(
        latent_dim=options["latent_dim"],
        self_conditioning=options["self_conditioning"],
        time_features=options["half_time_embedding_dim"],
    )
    return checked_options(Options(network, space, Clipping(options["time_sampler"], options["initial_min_t"])))


REPLAYED: dict[str, Any] = {
    **{"scheduler": "interchangable", "model_output_type": "x0", "normalized_embedding": True, "max_t": 1.0},
    **{"length_predict_type": "difference", "layer_norm_eps": 1e-5},
    **{"bos": BOS, "pad": PAD, "eos": EOS, "unk": UNK},
}
"""Options of which ours has one value alone."""

SOLVERS = ("cedi", "ddim", "ddpm")


# Weights


def build_network(ours: Options, options: dict[str, Any], weights: Weights) -> SphereDenoiser:
    """Our network with the recorded weights. Raises UserError naming weights that are missing or left over."""
    network = SphereDenoiser(ours.network, ours.space, options["vocab_size"], options["max_positions"])
    load_weights(network, rename(weights, options["dec_prenorm"]), "the recording")
    return network.eval()


PREFIXES = {
    "encoder.encoder.layers.": "encoder_layers.",
    "encoder.encoder.norm.": "encoder_norm.",
    "encoder.enc_token_embed.weight": "source_table",
    "encoder.enc_pos_embed.weight": "encoder_positions.table",
    "decoder.pos_embedding.weight": "decoder_positions.table",
    "decoder.trm.layers.": "decoder_layers.",
    "vae.embedding.weight": "embedding.table",
    "bottleneck.time_proj.": "time.",
    "bottleneck.up_sampler.": "up.",
    "bottleneck.down_sampler.": "down.",
    "length_predictor.length_predictor.": "length.",
    "timeW": "frequencies",
}
PARTS = {
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj": "attention.out",
    "multihead_attn.out_proj": "cross.out",
    "linear1": "ffn.0",
    "linear2": "ffn.2",
    "norm1": "attention_norm",
}


def rename(weights: Weights, decoder_pre_norm: bool) -> Weights:
    """Recorded weights by our names; the joined matrix of cross-attention is taken apart."""
    renamed: Weights = {}
    for name, value in weights.items():
        ours = name.replace("decoder.norm.", "decoder_norm." if decoder_pre_norm else "input_norm.")
        for theirs, prefix in PREFIXES.items():
            if name.startswith(theirs):
                ours = prefix + name.removeprefix(theirs)
        for theirs, part in PARTS.items():
            ours = ours.replace(theirs, part)
        norms = {"norm2": "cross_norm", "norm3": "ffn_norm"} if ours.startswith("decoder") else {"norm2": "ffn_norm"}
        for theirs, norm in norms.items():
            ours = ours.replace(f".{theirs}.", f".{norm}.")
        if "multihead_attn.in_proj_" in ours:
            d = len(value) // 3
            renamed[ours.replace("multihead_attn.in_proj_", "cross.q.")] = value[:d]
            renamed[ours.replace("multihead_attn.in_proj_", "cross.kv.")] = value[d:]
        else:
            renamed[ours] = value
    return renamed


# Training


def replay_training(method: Dinoiser, network: SphereDenoiser, batch: Batch, case: Arrays, found: Comparison) -> None:
    """The two recorded forward passes: the first one's least t is not clipped yet, the second one's is."""
    clipping = method.options.clipping
    clipped = least_time(network.embedding.output().detach(), clipping.clipping, clipping.least_noise)
    least = torch.stack([torch.tensor(clipping.least_noise), clipped, clipped])
    found.number("min_t", least, case["min_t"])
    for index in (1, 2):
        recorded = Part(case, f"train{index}_")
        t = times(tensor(recorded, "t_uniform"), least[index - 1])
        draws = Draws(t, tensor(recorded, "noise"), coin=True)
        made = passes(network, batch, draws)
        losses = method.loss(network, batch, draws).terms
        diffusion, token = losses["mse"].mean(), losses["token"].weight * losses["token"].mean()
        z_0 = network.embedding(batch.target)
        mse = [by_sentence((z_0_hat - z_0).square().mean(-1), batch) for z_0_hat in made.z_0_hat]
        each = by_sentence(exact_nll(network, z_0, batch.target), batch)
        ours = {
            "t": t,
            "x_t": made.z_t,
            "x0_hat_first": made.z_0_hat[0],
            "x0_hat": made.z_0_hat[-1],
            "diffusion_loss_per_pass": torch.stack(mse),
            "nll_per_pass": torch.stack([each] * len(mse)),
            "diffusion_loss": diffusion,
            "nll": each.mean() * len(mse),
            "loss": diffusion + token,
        }
        for name in [name for name in ours if name in recorded]:
            found.number(f"train{index}_{name}", ours[name].detach(), recorded[name])
    reduced(method.loss(network, batch, draws)).backward()
    found.gradients(network, GRADIENTS, case, "grad2/")


def exact_nll(network: SphereDenoiser, z: Tensor, y: Tensor) -> Tensor:
    """token_nll in float64: that of a type's own embedding is so small that its float32 has three digits."""
    logits = z.double() @ network.embedding.output().double().T
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), y, reduction="none")


GRADIENTS = {"vae.embedding.weight": "embedding.table", "bottleneck.up_sampler.0.weight": "up.0.weight"}


def replay_encoder(network: SphereDenoiser, batch: Batch, case: Arrays, found: Comparison) -> None:
    """Embeddings, the encoder, and lengths."""
    memory = network.encode(batch.source, batch.source_mask)
    target = network.length_target(memory.lengths, batch.target_mask.sum(1))
    loss = torch.nn.functional.cross_entropy(memory.length_logits, target)
    found.number("z_0", network.embedding(batch.target), case["z_0"])
    found.number("encoder_out", memory.encoded * batch.source_mask[:, :, None], case["encoder_out"])
    found.number("length_logits", memory.length_logits, case["length_logits"])
    found.number("length_loss", loss, case["length_loss"])
    found.decision("length_target", target, case["length_target"])
    found.decision("length_prediction", network.likely_lengths(memory, 1)[:, 0], case["length_prediction"])


# Decoding


def ddpm(visited: Visited) -> Step:
    """Ancestral sampling as released: z_0_hat is weighed by the signal of z_k, where that of z_{k-1} is meant."""
    right, signal = SAMPLERS["ancestral"](visited), visited.signal.tolist()

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        return right(k, z_k, z_0_hat, noise) + (signal[k] - signal[k - 1]) * z_0_hat

    return step


def replay_decoding(
    network: SphereDenoiser,
    batch: Batch,
    given: dict[str, Any],
    decoding: Decoding,
    case: Arrays,
    name: str,
    found: Comparison,
) -> None:
    """One decoding: each call's input and output, tokens, scores and the choice among candidates."""
    steps = torch.linspace(1.0, given["end"], given["steps"] + 1)
    found.number(f"{name}_timesteps", steps, case["timesteps"])
    found.number(f"{name}_model_times", steps[:-1], case["model_times"])
    memory = network.encode(batch.source, batch.source_mask)
    lengths = network.likely_lengths(memory, decoding.length_candidates)
    if given["oracle_length"]:
        lengths = batch.target_mask.sum(1)[:, None].expand(-1, decoding.length_candidates)
    lengths = lengths[:, :, None].expand(-1, -1, decoding.noise_candidates).flatten()
    z_T = tensor(case, "init_noise")
    mask = length_mask(lengths, z_T.shape[1])
    inputs, outputs = denoised(network, memory, mask, decoding, given["solver"], z_T, case)
    logits = network.embedding.logits(outputs[-1])
    scores = logits.amax(-1) * mask
    tokens = torch.where(mask, logits.argmax(-1), PAD)
    score = scores.sum(1) / (scores != 0).sum(1)
    count = decoding.length_candidates * decoding.noise_candidates
    kept = [chosen(tokens[start : start + count], decoding) + start for start in range(0, len(tokens), count)]
    found.number(f"{name}_x_t", inputs, case["x_t"])
    found.number(f"{name}_x0_hat", outputs, case["x0_hat"])
    found.number(f"{name}_all_scores", scores, case["all_scores"])
    found.number(f"{name}_score", score[kept], case["score"])
    found.decision(f"{name}_all_tokens", tokens, case["all_tokens"])
    found.decision(f"{name}_selected", torch.tensor(kept), case["selected"])
    rows = [tokens[index][tokens[index] != PAD] for index in kept]  # one written in the middle is left off too
    found.decision(f"{name}_tokens_flat", torch.cat(rows), case["tokens_flat"])
    found.decision(f"{name}_tokens_lengths", torch.tensor([len(row) for row in rows]), case["tokens_lengths"])


def decoding_of(given: dict[str, Any], options: Options) -> Decoding:
    """Our options for a recorded decoding. Raises UserError on those that no run can have."""
    if given["solver"] not in SOLVERS:
        raise UserError(f"solver {given['solver']!r}; recordings of DINOISER are replayed with {', '.join(SOLVERS)}")
    cedi = given["solver"] == "cedi"
    decoding = Decoding(
        sampler="cedi" if cedi else "ddim",
        decoding_steps=given["steps"],
        cedi_end=given["end"] if cedi else Decoding.cedi_end,
        least_level=Decoding.least_level if cedi else given["end"],
        clamping=given["clamp"],
        length_candidates=given["beam"],
        noise_candidates=given["mbr"],
    )
    return checked_options(replace(options, decoding=decoding)).decoding


def denoised(
    network: SphereDenoiser, memory: Memory, mask: Tensor, decoding: Decoding, solver: str, z_T: Tensor, case: Arrays
) -> tuple[Tensor, Tensor]:
    """Input and output of each network call, each [K, R, L, d_e], padding included."""
    inputs, outputs = list[Tensor](), list[Tensor]()
    noise = iter(tensor(case, "step_noise") if solver == "ddpm" else z_T[:0])

    def denoise(z_t: Tensor, t: float, z_0_prev: Tensor | None) -> Tensor:
        inputs.append(z_t)
        outputs.append(clamped(network, network.denoise(z_t, time(t, z_t), mask, memory, z_0_prev), decoding))
        return outputs[-1]

    sampler, steps = ddpm if solver == "ddpm" else SAMPLERS[solver], visited(decoding)
    sample(sampler(steps), denoise, steps, z_T, lambda like: next(noise), 0)
    return torch.stack(inputs), torch.stack(outputs)


def chosen(tokens: Tensor, decoding: Decoding) -> int:
    """Index of the chosen one among a sentence's candidates [C, L], by BLEU (13a) of their texts."""
    names = {UNK: "UNKNOWNTOKENINHYP"}
    texts = [
        " ".join(names.get(token, f"w{token}") for token in row if token not in (BOS, PAD, EOS))
        for row in tokens.tolist()
    ]
    return in_two_stages(texts, decoding.noise_candidates, "13a")
