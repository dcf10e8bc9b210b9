"""Terms of a loss: means over parts of a batch add up to that of the whole."""

import pytest
import torch
from parts import reduced_apart
from torch import nn

from core.diffusion.draws import Draws
from core.distributed import Ranks
from core.methods.method import Loss, Term
from core.randomness import generator
from core.text.batches import Batch
from core.training.step import reduced, take_part

CPU = torch.device("cpu")


def rows_of(lengths: list[int]) -> Batch:
    """Sentences of these lengths."""
    rows = nn.utils.rnn.pad_sequence([torch.full((n,), 5) for n in lengths], batch_first=True, padding_value=1)
    return Batch.padded(rows, rows)


def terms(batch: Batch) -> dict[str, Term]:
    """One term of tokens and one of sentences, of random numbers that depend on the length alone."""
    lengths = batch.target_mask.sum(1)
    values = torch.randn(100, generator=generator(CPU, "values"), dtype=torch.float64)
    token = torch.cat([values[:n] * n for n in lengths.tolist()])
    return {"token": Term(token), "sentence": Term(values[lengths], None, 0.3)}


def test_the_loss_of_a_whole_batch_is_the_weighted_sum_of_means() -> None:
    batch = rows_of([3, 9, 4])
    made = terms(batch)
    expected = made["token"].values.mean() + 0.3 * made["sentence"].values.mean()
    torch.testing.assert_close(reduced(loss_of(made)), expected)


def loss_of(made: dict[str, Term]) -> Loss:
    return Loss(made, dict)


@pytest.mark.parametrize("name", ["token", "sentence"])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_losses_of_parts_add_up_to_that_of_the_whole(name: str, size: int) -> None:
    batch = rows_of([3, 9, 4, 7, 2])
    whole = reduced(loss_of({name: terms(batch)[name]}))
    draws = Draws(torch.arange(5), torch.zeros(5, 9, 1), coin=False)
    found = []
    for rank in range(size):
        part, drawn = take_part(Ranks(rank, size), batch, draws)
        assert len(drawn.t) == len(part.target)
        found.append(loss_of({name: terms(part)[name]}))
    torch.testing.assert_close(torch.stack(reduced_apart(found)).sum().double(), whole, atol=1e-6, rtol=1e-6)
    means = torch.stack([terms(rows_of([n]))[name].values.mean() for n in (3, 9, 4, 7, 2)])
    if name == "token":
        assert float((means.mean() - whole).abs()) > 0.01, "means of means would be wrong"
