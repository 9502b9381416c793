"""Trains a GPT-2 on random tokens with one of three attentions, and prints the loss and tokens per second.

    python examples/gpt2.py --attention flashgen --steps 20
    python examples/gpt2.py --attention sdpa --steps 20
    python examples/gpt2.py --tiny --steps 10        # a few thousand parameters, also on a CPU

The model is that of Radford et al. 2019, "Language Models are Unsupervised Multitask Learners": fp32
parameters, bf16 autocast on a GPU, dropout 0.1 everywhere, in attention too. flashgen's part is ``flashgen``
below: six lines, of which a causal spec with dropout is the first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: out = attend(q, k, v, training); all (batch, heads, seqlen, head_dim).
Attend = Callable[[Tensor, Tensor, Tensor, bool], Tensor]


@dataclass(frozen=True)
class Config:
    """Sizes of a GPT-2; the vocabulary of 50,257 is padded to a multiple of 128."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 50304
    seqlen: int = 1024
    dropout: float = 0.1

    @property
    def head_dim(self) -> int:
        """Elements of a query."""
        return self.width // self.heads


SMALL = Config()
TINY = Config(layers=2, width=32, heads=2, vocabulary=64, seqlen=24)


def flashgen(config: Config) -> Attend:
    """One fused kernel forward and a few backward, generated for this spec."""
    import flashgen

    spec = flashgen.AttentionSpec(
        name="gpt2", head_dim=config.head_dim, mask="causal", dropout=config.dropout
    )
    attention = flashgen.compile(spec)
    return lambda q, k, v, training: attention(q, k, v, training=training)


def sdpa(config: Config) -> Attend:
    """PyTorch's fused attention, whichever of its backends takes the call."""
    return lambda q, k, v, training: F.scaled_dot_product_attention(
        q, k, v, is_causal=True, dropout_p=config.dropout if training else 0.0
    )


def standard(config: Config) -> Attend:
    """One PyTorch call after the other, with S and P in memory."""

    def attend(q: Tensor, k: Tensor, v: Tensor, training: bool) -> Tensor:
        n = q.shape[2]
        hidden = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
        s = (q @ k.mT) * config.head_dim**-0.5
        p = torch.softmax(s.masked_fill(hidden, -torch.inf), dim=-1)
        return F.dropout(p, config.dropout, training) @ v

    return attend


ATTENTIONS: dict[str, Callable[[Config], Attend]] = {
    "flashgen": flashgen,
    "sdpa": sdpa,
    "standard": standard,
}


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: Config, attend: Attend) -> None:
        super().__init__()
        width = config.width
        self.config, self.attend = config, attend
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, seqlen, width) in and out."""
        batch, seqlen, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, seqlen, 3, self.config.heads, self.config.head_dim)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        out = self.attend(q, k, v, self.training).transpose(1, 2).reshape(batch, seqlen, width)
        x = x + self.drop(self.proj(out))
        hidden = F.gelu(self.up(self.norm_mlp(x)), approximate="tanh")
        y: Tensor = x + self.drop(self.down(hidden))
        return y


class GPT2(nn.Module):
    """A GPT-2 whose first and last matrices are one."""

    def __init__(self, config: Config, attention: str) -> None:
        super().__init__()
        attend = ATTENTIONS[attention](config)
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.seqlen, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, attend) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        for name, x in self.named_parameters():
            if x.dim() == 2:  # residual branches start smaller, the more of them there are
                last = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(x, std=0.02 / (2 * config.layers) ** 0.5 if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(x)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of predicting ``targets``, both (batch, seqlen) of whole numbers."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.drop(self.tokens(tokens) + self.positions(positions))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        loss: Tensor = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return loss


def autocast(device: str) -> AbstractContextManager[object]:
    """bf16 on a GPU, nothing on a CPU."""
    return torch.autocast(device, torch.bfloat16) if device != "cpu" else nullcontext()


class Trainer:
    """A model with its optimizer; the same seed gives the same parameters with every attention."""

    def __init__(
        self, config: Config, attention: str, device: str, seed: int = 0, rate: float = 6e-4
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.model = GPT2(config, attention).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.1, fused=device != "cpu"
        )

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of one batch, to be differentiated."""
        with autocast(self.device):
            loss: Tensor = self.model(*batch)
        return loss

    def step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """One step of training: forward, loss, backward, AdamW. Returns the loss before it."""
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def random_batch(config: Config, size: int, device: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens and the tokens that follow them."""
    g = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, config.vocabulary, (size, config.seqlen + 1), generator=g).to(device)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


def main(arguments: list[str] | None = None) -> list[float]:
    """Train, print, and return the losses."""
    parser = argparse.ArgumentParser(description="Train a GPT-2 on one random batch.")
    parser.add_argument("--attention", choices=list(ATTENTIONS), default="flashgen")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, help="learning rate (default: 6e-4, tiny 3e-3)")
    parser.add_argument("--tiny", action="store_true", help="a model small enough for a CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    config = TINY if given.tiny else SMALL
    trainer = Trainer(
        config, given.attention, given.device, rate=given.rate or (3e-3 if given.tiny else 6e-4)
    )
    batch = random_batch(config, given.batch, given.device)
    losses = []
    for number in range(1, given.steps + 1):
        start = time.perf_counter()
        losses.append(trainer.step(batch).item())  # waits for the GPU
        speed = batch[0].numel() / (time.perf_counter() - start)
        print(f"step {number:3d}  loss {losses[-1]:.4f}  {speed:,.0f} tokens/s", flush=True)
    if given.device != "cpu":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB")
    return losses


if __name__ == "__main__":
    main()
