"""AVOD's geometry by hand, and that it learns from a frame."""

from __future__ import annotations

import math

import pytest
import torch

from sparsefront.models.avod.bev_maps import Ground, bev_maps
from sparsefront.models.avod.boxes import (
    anchor_grid,
    decode_corners,
    decode_upright,
    encode_corners,
    encode_upright,
    find_occupied,
    ground_corners,
    ground_overlap,
    to_upright,
)
from sparsefront.models.avod.crops import areas_from_above, areas_in_image, crop
from sparsefront.models.avod.losses import first_stage_losses, second_stage_losses

GROUND = Ground(half_width=2.0, length=4.0, cell_m=1.0, bottom=0.0, top=5.0, road_m=0.0)


def test_bev_maps_hold_height_and_density() -> None:
    """Two points in a cell: the higher one in its slice, and log 3 / log 16."""
    points = torch.tensor([[-1.5, 0.5, 1.2, 0, 0], [-1.4, 0.6, 1.7, 0, 0], [9.0, 0, 1, 0, 0]])
    maps = bev_maps([points], GROUND)
    assert maps.shape == (1, 6, 4, 4)
    assert maps[0, 1, 0, 0].item() == pytest.approx(1.7 / 5)
    assert maps[0, 5, 0, 0].item() == pytest.approx(math.log(3) / math.log(16))
    assert maps.count_nonzero() == 2


def test_anchors_over_points_stay() -> None:
    anchors = anchor_grid(GROUND, ((2.0, 1.0, 1.5),), 2.0)
    assert anchors.shape == (8, 6)
    assert torch.allclose(anchors[0], torch.tensor([-1.0, 1.0, 0.75, 1.0, 2.0, 1.5]))
    density = torch.zeros(4, 4)
    density[3, 3] = 1.0
    stay = find_occupied(anchors, density, GROUND)
    assert stay.nonzero().flatten().tolist() == [6, 7]  # both at (1, 3)
    density[0, 0] = 1.0
    assert find_occupied(anchors, density, GROUND).nonzero().flatten().tolist() == [0, 1, 6, 7]
    assert find_occupied(anchors, density, GROUND, margin_m=2.0).all()


def test_decoding_inverts_encoding_of_boxes() -> None:
    torch.manual_seed(0)
    boxes = torch.rand(20, 7)
    boxes[:, 3:6] = torch.tensor([4.0, 1.6, 1.5])
    boxes[:, 6] = torch.linspace(-3.1, 3.1, 20)
    proposals = to_upright(boxes) + 0.1
    heading = torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin()], dim=1)
    back = decode_corners(proposals, encode_corners(proposals, boxes), heading)
    assert torch.allclose(back, boxes, atol=1e-4)
    near = decode_upright(proposals, encode_upright(proposals, to_upright(boxes)))
    assert torch.allclose(near, to_upright(boxes), atol=1e-5)


def test_corners_are_named_by_the_nearest_axis() -> None:
    """A box along y meets an upright one with its sides swapped, corner by corner."""
    along_y = torch.tensor([[0.0, 0, 0, 4, 2, 1, math.pi / 2]])
    swapped = torch.tensor([[0.0, 0, 0, 2, 4, 1, 0]])
    assert torch.allclose(ground_corners(along_y), ground_corners(swapped), atol=1e-6)
    assert ground_overlap(to_upright(along_y), to_upright(swapped)).item() == pytest.approx(1.0)


def test_crops_sample_the_areas_of_boxes() -> None:
    """A ramp of columns: three samples over the middle half of the map."""
    ramp = ((torch.arange(8) + 0.5) / 8).expand(1, 8, 8)
    found = crop(ramp, torch.tensor([[0.25, 0.25, 0.75, 0.75]]), 3)
    assert torch.allclose(found[0, 0, 1], torch.tensor([0.25, 0.5, 0.75]), atol=1e-6)
    box = torch.tensor([[0.0, 2.0, 1.0, 2.0, 1.0, 2.0]])
    assert torch.allclose(areas_from_above(box, GROUND), torch.tensor([[0.25, 0.375, 0.75, 0.625]]))
    project = torch.tensor([[10.0, 8, 0, 0], [0, 8, -10, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    area = areas_in_image(torch.tensor([[0.0, 10, 0, 2, 0, 2]]), project, (16, 16))
    assert torch.allclose(area, torch.tensor([[7.0, 7.0, 9.0, 9.0]]) / 16, atol=1e-6)


def test_right_outputs_have_no_loss() -> None:
    """Sure and exact outputs cost nothing; without boxes only backgrounds count."""
    box = torch.tensor([[0.0, 2.0, 0.75, 2.0, 1.0, 1.5, 0.1]])
    candidates = torch.cat([to_upright(box), to_upright(box) + 9])
    sure = torch.tensor([[20.0], [-20.0]])
    offsets = encode_upright(candidates, to_upright(box).expand(2, -1))
    first = first_stage_losses(candidates, sure, offsets, box)
    assert all(v.item() < 1e-6 for v in first.values())
    heading = torch.tensor([[math.cos(0.1), math.sin(0.1)]]).expand(2, -1)
    corners = encode_corners(candidates, box.expand(2, -1))
    second = second_stage_losses(candidates, sure, corners, heading, box, torch.tensor([0]))
    assert all(v.item() < 1e-6 for v in second.values())
    none = first_stage_losses(candidates, sure, offsets, box[:0])
    assert none["anchor"].item() == 0.0
    assert none["objectness"].item() > 10  # sure of a box that is not there
