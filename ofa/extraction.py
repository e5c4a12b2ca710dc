"""A subnet out of a supernet, as a plain module with copied weights."""

from __future__ import annotations

from torch import nn

from ofa.elastic import ElasticConv, ElasticLinear, ElasticNorm
from ofa.static import Net, empty_net
from ofa.subnet import Subnet
from ofa.supernet import Supernet


def extract(supernet: Supernet, subnet: Subnet) -> Net:
    """A plain `nn.Module` that computes what `supernet(images, subnet)` does; in eval mode bit by bit.

    It shares nothing with the supernet, stands on the same device, and is in the same mode (training or eval). The batch-norm
    statistics are the supernet's, which belong to no subnet in particular: `recalibrate_batch_norm` it before use.

    Raises:
        UserError: the subnet is not in the supernet's space (its resolution does not matter here).
    """
    net = empty_net(supernet.space, subnet)
    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            source = supernet.get_submodule(name)
            assert isinstance(source, (ElasticConv, ElasticLinear, ElasticNorm))
            source.copy_to(module)  # type: ignore[arg-type]
    device = next(supernet.parameters()).device
    return net.to(device).train(supernet.training)
