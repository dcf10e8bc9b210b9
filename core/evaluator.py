"""A model and the splits of its text: validation while it trains, translations, and what they look like on the way."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from core import scores, watching
from core.config import RunConfig
from core.distributed import ALONE, Ranks
from core.methods import method_for
from core.methods.method import Method
from core.model import Model, batch_tokens
from core.networks.replays import replays_on
from core.precision import autocast
from core.randomness import mixed
from core.sizes import check_memory
from core.text.batches import Batch, decode_batches
from core.text.materials import Materials, Split
from core.training.step_modes import Mode

PROBE_SENTENCES = 100


class Evaluator:
    """Decodes splits with one model. Batches are made once and shared by all decodings; ranks share the work. step: how
    an update is run; on a GPU decoding uses CUDA graphs unless that is eager.

    Says on stderr which tokenizer BLEU has, unless it is the usual one. Raises UserError where that cannot be used, or
    the metric is n/a for the text.
    """

    def __init__(
        self,
        materials: Materials,
        config: RunConfig,
        device: torch.device,
        ranks: Ranks = ALONE,
        step: Mode = "auto",
    ) -> None:
        self.materials, self.config, self.device, self.ranks = materials, config, device, ranks
        self.method, self.replays = method_for(config.method), replays_on(device, step != "eager")
        self.decoding = getattr(config.method, "decoding", None)
        self.test, self.valid = materials.test, materials.valid.head(config.training.valid_sentences)
        self.test_head = materials.test.head(PROBE_SENTENCES)
        self.batches: dict[int, list[tuple[list[int], Batch]]] = {}
        chosen = materials.bleu_tokenizer(config.training.bleu_tokenizer)
        self.metric, self.bleu_tokenizer = config.training.metric, chosen.name
        if chosen.sentence and ranks.lead:
            print(f"{materials.corpus.name}: {chosen.sentence}", file=sys.stderr)
        if self.metric != "bleu":  # it may have no value for this text
            self.value(self.metric, self.valid.references)

    def batched(self, split: Split) -> list[tuple[list[int], Batch]]:
        """Decoding batches of a split that this evaluator holds."""
        if id(split) not in self.batches:
            made = decode_batches(split.encoded, batch_tokens(self.method, self.decoding, self.device))
            self.batches[id(split)] = [(indices, batch.to(self.device)) for indices, batch in made]
        return self.batches[id(split)]

    def texts(self, network: Any, split: Split, decoding: Any) -> list[str]:
        """The translation of each sentence. Batches are decoded each by itself, so by any rank to the same texts."""
        batched = self.ranks.share(self.batched(split))
        shown = watching.each(batched, len(split.pairs), lambda item: len(item[0]) * self.ranks.size)
        found = self.ranks.merged(self.model(network).texts(shown, decoding, self.config.seed))
        return [found[index] for index in sorted(found)]

    def model(self, network: Any) -> Model:
        """The network with what it takes to use it."""
        return Model(self.method, network, self.config, self.materials.tokenizer, self.bleu_tokenizer, self.replays)

    def validate(self, network: Any) -> dict[str, float]:
        """Losses, BLEU and the metric on the validation set's first sentences."""
        watching.stage("validating")
        with torch.no_grad(), autocast(self.config, self.device):
            losses = self.method.held_out(network, [batch for _, batch in self.batched(self.valid)])
        texts, references = self.texts(network, self.valid, self.method.validation), self.valid.references
        names = dict.fromkeys(("bleu", self.metric))
        return losses | {f"val/{name}": self.value(name, references, texts) for name in names}

    def value(self, name: str, references: Sequence[Sequence[str]], texts: Sequence[str] | None = None) -> float:
        """A score of texts (none: of the first references)."""
        given = [group[0] for group in references] if texts is None else texts
        return scores.value(name, given, references, self.bleu_tokenizer)

    def bleu(self, network: Any, split: Split, decoding: Any) -> float:
        """BLEU of a split."""
        return self.value("bleu", split.references, self.texts(network, split, decoding))

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

            with self.model(network).at_work():
                method.decode(network, batch.to(self.device), method.alone(decoding), self.config.seed, keep)
        return found


def new_network(config: RunConfig, method: Method[Any], materials: Materials, device: torch.device) -> Any:
    """A network with the seed's initial weights: the same for all arms whose shapes agree.

    Raises UserError if it cannot be trained in the machine's memory.
    """
    check_memory(config, len(materials.tokenizer))
    torch.manual_seed(mixed(config.seed, method.WEIGHTS_KEY))
    network = method.build(len(materials.tokenizer), config.data.max_length)
    method.measure(network, materials.train)
    return network.to(device)
