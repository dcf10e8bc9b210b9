"""Left-to-right decoding: greedy, and beam search with a length penalty. Keys and values of the prefix are kept.

A hypothesis is BOS, its tokens, EOS; its length counts the tokens and EOS. It may not be longer than `limits` says:
the last place is EOS's.
"""

import torch
from torch import Tensor

from core.networks.causal import CausalTransformer, Past, Source
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK

NEVER = (BOS, PAD, UNK)
"""Types that are never written."""


def limits(source_mask: Tensor, max_positions: int) -> Tensor:
    """Most tokens of each target, EOS included, [B]: twice the source's and ten more, if there are positions for it."""
    return (2 * source_mask.sum(1) + 10).clamp(max=max_positions - 1)


WORST = -1e4
"""log p in place of what is no number."""


def allowed(log_p: Tensor, last: Tensor) -> Tensor:
    """log p [B, C, V], set to -inf in place for special tokens, and for all but EOS where `last` [B] is true."""
    log_p.nan_to_num_(nan=WORST, neginf=-torch.inf)  # of weights that overflow: else no hypothesis would ever end
    log_p[..., list(NEVER)] = -torch.inf
    end = log_p[..., EOS].clone()
    log_p.masked_fill_(last[:, None, None], -torch.inf)
    log_p[..., EOS] = end
    return log_p


@torch.no_grad()
def greedy(model: CausalTransformer, batch: Batch) -> tuple[list[list[int]], Tensor]:
    """The most likely token at each place, until EOS: ids with BOS and EOS, a list a sentence, and their log p [B]."""
    source = model.encode(batch.source, batch.source_mask)
    longest = limits(batch.source_mask, model.max_positions)
    written = torch.full((len(longest), 1), BOS, device=longest.device)
    total, ended = torch.zeros(len(longest), device=longest.device), torch.zeros_like(longest, dtype=torch.bool)
    past: Past | None = None
    for place in range(int(longest.max())):
        log_p, past = model.step(written[:, -1], place, past, source)
        best, following = allowed(log_p[:, None], longest == place + 1)[:, 0].max(-1)
        total += best.masked_fill(ended, 0.0)
        ended |= following == EOS
        written = torch.cat([written, following[:, None]], 1)
        if bool(ended.all()):
            break
    return [row[: row.index(EOS) + 1] for row in written.tolist()], total


@torch.no_grad()
def beam_search(
    model: CausalTransformer, batch: Batch, beam: int, length_penalty: float, kept: int = 1
) -> tuple[list[list[int]], Tensor]:
    """The `kept` best hypotheses found for each sentence, adjacent, best first, and their log p / length^length_penalty
    [B kept]; ids with BOS and EOS. Where fewer are found, the last one stands for those that lack.

    The `beam` best prefixes go on at each place. A hypothesis that ends while among them is kept. A sentence is done
    with `beam` hypotheses, or when no prefix can come to a better score than those kept (log p only falls, and nothing
    is longer than the limit).
    """
    search = Search(model, batch, beam, length_penalty, kept)
    while len(search.sentences):
        search.advance()
    best = [found[min(place, len(found) - 1)] for found in search.best for place in range(kept)]
    return [ids for _, ids in best], search.least.new_tensor([score for score, _ in best])


class Search:
    """The state of a beam search: B sentences not done yet, `beam` prefixes each.

    sentences [B]: their places in the batch; written [B, beam, L]; score [B, beam]: log p, -inf where there is no
    prefix; best: the hypotheses kept of each sentence, with their scores; least [all sentences]: the last one's score,
    -inf until there are `kept`; ended [all sentences]: how many have ended.
    """

    def __init__(self, model: CausalTransformer, batch: Batch, beam: int, length_penalty: float, kept: int = 1) -> None:
        self.model, self.beam, self.length_penalty, self.kept = model, beam, length_penalty, kept
        self.source: Source = model.encode(batch.source, batch.source_mask)
        self.limits = limits(batch.source_mask, model.max_positions)
        count, device = len(self.limits), self.limits.device
        self.sentences = torch.arange(count, device=device)
        self.written = torch.full((count, beam, 1), BOS, device=device)
        self.score = torch.full((count, beam), -torch.inf, device=device)
        self.score[:, 0] = 0.0
        self.past: Past | None = None
        self.best: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]
        self.least = torch.full((count,), -torch.inf, device=device)
        self.ended = torch.zeros(count, dtype=torch.long, device=device)

    def advance(self) -> None:
        """Write one more token."""
        length, beam = self.written.shape[2], self.beam
        log_p, past = self.model.step(self.written[:, :, -1].flatten(), length - 1, self.past, self.source)
        log_p = allowed(log_p.view(*self.score.shape, -1), self.limits[self.sentences] == length)
        score, flat = (self.score[:, :, None] + log_p).flatten(1).topk(2 * beam)
        parent, token = flat // log_p.shape[-1], flat % log_p.shape[-1]
        ends = token == EOS
        self.keep_ended(score[:, :beam].masked_fill(~ends[:, :beam], -torch.inf), parent, length)
        going_on = ends.long().sort(stable=True).indices[:, :beam]  # each prefix ends once: enough others are left
        self.score = score.gather(1, going_on)
        self.continue_with(parent.gather(1, going_on), token.gather(1, going_on), past)

    def keep_ended(self, score: Tensor, parent: Tensor, length: int) -> None:
        """Note the best of the hypotheses that end now, score [B, beam] (-inf: does not end)."""
        value = score / length**self.length_penalty
        self.ended[self.sentences] += (score > -torch.inf).sum(1)
        for row, which in (value > self.least[self.sentences, None]).nonzero().tolist():
            sentence = int(self.sentences[row])
            ids = [*self.written[row, parent[row, which]].tolist(), EOS]
            found = sorted([*self.best[sentence], (float(value[row, which]), ids)], key=lambda one: -one[0])
            self.best[sentence] = found[: self.kept]
            if len(found) >= self.kept:
                self.least[sentence] = self.best[sentence][-1][0]

    def continue_with(self, parent: Tensor, token: Tensor, past: Past) -> None:
        """Take up prefixes parent [B, beam] with token [B, beam] after them; leave the sentences that are done."""
        sentences = self.sentences
        highest = self.score.amax(1) / self.limits[sentences] ** self.length_penalty
        done = (self.ended[sentences] >= self.beam) | (highest <= self.least[sentences])
        kept = (~done).nonzero().flatten()
        rows = (kept[:, None] * self.beam + parent[kept]).flatten()
        self.past = tuple((k[rows], v[rows]) for k, v in past)
        prefixes = self.written.flatten(0, 1)[rows].unflatten(0, (len(kept), self.beam))
        self.written = torch.cat([prefixes, token[kept][:, :, None]], 2)
        self.sentences, self.score = sentences[kept], self.score[kept]
        if len(kept) < len(done):
            self.source = self.source.rows(kept)
