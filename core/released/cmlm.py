"""Recordings of fairseq's CMLM, replayed by ours; and what recordings of fairseq's parallel decoders share."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from core.candidates import Candidates
from core.config import RunConfig
from core.discrete.decoding import predictor
from core.discrete.mask_predict import Pass, mask_predict
from core.discrete.network import TokenNetwork
from core.discrete.options import TokensConfig
from core.errors import UserError
from core.methods.cmlm import CMLM, Draws
from core.methods.cmlm_options import Masking, MaskPredict, Options
from core.methods.method import Method
from core.model_folder import check_size, load_weights
from core.released.archives import Weights
from core.released.comparison import Arrays, Comparison
from core.released.reading import rename, vocabulary
from core.released.recordings import checked_options, tensor
from core.sections import LatentConfig, NetworkConfig
from core.text.batches import Batch
from core.text.tokenizer import PAD
from core.training.step import reduced

TIE = 1e-6
"""Hypotheses of one length are the same, and so are their scores but for rounding."""
TIED = "decoder.embed_tokens.weight"
RENAMED = {
    "encoder.pe_fusion_ffn.": "encoder_join.",
    "decoder.pe_fusion_ffn.": "decoder_join.",
    "decoder.time_pos_emb.output_mlp.": "time.",
}
"""Weights that these networks have beyond those of core/released/reading.py."""


# What the systems of this kind share


def network_config(options: dict[str, Any]) -> NetworkConfig:
    """The Transformer of a recording."""
    return NetworkConfig(
        model_dim=options["model_dim"],
        ffn_dim=options["ffn_dim"],
        encoder_layers=options["encoder_layers"],
        decoder_layers=options["decoder_layers"],
        heads=options["encoder_attention_heads"],
        decoder_heads=options["decoder_attention_heads"],
        dropout=options["dropout"],
        activation=options.get("activation", options.get("activation_fn", "relu")),
        pre_norm=not options["post_norm"],
        learned_positions=bool(options["learned_positions"]),
    )


def tokens_config(options: dict[str, Any]) -> TokensConfig:
    """The rest of the network. Raises UserError where the mask is not UNK, or tables are not shared."""
    if options["mask"] != options["unk"] or not options["share_all_embeddings"] or options.get("sg_length_pred"):
        raise UserError("a recording whose mask is not UNK, or whose tables are not shared, is not replayed")
    return TokensConfig(own_mask=False, length_offset=bool(options["pred_length_offset"]))


def renamed(weights: Weights, positions: int) -> Weights:
    """Weights, or their gradients, by our names."""
    usual, more = dict(weights), Weights()
    for theirs, ours in RENAMED.items():
        for name in [name for name in usual if name.startswith(theirs)]:
            more[ours + name.removeprefix(theirs)] = usual.pop(name)
    return rename(usual, LatentConfig(), positions) | more


def network_of(method: Method[Any], options: dict[str, Any], weights: Weights) -> Any:
    """Our network with the recorded weights, dropout off."""
    positions, vocab = options["max_positions"], vocabulary(weights)
    check_size(RunConfig(method.options), vocab, positions, weights, "the recording")
    network = method.build(vocab, positions)
    load_weights(network, renamed(weights, positions), "the recording")
    return network.eval()


def recorded_batch(case: Arrays) -> Batch:
    """The recorded sentences; sources that were padded on the left are padded on the right, as ours are."""
    source = tensor(case, "src").long()
    return Batch.padded(source.gather(1, real_first(source)), tensor(case, "tgt").long())


def real_first(tokens: Tensor) -> Tensor:
    """The order of places, [B, L], in which PAD comes last."""
    return (tokens == PAD).int().argsort(dim=1, stable=True)


def compare_encoder(found: Comparison, network: TokenNetwork, batch: Batch, case: Arrays) -> None:
    """The encoder's output and the length head."""
    memory = network.encode(batch.source, batch.source_mask)
    lengths = batch.target_mask.sum(1)
    source = tensor(case, "src")
    encoded = memory.encoded.take_along_dim(real_first(source).argsort(1)[:, :, None], 1)  # where they have it
    found.number("encoder_out", encoded, case["encoder_out"].swapaxes(0, 1), source != PAD)
    found.number("length_logits", memory.length_logits, case["length_logits"])
    found.decision("length_target", network.length_target(memory, lengths), case["length_target"])
    found.number("loss_length", network.length_losses(memory, lengths).mean(), case["loss_length"])


def compare_gradients(found: Comparison, network: TokenNetwork, loss: Tensor, case: Arrays, positions: int) -> None:
    """The gradient of each weight that was recorded."""
    network.zero_grad()
    loss.backward()
    ours = dict(network.named_parameters())
    for name in [name for name in case if name.startswith("grad/")]:
        joined, parts, index = place_of(name.removeprefix("grad/"))
        ((weight, theirs),) = renamed({joined: tensor(case, name)}, positions).items()
        mine = ours[weight].grad
        mine = torch.zeros_like(ours[weight]) if mine is None else mine
        found.number(name, mine.chunk(parts)[index], theirs.numpy())


def place_of(name: str) -> tuple[str, int, int]:
    """(name of the weight that a released one is joined into, how many parts that has, which one it is)."""
    if name == "encoder.embed_tokens.weight":  # the shared table is named so
        return TIED, 1, 0
    for attention, parts in ((".self_attn.", "qkv"), (".encoder_attn.", "kv")):
        for index, part in enumerate(parts):
            if f"{attention}{part}_proj." in name:
                return name.replace(f".{part}_proj.", f".{parts}."), len(parts), index
    return name, 1, 0


def compare_winners(found: Comparison, written: Candidates, log_p: Tensor, case: Arrays, name: str) -> None:
    """Scores of the hypotheses, the choice among them, and what is written of the chosen; PAD is cut out of it."""
    scores = written.score.view(len(case[f"{name}_best"]), -1)
    best = (scores >= scores.amax(1, keepdim=True) - TIE).float().argmax(1)  # the first of the highest
    found.number(f"{name}_hypo_scores", written.score, case[f"{name}_hypo_scores"])
    found.decision(f"{name}_best", best, case[f"{name}_best"])
    rows = torch.arange(len(best)) * (len(written.score) // len(best)) + best
    found.number(f"{name}_score", written.score[rows], case[f"{name}_score"])
    tokens, log_ps = [], []
    for row in rows.tolist():
        kept = written.tokens[row] != PAD
        tokens.append(written.tokens[row][kept])
        log_ps.append(log_p[row][kept])
    texts = pad_sequence(tokens, batch_first=True, padding_value=PAD)
    found.decision(f"{name}_tokens", texts, case[f"{name}_tokens"])
    found.number(f"{name}_scores", pad_sequence(log_ps, batch_first=True), case[f"{name}_scores"], texts != PAD)


# CMLM


def configuration(options: dict[str, Any]) -> Options:
    """Our options for a recording's."""
    decoding = MaskPredict(
        length_candidates=options["length_beam"],
        least_length=2,
        count_ends=True,
        predict_special=True,
        passes=options["max_step"],
        stop_when_same=not options["force_max_iter"],
    )
    masking = Masking("fairseq", options["label_smoothing"], options["length_loss_factor"])
    return checked_options(Options(network_config(options), tokens_config(options), masking, decoding))


def replay(options: dict[str, Any], weights: Weights, case: Arrays) -> dict[str, Any]:
    """How far our CMLM is from a recording, in training and in decoding."""
    ours = configuration(options)
    method = CMLM(ours)
    network, found = network_of(method, options, weights), Comparison()
    replay_training(found, method, network, case, options["max_positions"])
    with torch.no_grad():
        replay_decoding(found, method, network, case)
    return found.report()


def replay_training(found: Comparison, method: CMLM, network: TokenNetwork, case: Arrays, positions: int) -> None:
    """The masks, the network's outputs, the losses and their gradient."""
    batch, draws = recorded_batch(case), Draws(tensor(case, "mask_token_uniform"), tensor(case, "mask_count_uniform"))
    given, real = method.masked(network, batch.target, draws), batch.target_mask
    found.decision("prev_target", given, case["prev_target"])
    found.decision("word_mask", given == network.mask_type, case["word_mask"])
    compare_encoder(found, network, batch, case)
    states = network.states(given, network.encode(batch.source, batch.source_mask))
    found.number("decoder_features", states, case["decoder_features"], real)
    found.number("logits", network.embedding.logits(states), case["logits"], real)
    made = method.loss(network, batch, draws)
    found.number("loss_word", made.terms["token"].mean(), case["loss_word"])
    found.number("nll_word", made.watched()["nll"].mean(), case["nll_word"])
    found.number("loss_total", reduced(made), case["loss_total"])
    compare_gradients(found, network, reduced(made), case, positions)


def replay_decoding(found: Comparison, method: CMLM, network: TokenNetwork, case: Arrays) -> None:
    """Lengths, each pass, and the winners."""
    decoding, batch = method.options.decoding, recorded_batch(case)
    memory = network.encode(batch.source, batch.source_mask)
    likely = method.lengths(network, memory, MaskPredict(least_length=2))
    lengths = method.lengths(network, memory, decoding)
    found.decision("decode_length_pred", likely, case["decode_length_pred"])
    found.decision("decode_lengths", lengths, case["decode_lengths"])
    passes: list[Pass] = []
    predict, reader = predictor(network, memory, lengths), method.reader(network, decoding)
    tokens, log_p = mask_predict(predict, reader, lengths, network.mask_type, method.passes(decoding), passes.append)
    compare_passes(found, network, passes, case)
    compare_winners(found, method.written(tokens, lengths, log_p, decoding), log_p, case, "decode")


def compare_passes(found: Comparison, network: TokenNetwork, passes: list[Pass], case: Arrays) -> None:
    """What each pass was given and left, of the hypotheses that were active."""
    active = torch.stack([done.active for done in passes])
    given = torch.stack([done.given for done in passes])
    read, left = active[:, :, None] & (given != PAD), active[:, :, None].expand(given.shape)
    log_p = torch.stack([network.embedding.logits(done.states).log_softmax(-1) for done in passes])
    found.decision("decode_active", active, case["decode_active"])
    found.decision("decode_step_input", given, case["decode_step_input"], left)
    found.decision("decode_step_argmax", log_p.argmax(-1), case["decode_step_argmax"], read)
    found.number("decode_step_max_logprob", log_p.amax(-1), case["decode_step_max_logprob"], read)
    found.decision("decode_step_filled", torch.stack([d.filled for d in passes]), case["decode_step_filled"], left)
    found.decision("decode_step_tokens", torch.stack([d.left for d in passes]), case["decode_step_tokens"], left)
    found.number("decode_step_scores", torch.stack([d.log_p for d in passes]), case["decode_step_scores"], read)
    first = log_p[0, :2]
    real = read[0, :2, :, None].expand(first.shape)
    found.number("decode_first_logprobs", first, case["decode_first_logprobs"], real)
    ends = active.long().cumsum(0).amax(0) - 1
    found.decision("decode_end_step", ends, case["decode_end_step"])
    best = tensor(case, "decode_best").long()
    rows = torch.arange(len(best)) * (len(ends) // len(best)) + best
    found.decision("decode_steps", ends[rows], case["decode_steps"])
