"""``flashgen.Attention``: a spec as a ``torch.nn.Module``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from flashgen.errors import TensorError

from .api import CompiledAttention, compile
from .check import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashgen.spec.model import AttentionSpec


class Attention(nn.Module):
    """The attention of a spec as a layer: ``flashgen.Attention(spec, slopes=nn.Parameter(...))``.

    Inputs that are given here belong to the module, parameters as parameters and other tensors as buffers:
    they move, are saved and are learned with it. Those that are not come with each call. Dropout follows
    ``module.training``. Raises as ``flashgen.compile``, and ``TensorError`` for an input that does not fit.
    """

    def __init__(
        self,
        spec: str | Path | AttentionSpec | CompiledAttention,
        /,
        *,
        return_lse: bool = False,
        **inputs: Tensor,
    ) -> None:
        super().__init__()
        self._attention = spec if isinstance(spec, CompiledAttention) else compile(spec)
        self._return_lse = return_lse
        for name, tensor in inputs.items():
            self._hold(name, tensor)

    def _hold(self, name: str, tensor: Tensor) -> None:
        sig = self._attention.signature
        if name not in sig.names:
            takes = f"it takes {', '.join(sig.names)}" if sig.names else "it takes none"
            raise TensorError(f"{name} is not an input of {sig.name}: {takes}")
        if not isinstance(tensor, Tensor):
            raise TensorError(f"{name} is a {type(tensor).__name__}; expected a torch.Tensor")
        if tensor.requires_grad and name not in sig.learned:
            raise TensorError(
                f"{name} requires grad, and {sig.name} does not declare it as learned: write `grad: true` "
                f"for the input {name}, or pass {name}.detach()"
            )
        try:
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)
        except KeyError:
            raise TensorError(
                f"{name} is an attribute of every torch.nn.Module: pass {name}= at each call instead"
            ) from None

    def warm(self, *shapes: Any, **options: Any) -> None:
        """``CompiledAttention.warm``; inputs that belong to the module have its dtypes."""
        call: Any = self._attention.warm
        call(*shapes, **{**{name: t.dtype for name, t in self.held.items()}, **options})

    @property
    def held(self) -> dict[str, Tensor]:
        """The inputs that belong to the module."""
        found = {**self._parameters, **self._buffers}
        names = self._attention.signature.names
        return {name: t for name in names if (t := found.get(name)) is not None}

    def forward(
        self,
        q: Tensor | Sequence[Tensor],
        k: Tensor | None = None,
        v: Tensor | None = None,
        *,
        seed: int | Tensor | None = None,
        **inputs: Tensor,
    ) -> Any:
        """``out``, or ``(out, lse)`` where made with ``return_lse=True``. ``q`` may be a tuple (q, k, v),
        which a layer before it in ``nn.Sequential`` returned. Raises ``TensorError``."""
        if isinstance(q, (tuple, list)):
            if len(q) != 3 or k is not None or v is not None:
                raise TensorError(
                    f"q is a {type(q).__name__} of {len(q)}; expected q, k, v, or one tuple (q, k, v)"
                )
            q, k, v = q
        for name, t in (("k", k), ("v", v)):
            if t is None:
                raise TensorError(f"{name} is missing: expected q, k, v, or one tuple (q, k, v)")
        call: Any = self._attention
        given = {**self.held, **inputs}
        return call(q, k, v, return_lse=self._return_lse, seed=seed, training=self.training, **given)

    def extra_repr(self) -> str:
        sig = self._attention.signature
        spec = self._attention.spec
        dims = f"{sig.d_qk}" if sig.d_qk == sig.d_v else f"(qk={sig.d_qk}, v={sig.d_v})"
        parts = [sig.name, f"head_dim={dims}", f"score={spec.score!r}"]
        parts += [f"mask={spec.mask!r}"] if spec.mask is not None else []
        parts += [f"sink={spec.sink!r}"] if spec.sink is not None else []
        parts += [f"dropout={sig.dropout}"] if sig.dropout else []
        held = self.held
        for i in sig.inputs:
            shape = shown(held[i.name].shape) if i.name in held else f"{shown(i.shape)} at each call"
            parts.append(f"{i.name}={shape}")
        return ", ".join(parts)
