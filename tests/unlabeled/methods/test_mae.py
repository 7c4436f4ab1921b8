import numpy as np
import pytest
import torch

from unlabeled.methods.mae import MAE, patchify
from unlabeled.nn.small_networks import build_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    small = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    return MAE(build_encoder("small_vit", 1, 16), **small | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 16, 16, generator=seeded(seed))


def test_patches_are_in_the_order_of_the_tokens():
    batch = torch.arange(64.0).repeat_interleave(4).view(1, 64, 2, 2)  # patch t holds the number t
    image = batch.view(8, 8, 2, 2).permute(0, 2, 1, 3).reshape(1, 1, 16, 16)
    assert patchify(image, 2)[0, :, 0].tolist() == list(range(64))
    vit = build_encoder("small_vit", 1, 16)
    torch.nn.init.constant_(vit.conv_proj.weight, 0.25), torch.nn.init.zeros_(vit.conv_proj.bias)
    torch.testing.assert_close(vit.conv_proj(image).flatten(2)[0, 0], torch.arange(64.0))


def test_loss_is_the_slow_loop_over_masked_patches():
    mae, batch = method().eval(), images(3)
    torch.manual_seed(2)
    loss = mae(batch).item()
    torch.manual_seed(2)
    order = torch.rand(3, 64).argsort(1)
    predicted = mae.predict(batch, order[:, :16]).detach().numpy()
    losses = []
    for i in range(3):
        for t in order[i, 16:].tolist():
            row, column = divmod(t, 8)
            pixels = batch[i, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten().numpy()
            target = (pixels - pixels.mean()) / np.sqrt(pixels.var(ddof=1) + 1e-6)
            losses.append(((predicted[i, t] - target) ** 2).mean())
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_masked_patches_never_reach_the_encoder():
    mae, batch = method().eval(), images(2)
    visible = torch.tensor([[0, 9, 17], [5, 40, 63]])
    hidden = torch.ones(2, 64, dtype=torch.bool).scatter_(1, visible, False)
    pixels = hidden[..., None].expand(-1, -1, 4).transpose(1, 2).float()
    mask = torch.nn.functional.fold(pixels, (16, 16), 2, stride=2).bool()
    changed = torch.where(mask, batch + 100, batch)
    assert torch.equal(mae.predict(batch, visible), mae.predict(changed, visible))
    assert not torch.equal(mae.predict(batch, visible), mae.predict(batch + 1, visible))


def test_the_encoder_computes_on_visible_patches_only():
    mae, seen = method(mask_ratio=0.75), []
    mae.encoder.encoder.layers[0].register_forward_pre_hook(lambda _, x: seen.append(x[0].shape))
    mae(images(2))
    assert seen == [(2, 1 + 16, 192)]


def test_visible_tokens_return_to_their_places():
    mae, batch = method().eval(), images(1)
    one, other = torch.tensor([[3, 50, 20]]), torch.tensor([[20, 3, 50]])
    torch.testing.assert_close(mae.predict(batch, one), mae.predict(batch, other), atol=1e-5, rtol=0)


def test_a_perfect_prediction_costs_nothing(monkeypatch):
    mae, batch = method(), images(3)
    patches = patchify(batch, 2)
    exact = (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-6).sqrt()
    monkeypatch.setattr(mae, "predict", lambda images, visible: exact)
    assert mae(batch).item() == pytest.approx(0, abs=1e-10)


def test_what_it_shows_of_visible_patches_is_the_images_own():
    mae, batch = method(mask_ratio=0.75).eval(), images(5) + 10
    image, seen, predicted = mae.illustrate(batch).values()
    visible = seen != 0
    assert torch.equal(image, batch) and (patchify(visible.float(), 2).mean(2).sum(1) == 16).all()
    assert torch.equal(seen[visible], batch[visible]) and torch.equal(predicted[visible], batch[visible])
    assert predicted.shape == batch.shape and (predicted[~visible] != batch[~visible]).all()


def test_a_perfect_prediction_is_shown_as_the_image(monkeypatch):
    mae, batch = method().eval(), images(3)
    patches = patchify(batch, 2)
    exact = (patches - patches.mean(2, keepdim=True)) / patches.std(2, keepdim=True)
    monkeypatch.setattr(mae, "predict", lambda images, visible: exact)
    torch.testing.assert_close(mae.illustrate(batch)["predicted"], batch)


def test_some_steps_lower_the_loss():
    mae, batch = method(), torch.linspace(-1, 1, 256).view(1, 1, 16, 16).repeat(8, 1, 1, 1)
    optimizer, losses = torch.optim.AdamW(mae.parameters(), 1e-3), []
    torch.manual_seed(0)
    for _ in range(20):
        loss = mae(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_gradient_reaches_everything():
    mae = method()
    mae(images(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mae.parameters())


@pytest.mark.parametrize("ratio", [0, 1, 1.5])
def test_a_mask_of_nothing_or_everything_is_refused(ratio):
    with pytest.raises(ValueError, match=f"mask_ratio: received {ratio}, expected a number between 0 and 1"):
        method(mask_ratio=ratio)


def test_a_mask_that_leaves_no_patch_is_refused():
    with pytest.raises(ValueError, match="mask_ratio: received 0.999, which shows 0 of 64 patches, expected 1 to 63"):
        method(mask_ratio=0.999)


def test_a_decoder_that_its_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="decoder_heads: received 5, expected a divisor of decoder_dim="):
        method(decoder_heads=5)


def test_a_convolutional_encoder_is_refused():
    with pytest.raises(ValueError, match="mae needs a ViT: set pretraining.encoder to small_vit"):
        MAE(build_encoder("small_resnet", 1, 16))
