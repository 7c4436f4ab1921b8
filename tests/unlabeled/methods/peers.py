"""Methods built of lightly's modules, as in lightly's examples, to compare ours with.

A peer differs from the example where the docstring of our method says so. The averages follow after a step, instead of
before the next one, which is the same.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from lightly import loss
from lightly.models import modules, utils
from lightly.models.modules.heads import ProjectionHead, VICRegProjectionHead
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from unlabeled.method import Method
from unlabeled.methods.barlow_twins import BarlowTwins
from unlabeled.methods.byol import BYOL
from unlabeled.methods.dino import DINO
from unlabeled.methods.mae import MAE
from unlabeled.methods.moco import MoCo
from unlabeled.methods.simclr import SimCLR
from unlabeled.methods.simsiam import SimSiam
from unlabeled.methods.vicreg import VICReg
from unlabeled.nn.small_networks import SmallResNet, build_encoder

FEATURES, HIDDEN, PROJECTION, PROTOTYPES = 12, 16, 8, 20
"""Widths of the networks."""
QUEUE = 36
"""Keys in MoCo's queue: a multiple of a step's, because lightly drops keys beyond the queue's end."""
TEACHER_TEMPERATURE = 2**-5
"""DINO's T_t: lightly rounds it to float32, which this one survives."""
MOMENTUM = 0.9
"""Momentum of the slow networks, at the beginning."""


class Peer(nn.Module):
    """A method of lightly's modules; `forward(batch)` is lightly's loss.

    Args:
        encoder: Our encoder, of which it has a copy.
        head: Builds the projection head.
        criterion: The loss.
        has_average: Whether slow copies of both networks follow.
    """

    offset, scale = 0.0, 1.0
    """Our loss is offset + scale · lightly's."""

    def __init__(
        self, encoder: nn.Module, head: Callable[[], nn.Module], criterion: nn.Module, has_average: bool = False
    ):
        super().__init__()
        self.backbone, self.projection_head, self.criterion = deepcopy(encoder), head(), criterion
        self.names = {"encoder.": "backbone.", "projector.": "projection_head.layers."}
        """Beginnings of the names of our parameters and buffers, each with its counterpart."""
        self.only_ours: dict[str, float] = {}
        self.only_theirs: dict[str, float] = {}
        """Names that only one side has, with the value that they have and keep."""
        if has_average:
            self.backbone_momentum, self.projection_head_momentum = deepcopy(encoder), head()
            utils.deactivate_requires_grad(self.backbone_momentum)
            utils.deactivate_requires_grad(self.projection_head_momentum)

    def project(self, batch: Tensor) -> Tensor:
        return self.projection_head(self.backbone(batch).flatten(start_dim=1))

    def project_slowly(self, batch: Tensor) -> Tensor:
        return self.projection_head_momentum(self.backbone_momentum(batch).flatten(start_dim=1)).detach()

    def forward(self, batch: Tensor) -> Tensor:
        return self.criterion(*self.project(batch).chunk(2))

    def follow(self, momentum: float) -> None:
        utils.update_momentum(self.backbone, self.backbone_momentum, momentum)
        utils.update_momentum(self.projection_head, self.projection_head_momentum, momentum)

    def after_step(self, step: int, steps: int) -> None:
        """Moves what does not follow the gradient; `step` of `steps` are complete."""


class PeerBYOL(Peer):
    offset, scale = 4.0, 4.0

    def __init__(self, encoder: nn.Module):
        head = partial(modules.BYOLProjectionHead, FEATURES, HIDDEN, PROJECTION)
        super().__init__(encoder, head, loss.NegativeCosineSimilarity(), has_average=True)
        self.prediction_head = modules.BYOLPredictionHead(PROJECTION, HIDDEN, PROJECTION)
        self.names["predictor."] = "prediction_head.layers."
        self.names |= {"target.0.": "backbone_momentum.", "target.1.": "projection_head_momentum.layers."}

    def forward(self, batch: Tensor) -> Tensor:
        p0, p1 = self.prediction_head(self.project(batch)).chunk(2)
        z0, z1 = self.project_slowly(batch).chunk(2)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))

    def after_step(self, step: int, steps: int) -> None:
        self.follow(cosine_schedule(step, steps + 1, MOMENTUM, 1.0))


class PeerMoCo(Peer):
    def __init__(self, encoder: nn.Module):
        criterion = loss.NTXentLoss(temperature=0.2, memory_bank_size=(QUEUE, PROJECTION))
        super().__init__(encoder, head_with_one_norm, criterion, has_average=True)
        self.names |= {"key_network.0.": "backbone_momentum.", "key_network.1.": "projection_head_momentum.layers."}
        self.names |= {"queue": "criterion.memory_bank.bank", "oldest": "criterion.memory_bank.bank_ptr"}

    def forward(self, batch: Tensor) -> Tensor:
        query, key = self.project(batch), self.project_slowly(batch)
        return self.criterion(query.roll(len(query) // 2, 0), key)

    def after_step(self, step: int, steps: int) -> None:
        self.follow(MOMENTUM)


class PeerSimSiam(Peer):
    def __init__(self, encoder: nn.Module):
        head = partial(modules.SimSiamProjectionHead, FEATURES, HIDDEN, HIDDEN)
        super().__init__(encoder, head, loss.NegativeCosineSimilarity())
        self.prediction_head = modules.SimSiamPredictionHead(HIDDEN, PROJECTION, HIDDEN)
        self.names["predictor."] = "prediction_head.layers."

    def forward(self, batch: Tensor) -> Tensor:
        z = self.project(batch)
        (p0, p1), (z0, z1) = self.prediction_head(z).chunk(2), z.detach().chunk(2)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


class PeerDINO(Peer):
    """Args:
    cut_small: Our cut of small views out of large ones, since views are to be the same.
    has_norm: Whether the head has BatchNorm.
    """

    def __init__(self, encoder: nn.Module, cut_small: Callable[[Tensor], Tensor], has_norm: bool):
        criterion = loss.DINOLoss(PROTOTYPES, teacher_temp=TEACHER_TEMPERATURE)
        super().__init__(encoder, partial(dino_head, has_norm), criterion, has_average=True)
        self.cut_small = cut_small
        self.names = {"encoder.": "backbone.", "teacher.0.": "backbone_momentum.", "center": "criterion.center"}
        for ours, theirs in {"head.": "projection_head.", "teacher.1.": "projection_head_momentum."}.items():
            ours_at = (0, 1, 3, 4, 6) if has_norm else (0, 3, 6)  # where there is no norm, ours has an identity
            theirs_at = ours_at if has_norm else (0, 2, 4)
            for i, j in zip(ours_at, theirs_at, strict=True):
                self.names[f"{ours}layers.{i}."] = f"{theirs}layers.{j}."
            self.names[f"{ours}prototypes"] = f"{theirs}last_layer.weight_v"
            self.only_theirs[f"{theirs}last_layer.weight_g"] = 1.0
            if has_norm:
                self.only_ours |= {f"{ours}layers.0.bias": 0.0, f"{ours}layers.3.bias": 0.0}

    def forward(self, batch: Tensor) -> Tensor:
        small = self.cut_small(batch)
        student = [*self.project(batch).chunk(2), *self.project(small).split(len(batch) // 2)]
        return self.criterion(list(self.project_slowly(batch).chunk(2)), student)

    def after_step(self, step: int, steps: int) -> None:
        self.follow(cosine_schedule(step, steps + 1, MOMENTUM, 1.0))


class PeerMAE(Peer):
    """Args:
    visible: Patches that the encoder sees.
    depth, width, heads: Size of the decoder.
    """

    def __init__(self, encoder: nn.Module, visible: int, depth: int, width: int, heads: int):
        blocks, wide = encoder.encoder.layers, encoder.feature_dim
        patches, pixels = (encoder.image_size // encoder.patch_size) ** 2, 3 * encoder.patch_size**2
        size = len(blocks), blocks[0].num_heads, wide, 4 * wide
        backbone = modules.MAEBackbone(encoder.image_size, encoder.patch_size, *size)
        decoder = modules.MAEDecoder(patches + 1, depth, heads, wide, width, 4 * width, pixels)
        super().__init__(backbone, lambda: decoder, nn.MSELoss())
        self.backbone.heads, self.visible, self.patches = nn.Identity(), visible, patches
        self.backbone.encoder.pos_embedding.requires_grad_()
        decoder.pos_embedding = nn.Parameter(torch.zeros(1, patches, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.names = {"encoder.": "backbone.", "into_decoder.": "projection_head.decoder_embed."}
        self.names |= {"mask_token": "mask_token", "positions": "projection_head.pos_embedding"}
        self.names |= {f"decoder.{i}.": f"projection_head.layers.encoder_layer_{i}." for i in range(depth)}
        self.names |= {f"decoder.{depth}.": "projection_head.ln."}
        self.names |= {f"decoder.{depth + 1}.": "projection_head.prediction_head."}

    def forward(self, batch: Tensor) -> Tensor:
        kept, masked = torch.rand(len(batch), self.patches).argsort(1).tensor_split([self.visible], 1)
        with_class_token = torch.cat([torch.zeros(len(batch), 1, dtype=torch.long), kept + 1], 1)
        encoded = self.backbone.encode(batch, with_class_token)[:, 1:]
        tokens = utils.repeat_token(self.mask_token, (len(batch), self.patches))
        tokens = utils.set_at_index(tokens, kept, self.projection_head.embed(encoded))
        decoded = utils.get_at_index(self.projection_head.decode(tokens), masked)
        patches = utils.normalize_mean_var(utils.patchify(batch, self.backbone.patch_size))
        by_channel = patches.unflatten(2, (-1, 3)).transpose(2, 3).flatten(2)
        return self.criterion(self.projection_head.predict(decoded), utils.get_at_index(by_channel, masked))


def head_with_one_norm() -> nn.Module:
    """The head of our SimCLR and MoCo."""
    return ProjectionHead(
        [(FEATURES, HIDDEN, nn.BatchNorm1d(HIDDEN), nn.ReLU()), (HIDDEN, PROJECTION, None, None)],
    )


def dino_head(has_norm: bool) -> nn.Module:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch's older weight_norm
        return modules.DINOProjectionHead(FEATURES, HIDDEN, PROJECTION, PROTOTYPES, batch_norm=has_norm)


def encoder() -> nn.Module:
    return SmallResNet(3, 8, (4, 8, FEATURES))


def byol() -> tuple[Method, Peer]:
    method = BYOL(encoder(), hidden_dim=HIDDEN, projection_dim=PROJECTION, momentum=MOMENTUM)
    return method, PeerBYOL(method.encoder)


def simclr() -> tuple[Method, Peer]:
    method = SimCLR(encoder(), hidden_dim=HIDDEN, projection_dim=PROJECTION, temperature=0.5)
    peer = Peer(method.encoder, head_with_one_norm, loss.NTXentLoss(temperature=0.5))
    peer.only_theirs |= {"criterion.memory_bank.bank": 0.0, "criterion.memory_bank.bank_ptr": 0.0}  # an empty queue
    return method, peer


def moco() -> tuple[Method, Peer]:
    sizes = {"hidden_dim": HIDDEN, "projection_dim": PROJECTION, "queue_size": QUEUE}
    method = MoCo(encoder(), **sizes, momentum=MOMENTUM, temperature=0.2)
    return method, PeerMoCo(method.encoder)


def simsiam() -> tuple[Method, Peer]:
    method = SimSiam(encoder(), projection_dim=HIDDEN, predictor_dim=PROJECTION)
    return method, PeerSimSiam(method.encoder)


def dino(has_norm: bool = False) -> tuple[Method, Peer]:
    sizes = {"hidden_dim": HIDDEN, "bottleneck_dim": PROJECTION, "prototypes": PROTOTYPES, "batch_norm": has_norm}
    method = DINO(encoder(), **sizes, momentum=MOMENTUM, teacher_temperature=TEACHER_TEMPERATURE)
    return method, PeerDINO(method.encoder, method.cut_small, has_norm)


def dino_with_norm() -> tuple[Method, Peer]:
    return dino(has_norm=True)


def barlow_twins() -> tuple[Method, Peer]:
    method = BarlowTwins(encoder(), projection_dim=HIDDEN, redundancy=0.005)
    head = partial(modules.BarlowTwinsProjectionHead, FEATURES, HIDDEN, HIDDEN)
    peer = Peer(method.encoder, head, loss.BarlowTwinsLoss(lambda_param=0.005))
    peer.only_theirs["projection_head.layers.6.bias"] = 0.0
    return method, peer


def vicreg() -> tuple[Method, Peer]:
    method = VICReg(encoder(), projection_dim=HIDDEN)
    peer = Peer(method.encoder, partial(VICRegProjectionHead, FEATURES, HIDDEN, HIDDEN), loss.VICRegLoss())
    peer.only_theirs["projection_head.layers.6.bias"] = 0.0
    return method, peer


def mae() -> tuple[Method, Peer]:
    depth, width, heads = 2, 16, 2
    sizes = {"decoder_dim": width, "decoder_depth": depth, "decoder_heads": heads}
    method = MAE(build_encoder("small_vit", 3, 8), **sizes, mask_ratio=0.75)
    return method, PeerMAE(method.encoder, visible=4, depth=depth, width=width, heads=heads)


PAIRS = {
    build.__name__: build for build in (byol, simclr, moco, simsiam, dino, dino_with_norm, barlow_twins, vicreg, mae)
}
"""Builders of one of our methods and its peer, by name."""
