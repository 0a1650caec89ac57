"""The map of what left a network."""

import pytest

from envs.drainage.drawing import draw_map
from envs.drainage.site import Link, Node
from tests.envs.drainage.small import row


@pytest.mark.parametrize(("dx", "dy"), [(1000.0, 0.0), (0.0, 1000.0), (0.0, 0.0)])
def test_a_network_on_a_line_has_a_map_that_can_be_seen(dx, dy):
    nodes = tuple(Node(id=f"N{k}", kind="junction", x=k * dx, y=k * dy) for k in range(3))
    links = tuple(Link(id=f"L{k}", start=k, end=k + 1) for k in range(2))
    figure = draw_map(row().model_copy(update={"nodes": nodes, "links": links}), {"static": {"N1": 9.0}}, "overflow_m3")
    figure.draw_without_rendering()
    panel = figure.axes[0].get_window_extent()
    assert min(panel.width, panel.height) > 0.25 * max(panel.width, panel.height)


def test_what_leaves_at_nodes_without_a_place_is_told():
    nodes = (Node(id="N", kind="junction", x=0, y=0), Node(id="M", kind="junction", x=9, y=5))
    found = {"static": {"N": 10.0, "P": 30.0, "Q": 2.0}, "law": {"N": 10.0}}
    figure = draw_map(row().model_copy(update={"nodes": nodes, "links": ()}), found, "overflow_m3")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "static: 42 in all, 32 of it where no place is known",
        "law: 10 in all",
    ]
