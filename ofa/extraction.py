"""A subnet out of a supernet, as a plain module with copied weights."""

from __future__ import annotations

from torch import nn

from ofa.elastic import ElasticConv, ElasticLinear, ElasticNorm
from ofa.static import Net, empty_net
from ofa.subnet import Subnet
from ofa.supernet import Supernet


def extract(supernet: Supernet, subnet: Subnet) -> Net:
    """A plain `nn.Module` that computes what `supernet(images, subnet)` does; in eval mode bit by bit.

    It shares nothing with the supernet; its device, its precision and its mode (training or eval) are the supernet's. So are
    its batch-norm statistics, which belong to no subnet in particular: `recalibrate_batch_norm` it before use.

    Raises:
        UserError: the subnet is not in the supernet's space (its resolution does not matter here).
    """
    supernet.space.check(subnet)
    parameter = next(supernet.parameters())
    net = empty_net(supernet.space, subnet, parameter.device).to(parameter.dtype)
    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            source = supernet.get_submodule(name)
            assert isinstance(source, (ElasticConv, ElasticLinear, ElasticNorm))
            source.copy_to(module)  # type: ignore[arg-type]
    return net.train(supernet.training)
