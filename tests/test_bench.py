"""What `make bench` decodes is as long as it says."""

import torch

from core import rates
from core.config import RunConfig, with_values
from core.methods import method_for
from core.text.batches import decode_batches

SIZE = {"model_dim": 16, "latent_dim": 8, "ffn_dim": 16, "encoder_layers": 1, "decoder_layers": 1}


def test_an_untrained_network_writes_as_many_tokens_as_the_references_have() -> None:
    method = method_for(with_values(RunConfig(), {**SIZE, "decoding_steps": 2, "early_stop": 0}).method)
    torch.manual_seed(1)
    network = method.build(50, 128).eval()
    text, lengths = rates.random_text(50, 40), []
    for _, batch in decode_batches(text, 256):
        rates.write_true_lengths(network, batch)
        found = method.decode(network, batch, method.options.decoding, 1)
        assert torch.equal(found.mask.sum(1), batch.target_mask.sum(1))
        lengths += found.mask.sum(1).tolist()
    assert len(lengths) == 40 and 12 < sum(lengths) / 40 < 16
