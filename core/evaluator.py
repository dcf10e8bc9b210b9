"""A model and the splits of its text: validation while it trains, translations, and what they look like on the way."""

from collections.abc import Iterable
from typing import Any

import torch

from core import scores, watching
from core.config import RunConfig
from core.distributed import ALONE, Ranks
from core.generation import DECODE_TOKENS, translate
from core.methods import method_for
from core.methods.method import Method
from core.randomness import mixed
from core.text.batches import Batch, decode_batches
from core.text.materials import Materials, Split
from core.training import held_out

PROBE_SENTENCES = 100


class Evaluator:
    """Decodes splits with one model. Batches are made once and shared by all decodings; ranks share the work."""

    def __init__(self, materials: Materials, config: RunConfig, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.materials, self.config, self.device, self.ranks = materials, config, device, ranks
        self.method = method_for(config.method)
        self.decoding = getattr(config.method, "decoding", None)
        self.test, self.valid = materials.test, materials.valid.head(config.training.valid_sentences)
        self.test_head = materials.test.head(PROBE_SENTENCES)
        self.batches: dict[int, list[tuple[list[int], Batch]]] = {}

    def batched(self, split: Split) -> list[tuple[list[int], Batch]]:
        """Decoding batches of a split that this evaluator holds."""
        if id(split) not in self.batches:
            made = decode_batches(split.encoded, DECODE_TOKENS // self.method.count(self.decoding))
            self.batches[id(split)] = [(indices, batch.to(self.device)) for indices, batch in made]
        return self.batches[id(split)]

    def texts(self, network: Any, split: Split, decoding: Any) -> list[str]:
        """The translation of each sentence. Batches are decoded each by itself, so by any rank to the same texts."""
        batched, decode = self.ranks.share(self.batched(split)), self.materials.tokenizer.decode
        shown = watching.each(batched, len(split.pairs), lambda item: len(item[0]) * self.ranks.size)
        found = self.ranks.merged(translate(self.method, network, shown, decoding, decode, self.config.seed))
        return [found[index] for index in sorted(found)]

    def validate(self, network: Any) -> dict[str, float]:
        """Losses and BLEU on the validation set's first sentences."""
        watching.stage("validating")
        losses = held_out(network, self.method, [batch for _, batch in self.batched(self.valid)], self.config.training)
        return losses | {"val/bleu": self.bleu(network, self.valid, self.method.validation)}

    def bleu(self, network: Any, split: Split, decoding: Any) -> float:
        """BLEU of a split."""
        return scores.bleu(self.texts(network, split, decoding), split.references)

    @torch.no_grad()
    def texts_by_step(
        self, network: Any, batches: Iterable[tuple[list[int], Batch]], decoding: Any
    ) -> dict[float, dict[int, str]]:
        """{t: {index of the sentence: what its text is then}} of a decoding with one candidate, in the order of t."""
        found: dict[float, dict[int, str]] = {}
        decode, method = self.materials.tokenizer.decode, self.method
        for indices, batch in batches:

            def keep(t: float, now: Any, indices: list[int] = indices) -> None:
                found.setdefault(t, {}).update(zip(indices, map(decode, now.ids()), strict=True))

            method.decode(network, batch.to(self.device), method.alone(decoding), self.config.seed, keep)
        return found


def new_network(config: RunConfig, method: Method[Any], materials: Materials, device: torch.device) -> Any:
    """A network with the seed's initial weights: the same for all arms whose shapes agree."""
    torch.manual_seed(mixed(config.seed, method.WEIGHTS_KEY))
    return method.build(len(materials.tokenizer), config.data.max_length).to(device)
