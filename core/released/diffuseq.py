"""Recordings of the released DiffuSeq, replayed by ours.

Its own vocabulary has START, END, UNK and PAD where ours has BOS, PAD, EOS and UNK: the types are renamed.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.diffusion import end_to_end
from core.diffusion.end_to_end import Draws
from core.diffusion.end_to_end_sections import ProcessConfig, SpaceConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout
from core.diffusion.probes import nearest_types
from core.diffusion.samplers import one_down
from core.diffusion.time_samplers import LossSecondMoments
from core.diffusion.walks import Plan, Walker, one_below
from core.errors import UserError
from core.methods.diffuseq import DiffuSeq
from core.methods.diffuseq_options import CanvasConfig, CanvasWalk, Options
from core.model_folder import load_weights
from core.networks.token_loss import token_terms
from core.options import replaced, values_of
from core.released.archives import Weights
from core.released.comparison import Arrays, Comparison
from core.released.recordings import check_epsilon, encoder_decoder, kept_steps, own_state, tensor
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK
from core.training.step import reduced

PARTS = {
    "time_embed.": "time.",
    "input_up_proj.": "up.",
    "output_down_proj.": "down.",
    "LayerNorm.": "input_norm.",
    "input_transformers.layer.": "layers.",
    ".attention.output.dense.": ".attention.out.",
    ".attention.output.LayerNorm.": ".attention_norm.",
    ".intermediate.dense.": ".ffn.0.",
    ".output.dense.": ".ffn.2.",
    ".output.LayerNorm.": ".ffn_norm.",
}
TABLES = {
    "word_embedding.weight": "embedding.table",
    "lm_head.bias": "embedding.bias",
    "position_embeddings.weight": "positions.table",
}


def replay(options: dict[str, Any], weights: Weights, case: Arrays) -> dict[str, Any]:
    """How far our DiffuSeq is from a recording: batch, training step and gradients, sampler of t, decodings."""
    ours, types = configuration(options, case), our_types(options)
    method = DiffuSeq(ours)
    network = network_of(method, options, weights, types)
    check_epsilon(options, network)
    found = Comparison()
    replay_training(found, method, network, case, types)
    if "sampler_t" in case:
        replay_sampler(found, case, options["diffusion_steps"])
    layout = network.layout(*sides(case, types))
    for name in options["decodings"]:
        chosen = decoding_of(ours, options, options[name])
        replay_decoding(found, network, chosen, options[name]["gap"], layout, case, name, types)
    return found.report()


# What was recorded, in our terms


def our_types(options: dict[str, Any]) -> Tensor:
    """Our index of each of its types, [V]: the four special ones change places."""
    ours = torch.full((options["vocab_size"],), -1)
    for name, index in (("start", BOS), ("end", EOS), ("pad", PAD), ("unk", UNK)):
        ours[options[name]] = index
    if options["sep"] != options["end"] or sorted(ours[ours >= 0].tolist()) != [BOS, PAD, EOS, UNK]:
        raise UserError("a recording in which SEP is not END, or special types share an index, is not replayed")
    ours[ours < 0] = torch.arange(4, len(ours))
    return ours


def configuration(options: dict[str, Any], case: Arrays) -> Options:
    """Our options for a recording's. Raises UserError on values that no run can have."""
    if not options["predict_xstart"]:
        raise UserError("a recording of a network that predicts the noise is not replayed")
    lossaware = "sampler_t" in case
    made = Options(
        encoder_decoder(options | {"encoder_layers": options["layers"], "decoder_layers": 0}),
        SpaceConfig(
            latent_dim=options["hidden_dim"],
            time_dim=options["hidden_t_dim"],
            rescale_timesteps=options["rescale_timesteps"],
        ),
        canvas=CanvasConfig(sequence_length=options["seq_len"], count_source=True),
        diffusion=ProcessConfig(
            diffusion_steps=options["diffusion_steps"],
            schedule=options["noise_schedule"],
            time_sampler="lossaware" if lossaware else "uniform",
        ),
        decoding=CanvasWalk(variance="large", decoding_steps=2),
    )
    return replaced(made, values_of(made, all_of_them=True))


def decoding_of(ours: Options, options: dict[str, Any], walk: dict[str, Any]) -> Options:
    """Our options with a recorded decoding. It goes by gap (DDIM) or by respacing; DDIM ignores clamp_step and top_p.

    Raises UserError on what the released code has and ours has not.
    """
    T, ddim = options["diffusion_steps"], "eta" in walk or walk["gap"] > 1
    kept = walk["timestep_respacing"]
    if not walk["clamp_first"] or walk.get("eta", 0.0) != 0.0 or (ddim and kept):
        raise UserError("a decoding that clamps last, adds noise to DDIM, or respaces DDIM is not replayed")
    top_p = walk["top_p"] if walk["top_p"] and walk["top_p"] > 0 else None
    made = CanvasWalk(
        sampler="ddim" if ddim else "ancestral",
        variance="large",
        released_ddim=ddim,
        decoding_steps=T // walk["gap"] if ddim else kept_steps(kept, T),
        clamp_step=0 if ddim else walk["clamp_step"],
        top_p=None if ddim or top_p is None else float(top_p),
    )
    chosen = replaced(ours, values_of(made, all_of_them=True))
    chosen.check()
    return chosen


def network_of(method: DiffuSeq, options: dict[str, Any], weights: Weights, types: Tensor) -> LatentDenoiser:
    """Our network with the recorded weights, dropout off."""
    network = method.build(options["vocab_size"], options["seq_len"])
    positions = options["max_positions"]
    network.positions.table = torch.nn.Parameter(torch.empty(positions, options["width"]))  # type: ignore[union-attr]
    load_weights(network, renamed(weights, types) | own_state(network), "the recording")
    return network.eval()


def renamed(weights: Weights, types: Tensor) -> Weights:
    """Weights, or their gradients, by our names: types in our order; queries, keys and values joined."""
    found: Weights = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        if name in TABLES:
            found[TABLES[name]] = (
                value[types.argsort()] if len(value) == len(types) and "position" not in name else value
            )
        elif ".attention.self." in name:
            layer, _, rest = name.partition(".attention.self.")
            part, _, kind = rest.partition(".")
            joined.setdefault(f"{layer}.attention.qkv.{kind}", {})[part] = value
        elif name != "lm_head.weight":  # the same matrix as word_embedding.weight
            found[our_name(name)] = value
    for name, parts in joined.items():
        found[our_name(name)] = torch.cat([parts[part] for part in ("query", "key", "value")])
    return found


def our_name(name: str) -> str:
    """Our name of a weight."""
    for theirs, ours in PARTS.items():
        if theirs[0] == "." or name.startswith(theirs):
            name = name.replace(theirs, ours)
    return name


# Replay


def sides(case: Arrays, types: Tensor) -> tuple[Tensor, Tensor]:
    """The recorded sources and targets, which are bare ids, as ours: with EOS, and BOS before targets."""

    def rows(side: str, before: list[int]) -> Tensor:
        parts = types[tensor(case, f"{side}_flat").long()].split(tensor(case, f"{side}_lengths").tolist())
        made = [torch.tensor([*before, *part.tolist(), EOS]) for part in parts]
        return torch.nn.utils.rnn.pad_sequence(made, batch_first=True, padding_value=PAD)

    return rows("src", []), rows("trg", [BOS])


def replay_training(found: Comparison, method: DiffuSeq, network: LatentDenoiser, case: Arrays, types: Tensor) -> None:
    """The batch, x_t, the network's output, the terms of each sentence, and gradients of the loss."""
    batch, t = Batch.padded(*sides(case, types)), tensor(case, "t").long()
    noise = tensor(case, "x_start_noise"), tensor(case, "noise")
    draws = Draws(t, tensor(case, "weights_t").float(), *noise, None, network.beside)
    layout, made = end_to_end.predict(network, batch, draws, 0.0)
    found.decision("input_ids", layout.ids, types[tensor(case, "input_ids").long()].numpy())
    found.decision("input_mask", layout.written, case["input_mask"])
    found.number("model_timesteps", t * torch.tensor(network.time_scale), case["model_timesteps"])
    for name, value in (("x_start", made.x_0), ("x_t", made.x_t), ("model_output", made.out)):
        found.number(name, value, case[name])
    even = replace(draws, weight=torch.ones_like(draws.weight))
    parts = {name: term.values for name, term in method.loss(network, batch, even).terms.items()}
    everywhere = method.counted(layout)
    for name, ours in (("mse", ["mse"]), ("decoder_nll", ["token"]), ("tT", ["tT"]), ("loss", ["mse", "token", "tT"])):
        value = end_to_end.sentences(batch, everywhere, [parts[one] for one in ours])
        found.number(f"term_{name}", value, case[f"term_{name}"])
    logged = token_terms(network, made.out.flatten(0, 1), layout.ids.flatten(), 0.0)[1].view(layout.ids.shape)
    logged = (logged * layout.written).sum(1) / layout.written.sum(1)
    found.number("term_nll_logged", logged, case["term_nll_logged"])
    total = reduced(method.loss(network, batch, draws))
    found.number("loss", total, case["loss"])
    total.backward()
    learned = dict(network.named_parameters())
    for name in [name for name in case if name.startswith("grad/")]:
        ((ours_name, theirs),) = renamed({name.removeprefix("grad/"): tensor(case, name)}, types).items()
        grad = learned[ours_name].grad
        assert grad is not None
        found.number(name, grad, theirs.numpy())


def replay_sampler(found: Comparison, case: Arrays, T: int) -> None:
    """The weights by which t is drawn before and after its losses, what is drawn, and the importance weights."""
    moments = LossSecondMoments(T)
    if "sampler_weights_before" in case:
        found.number("sampler_weights_before", moments.weights(), case["sampler_weights_before"])
    moments.update(tensor(case, "sampler_t").long(), tensor(case, "sampler_losses"))
    found.number("sampler_weights", moments.weights(), case["sampler_weights"])
    t, weight = moments.draw(tensor(case, "sampler_uniforms").double())
    found.decision("sampler_drawn", t, case["sampler_drawn"])
    found.number("sampler_importance", weight, case["sampler_importance"])


@torch.no_grad()
def replay_decoding(
    found: Comparison,
    network: LatentDenoiser,
    ours: Options,
    gap: int,
    layout: Layout,
    case: Arrays,
    name: str,
    types: Tensor,
) -> None:
    """Each step's output, what it was rounded to, x after it; at the end tokens and their logits. DDIM goes by its gap.

    The ids of the canvas are those of the recorded pairs; nothing looks at them where text is written.
    """
    name = f"decode_{name}"
    start = tensor(case, f"{name}_initial_noise")
    layout = Layout(*(each[: len(start)] for each in (layout.ids, layout.written, layout.seen)))
    walk, walker = ours.decoding, Walker(network, layout, None)
    plan = Plan.build(ours.diffusion, walk)
    kept = torch.tensor(plan.visited.t)
    if walk.released_ddim:
        visited = one_below(ours.diffusion, gap)
        plan = Plan(visited, one_down(visited), slipping=True)
        kept = torch.arange(network.process.steps)
    step_noise = case.get(f"{name}_step_noise")
    noises = iter(()) if step_noise is None else iter(torch.from_numpy(step_noise))
    told, outputs, samples, rounded = list[float](), list[Tensor](), list[Tensor](), list[Tensor]()

    def look(*, t: float, z_t: Tensor, z_0_hat: Tensor) -> None:
        k = plan.calls - 1 - len(told)
        nearest = nearest_types(z_0_hat.flatten(0, 1), network.embedding.all_z_0()).view(layout.ids.shape)
        told.append(t)
        outputs.append(z_0_hat)
        samples.append(z_t)
        rounded.append(nearest if walk.clamping and k >= walk.clamp_step else torch.full_like(nearest, -1))

    x = walker.walk(plan, walk, start, lambda like: next(noises), look)
    times = torch.tensor(told).float() * torch.tensor(network.time_scale)
    found.number(f"{name}_model_timesteps", times, case[f"{name}_model_timesteps"])
    found.decision(f"{name}_kept_steps", kept, case[f"{name}_kept_steps"])
    found.number(f"{name}_model_output", torch.stack(outputs), case[f"{name}_model_output"])
    found.number(f"{name}_sample", torch.stack([*samples[1:], x]), case[f"{name}_sample"])
    theirs = tensor(case, f"{name}_rounded_tokens").long()
    theirs = torch.where(theirs < 0, -1, types[theirs.clamp(min=0)])
    found.decision(f"{name}_rounded_tokens", torch.stack(rounded), theirs.numpy())
    scores, tokens = network.embedding.logits(x).max(-1)
    found.decision(f"{name}_tokens", tokens, types[tensor(case, f"{name}_tokens").long()].numpy())
    found.number(f"{name}_scores", scores, case[f"{name}_scores"])
