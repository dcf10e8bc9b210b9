"""Recordings of RDM, replayed by ours."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from core.discrete.decoding import Chance, gumbel, lengths_around, predictor, special
from core.discrete.noise import BARRED, SPECIAL, Multinomial
from core.discrete.options import Routing, TokenObjective
from core.discrete.routing import Router, Written, time_grid
from core.discrete.weighted import NoisyNetwork, Seen, token_losses, weighted
from core.errors import UserError
from core.methods.rdm import RDM, Draws
from core.methods.rdm_options import Options, TokenNoise
from core.released.archives import Weights
from core.released.cmlm import (
    compare_encoder,
    compare_gradients,
    compare_winners,
    network_config,
    network_of,
    recorded_batch,
    tokens_config,
)
from core.released.comparison import Arrays, Comparison
from core.released.recordings import checked_options, tensor
from core.text.tokenizer import PAD
from core.training.step import reduced

AS_EXPECTED = {
    "noise_scheduler_type": "cosine",
    "noise_distribution": "uniform",
    "time_sampler_type": "uniform",
    "timestep_emb_type": "sinusoidal",
    "encoder_use_rpe": False,
    "decoder_use_rpe": False,
    "scale_attn_masking": False,
}
"""Options of which one value is replayed."""
UNIFORMS = {
    "start": "init_gumbel_uniform",
    "start_order": "init_order_uniform",
    "topk": "step_topk_uniform",
    "unmask": "step_unmask_uniform",
}
"""Arrays of uniform numbers by what they are for."""


# Options


def configuration(options: dict[str, Any]) -> Options:
    """Our options for a recording's, its decodings aside. Raises UserError on what is not replayed."""
    for name, value in AS_EXPECTED.items():
        if options.get(name, value) != value:
            raise UserError(f"a recording with {name} = {options[name]!r} is not replayed; {value!r} is")
    if options["encoder_concat_pe"] != options["decoder_concat_pe"]:
        raise UserError("a recording whose sides differ in concat_pe is not replayed")
    kind, form = str(options["diffusion_type"]), "reparameterised"
    kind, form = (kind.removeprefix("reparam-"), form) if kind.startswith("reparam-") else (kind, "vanilla")
    if kind == "multinomial" and not options["not_diffusing_special_sym"]:
        raise UserError("a recording whose multinomial noise changes BOS, EOS and PAD is not replayed")
    process = TokenNoise(
        noise=kind,  # type: ignore[arg-type]
        noise_steps=options["num_diffusion_timesteps"],
        coupled=options["q_sample_mode"] == "coupled",
        noise_special=not options["not_diffusing_special_sym"],
        joined_positions=bool(options["encoder_concat_pe"]),
    )
    objective = TokenObjective(
        loss_form=form,  # type: ignore[arg-type]
        reweighting=options["reweighting_type"],
        label_smoothing=options["label_smoothing"],
        length_loss_factor=options["length_loss_factor"],
        times_T=True,
        smoothing_reweighted=False,
        mean_over_padding=True,
    )
    tokens = tokens_config(options | {"share_all_embeddings": options.get("share_all_embeddings", True)})
    return checked_options(Options(network_config(options), tokens, process, objective))


def decoding(recorded: dict[str, Any], options: Options) -> Routing:
    """Our options for a recorded decoding: 'default', or 'reparam-{cond,uncond}-{deterministic,stochasticX}-SCHEDULE'.

    Raises UserError on another strategy, and on one whose draws are not recorded.
    """
    absorbing = options.process.noise == "absorbing"
    if not recorded["argmax"]:
        raise UserError("a decoding that draws its words is not replayed; one with argmax is")
    made = Routing(
        length_candidates=recorded["beam"],
        count_ends=True,
        predict_special=True,
        passes=recorded["steps"],
        routing="vanilla",
        temperature=0.0,
        late_time=absorbing,
        loose_cut=True,
        distinct_start=not absorbing,
    )
    if recorded["strategy"] == "default" and not absorbing:
        raise UserError("a vanilla decoding ('default') of multinomial noise is not replayed")
    if recorded["strategy"] != "default":
        found = re.fullmatch(r"reparam-(\w+)-(deterministic|stochastic[\d.]+)-(\w+)", str(recorded["strategy"]))
        if found is None:
            raise UserError(f"the decoding strategy {recorded['strategy']!r} is not replayed")
        noise = float(found[2].removeprefix("stochastic")) if found[2] != "deterministic" else 0.0
        made = replace(made, routing=found[1], routing_schedule=found[3], routing_noise=noise)  # type: ignore[arg-type]
    return checked_options(replace(options, decoding=made)).decoding


class Recorded(Chance):
    """The random numbers of a recorded decoding; what was not recorded as numbers, as what was made of them.

    Raises KeyError naming an array that is missing.
    """

    def __init__(self, case: Arrays, name: str) -> None:
        self.case, self.name = case, name
        self.steps: dict[str, Iterator[Tensor]] = {}

    def of_step(self, key: str) -> Tensor:
        """What an array has for the next step."""
        if key not in self.steps:
            self.steps[key] = iter(tensor(self.case, f"{self.name}_{key}"))
        return next(self.steps[key])

    def uniform(self, what: str, *shape: int) -> Tensor:
        """Those recorded for the next step, or for the start."""
        key = UNIFORMS[what]
        found = self.of_step(key) if key.startswith("step_") else tensor(self.case, f"{self.name}_{key}")
        return found.float()

    def types(self, what: str, log_p: Callable[[Tensor], Tensor], places: Tensor) -> Tensor:
        """By the recorded numbers, or else the recorded types."""
        if f"{self.name}_step_noise_uniform" in self.case:
            return (log_p(places) + gumbel(self.of_step("step_noise_uniform").float()[places], 1e-10)).argmax(-1)
        return self.of_step("step_noise_tokens")[places].long()


# Replaying


def replay(options: dict[str, Any], weights: Weights, case: Arrays) -> dict[str, Any]:
    """How far our RDM is from a recording, in training and in each decoding."""
    ours, decodings = configuration(options), options["decodings"]
    if not isinstance(decodings, dict) or not all(isinstance(each, dict) for each in decodings.values()):
        raise UserError("the decodings of a recording are no mapping of names to options")
    method, found = RDM(ours), Comparison()
    network: Any = network_of(method, options, weights)
    replay_training(found, method, network, case, options["max_positions"])
    with torch.no_grad():
        for name, recorded in decodings.items():
            replay_decoding(found, method, network, case, name, decoding(recorded, ours))
    return found.report()


def paired(values: Tensor) -> Tensor:
    """[2B, ...], late rows before early ones, as [B, 2, ...]."""
    return torch.stack(list(values.chunk(2)), 1)


def replay_training(found: Comparison, method: RDM, network: NoisyNetwork, case: Arrays, positions: int) -> None:
    """Noise, the network's outputs, the losses and their gradient."""
    batch, K = recorded_batch(case), 2 if method.options.process.coupled else 1
    if K == 1:
        raise UserError("a recording without coupled times is not replayed")
    t = torch.stack([tensor(case, f"t_draw_{k}") for k in (1, 2)], 1).long().sort(1, descending=True).values
    u = torch.stack([tensor(case, f"q_uniform_{k}") for k in (1, 2)], 2)
    draws = Draws(t, u, torch.full((len(t),), batch.target.shape[1]))
    seen, places = method.see(network, batch, draws), method.noised(network, batch.target, draws).places

    def theirs(name: str) -> Any:
        return paired(tensor(case, name)).flatten(0, 1).numpy()

    given = seen.noised.tokens.flatten(0, 1)
    real = given != PAD
    found.decision("t", seen.t, theirs("t"))
    found.number("weight_t", torch.full_like(seen.t, network.process.T).float(), theirs("weight_t"))
    found.decision("x_0", seen.batch.target, theirs("x_0"))
    found.decision("x_t", given, theirs("x_t"))
    if "masks" in case:
        found.decision("masks", places.flatten(0, 1), theirs("masks"))
    if "corrupted" in case:
        found.decision("corrupted", places.flatten(0, 1), theirs("corrupted"))
    if "x_0_ignore" in case:
        found.decision("x_0_ignore", seen.batch.target.masked_fill(~places.flatten(0, 1), -1), theirs("x_0_ignore"))
    compare_tables(found, network, seen, case, theirs)
    compare_encoder(found, network, batch, case)
    found.number("decoder_input", network.decoder_input(given, seen.t), theirs("decoder_input"), real)
    found.number("decoder_features", seen.states, theirs("decoder_features"), real)
    logits, recorded = network.embedding.logits(seen.states), theirs("logits")
    if isinstance(network.process, Multinomial) and (recorded[..., SPECIAL] == BARRED).all():
        logits = network.process.without_special(logits)
    found.number("logits", logits, recorded, real)
    compare_losses(found, method, network, seen, case, theirs)
    loss = reduced(method.loss(network, batch, draws))
    found.number("loss_total", loss, case["loss_total"])
    compare_gradients(found, network, loss, case, positions)


def compare_tables(
    found: Comparison, network: NoisyNetwork, seen: Seen, case: Arrays, theirs: Callable[[str], Any]
) -> None:
    """The multinomial schedule, and which tokens are no special ones, where they were recorded."""
    process = network.process
    if isinstance(process, Multinomial):
        tables = {
            "vocab_log_prob": process.log_q,
            "log_alpha": process.log_alpha,
            "log_cumprod_alpha": process.log_abar,
            "log_1_min_cumprod_alpha": process.log_1_min_abar,
        }
        for name, table in tables.items():
            if name in case:
                found.number(name, table.view(case[name].shape), case[name])
    if "non_special" in case:
        mine = ~special(seen.batch.target)
        whole = len(case["non_special"]) == len(mine)
        recorded = theirs("non_special") if whole else case["non_special"]
        found.decision("non_special", mine if whole else mine[::2], recorded)


def compare_losses(
    found: Comparison, method: RDM, network: NoisyNetwork, seen: Seen, case: Arrays, theirs: Callable[[str], Any]
) -> None:
    """The diffusion loss with and without smoothing."""
    L, T = seen.batch.target.shape[1], network.process.T
    objective = method.options.objective
    nll, _ = weighted(seen, objective, T)
    per_sentence = nll.sum(1) / L
    found.number("loss_per_sentence", per_sentence, theirs("loss_per_sentence"))
    found.number("nll_diffusion", T * per_sentence.mean(), case["nll_diffusion"])
    found.number(
        "loss_diffusion", (T * token_losses(network, seen, objective).sum(1) / L).mean(), case["loss_diffusion"]
    )


def replay_decoding(
    found: Comparison, method: RDM, network: NoisyNetwork, case: Arrays, name: str, config: Routing
) -> None:
    """Lengths, the start, each step, and the winners."""
    batch, chance = recorded_batch(case), Recorded(case, name)
    memory = network.encode(batch.source, batch.source_mask)
    lengths = lengths_around(network, memory, config.length_candidates, config.least_length)
    likely = lengths_around(network, memory, 1, config.least_length)
    found.decision(f"{name}_length_pred", likely, case[f"{name}_length_pred"])
    found.decision(f"{name}_lengths", lengths, case[f"{name}_lengths"])
    steps: list[Written] = []
    predict, reader = predictor(network, memory, lengths), method.reader(network, config, chance)
    tokens, log_p = Router(network.process, predict, reader, config, chance).write(lengths, steps.append)
    compare_steps(found, network, steps, case, name)
    compare_noise(found, Router(network.process, predict, reader, config, Recorded(case, name)), steps, case, name)
    compare_winners(found, method.written(tokens, lengths, log_p, config), log_p, case, name)


def compare_steps(found: Comparison, network: NoisyNetwork, steps: list[Written], case: Arrays, name: str) -> None:
    """What each step was given, read and wrote."""
    before, after = (torch.stack([getattr(step, which) for step in steps]) for which in ("before", "tokens"))
    found.decision(f"{name}_t", torch.tensor([step.t for step in steps]), case[f"{name}_t"])
    found.decision(f"{name}_init_tokens", before[0], case[f"{name}_init_tokens"])
    found.decision(f"{name}_step_tokens", after, case[f"{name}_step_tokens"])
    real = before != PAD
    found.number(f"{name}_step_scores", torch.stack([s.log_p for s in steps]), case[f"{name}_step_scores"], real)
    noise = torch.stack([step.noise for step in steps])
    found.decision(f"{name}_step_not_denoised", noise, case[f"{name}_step_not_denoised"], real)
    if f"{name}_step_predicted" in case:
        predicted = torch.stack([step.found for step in steps])
        found.decision(f"{name}_step_predicted", predicted, case[f"{name}_step_predicted"], real)
        sure = torch.stack([step.sure for step in steps])
        found.number(f"{name}_step_predicted_logprob", sure, case[f"{name}_step_predicted_logprob"], real)
    theirs = tensor(case, f"{name}_first_logits")
    first = network.embedding.logits(steps[0].states[:2])
    found.number(f"{name}_first_logits", first, theirs.numpy(), real[0, :2])


def compare_noise(found: Comparison, router: Router, steps: list[Written], case: Arrays, name: str) -> None:
    """The types drawn for words, used or not, where both they and the numbers that draw them were recorded."""
    drawn = f"{name}_step_noise_tokens"
    if drawn in case and f"{name}_step_noise_uniform" in case:
        words = torch.stack([~special(step.before) for step in steps])
        spans = pairwise(time_grid(router.process.T, len(steps)))
        made = [router.with_noise(step.before, at, *span) for step, at, span in zip(steps, words, spans, strict=True)]
        found.decision(drawn, torch.stack(made), case[drawn], words)
