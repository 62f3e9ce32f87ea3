"""The steps of a recurrent layer, for all members and directions at once, with a backward pass of their own.

Between two steps stands one product for each member and direction; all else of the layer is one large product over all
steps. So neither `vmap` nor autograd handles a single step, which would take longer than its arithmetic. A step's
numbers fit into a cache, so nothing passes over all steps but those products.

Legend: G members and directions, L steps, B examples, H hidden units, K gates (4 of an LSTM, 3 of a GRU, 1 of an RNN).
"""

import torch
from torch import Tensor

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
# Blocks [H] of a step that the backward pass needs. An LSTM keeps i, f, (1 + g)/2, o and the cell's tanh; a GRU r, z,
# (1 + n)/2 and the candidate's hidden product.
KEPT = {"LSTM": 5, "GRU": 4, "RNN_TANH": 0, "RNN_RELU": 0}

Three = tuple[Tensor, Tensor, Tensor]


def empty_steps(kind: str, x: Tensor, h: Tensor) -> Three:
    """Memory for what `forward_steps` gives."""
    groups, length, many, _ = x.shape
    units = h.shape[-1]
    hidden = h.new_empty(groups, length + 1, many, units)
    cells = h.new_empty(groups, length + 1 if kind == "LSTM" else 0, many, units)
    return hidden, cells, h.new_empty(groups, length, many, KEPT[kind] * units)


def forward_steps(kind: str, x: Tensor, w: Tensor, b: Tensor, h: Tensor, c: Tensor, valid: Tensor | None) -> Three:
    """The hidden states before and after each step [G, L+1, B, H], an LSTM's cells, and what the backward pass needs.

    x [G, L, B, K H] are the inputs' products. `w` [G, K H, H] and, in a GRU, `b` [G, K H] make the hidden state's
    product; `h` and `c` [G, B, H] are the first state and cell. Where `valid` [G, L, B] is false, a step leaves both as
    they are.
    """
    hidden, cells, kept = empty_steps(kind, x, h)
    turned, bias = w.transpose(-2, -1), b.unsqueeze(1)
    hidden[:, 0] = h
    if kind == "LSTM":
        cells[:, 0] = c
    for t in range(x.shape[1]):
        before, new = hidden[:, t], hidden[:, t + 1]
        if kind == "LSTM":
            _lstm(torch.baddbmm(x[:, t], before, turned), cells[:, t], new, cells[:, t + 1], kept[:, t])
        elif kind == "GRU":
            _gru(x[:, t], torch.baddbmm(bias, before, turned), before, new, kept[:, t])
        else:
            product = torch.baddbmm(x[:, t], before, turned)
            torch.tanh(product, out=new) if kind == "RNN_TANH" else torch.clamp(product, min=0, out=new)
        if valid is not None:
            ended = ~valid[:, t].unsqueeze(-1)
            for states in (hidden, cells) if kind == "LSTM" else (hidden,):
                states[:, t + 1] = torch.where(ended, states[:, t], states[:, t + 1])
    return hidden, cells, kept


def _lstm(gates: Tensor, c: Tensor, new: Tensor, cell: Tensor, kept: Tensor) -> None:
    """One step: set the `new` hidden state, the new `cell` and what is `kept`."""
    units = c.shape[-1]
    gates[..., 2 * units : 3 * units].mul_(2)  # tanh g is 2 sigmoid 2g - 1, in a fifth of the time
    torch.sigmoid(gates, out=kept[..., : 4 * units])
    i, f, g, o, tanh = kept.chunk(5, -1)
    torch.mul(f, c, out=cell)
    cell.addcmul_(i, g, value=2).sub_(i)
    torch.mul(cell, 2, out=tanh).sigmoid_().mul_(2).sub_(1)
    torch.mul(o, tanh, out=new)


def _gru(x: Tensor, product: Tensor, h: Tensor, new: Tensor, kept: Tensor) -> None:
    """One step: set the `new` hidden state, and what is `kept`."""
    units = h.shape[-1]
    r, z, n, own = kept.chunk(4, -1)
    torch.add(x[..., : 2 * units], product[..., : 2 * units], out=kept[..., : 2 * units]).sigmoid_()
    own.copy_(product[..., 2 * units :])
    torch.addcmul(x[..., 2 * units :], r, own, out=n).mul_(2).sigmoid_()
    torch.lerp(n.mul(2).sub_(1), h, z, out=new)


def backward_steps(
    kind: str,
    hidden: Tensor,
    cells: Tensor,
    kept: Tensor,
    w: Tensor,
    valid: Tensor | None,
    grad: Tensor,
    last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, w, b, h and c of `forward_steps`, which gave the first three.

    `grad` [G, L+1, B, H] is that of all hidden states, and `last` [G, B, H] that of an LSTM's last cell.
    """
    groups, length, many, units = hidden.shape[0], hidden.shape[1] - 1, *hidden.shape[2:]
    blocks = max(GATES[kind], KEPT[kind] if kind == "GRU" else 0)
    # Gradients of the products; a GRU's fourth block is that of its candidate's input product.
    products = w.new_empty(groups, length, many, blocks * units)
    own = products[..., : GATES[kind] * units]
    dh, dc = torch.zeros_like(last), last.clone()
    for t in reversed(range(length)):
        dh += grad[:, t + 1]
        stay = None if valid is None else (~valid[:, t].unsqueeze(-1), dh.clone(), dc.clone())
        if kind == "LSTM":
            _lstm_back(kept[:, t], cells[:, t], dh, dc, products[:, t])
            new = torch.bmm(own[:, t], w)
        elif kind == "GRU":
            passed = _gru_back(kept[:, t], hidden[:, t], dh, products[:, t])
            new = torch.baddbmm(passed, own[:, t], w)
        else:
            after = hidden[:, t + 1]
            torch.mul(dh, 1 - after.square() if kind == "RNN_TANH" else after > 0, out=products[:, t])
            new = torch.bmm(own[:, t], w)
        if stay is not None:
            ended, old_h, old_c = stay
            products[:, t].masked_fill_(ended, 0)
            new, dc = torch.where(ended, old_h, new), torch.where(ended, old_c, dc)
        dh = new
    dh += grad[:, 0]
    # One product over all steps and examples, for each group.
    dw = torch.bmm(own.flatten(1, 2).transpose(1, 2), hidden[:, :-1].flatten(1, 2))
    if kind != "GRU":
        return products, dw, w.new_zeros(w.shape[:-1]), dh, dc
    dx = torch.cat([products[..., : 2 * units], products[..., 3 * units :]], -1)
    return dx, dw, own.sum((1, 2)), dh, dc


def _lstm_back(kept: Tensor, c: Tensor, dh: Tensor, dc: Tensor, products: Tensor) -> None:
    """One step back: `products` get the gradients of the gates, and `dc` that of the cell before."""
    i, f, g, o, tanh = kept.chunk(5, -1)
    gates = kept[..., : products.shape[-1]]
    torch.addcmul(gates, gates, gates, value=-1, out=products)  # the slope of a sigmoid
    di, df, dg, do = products.chunk(4, -1)
    do.mul_(dh * tanh)
    of_cell = dh * o
    dc += of_cell.addcmul_(of_cell * tanh, tanh, value=-1)
    di.mul_(g.mul(2).sub_(1).mul_(dc))
    df.mul_(dc * c)
    dg.mul_((dc * i).mul_(4))
    dc *= f


def _gru_back(kept: Tensor, h: Tensor, dh: Tensor, products: Tensor) -> Tensor:
    """One step back: `products` get the gradients; gives what the hidden state gets by itself."""
    units = h.shape[-1]
    r, z, n, own = kept.chunk(4, -1)
    dr, dz, dn, dx = products.chunk(4, -1)
    gates = kept[..., : 3 * units]
    torch.addcmul(gates, gates, gates, value=-1, out=products[..., : 3 * units])  # the slope of a sigmoid
    passed = dh * z
    torch.mul(dh - passed, dn, out=dx).mul_(4)
    torch.mul(dx, r, out=dn)
    dr.mul_(dx * own)
    dz.mul_(dh * (h - n.mul(2).sub_(1)))
    return passed
