"""From one picture to a shape: a small network that learns from pictures alone, through the renderer.

`python image_to_shape.py` trains it for a minute or two on a CPU. The network sees a picture of a superellipsoid and
says its semi-axes and its exponent; the shape that it says is drawn from the same side and from another one, and the
loss is how far these pictures are from the true ones. The true shapes only draw the pictures and serve, at the end, to
measure the intersection over union of shapes that were never trained on.
"""

import numpy as np
import torch

import tidr
import tidr.torch

SIZE, BATCH, APART = 32, 8, 20.0  # pixels, shapes in a picture batch, world units from one shape to the next
SMALLEST, LARGEST, ROUNDEST, SQUAREST = 0.3, 1.0, 2.0, 6.0
EYES = ((2.1, 1.6, 2.6), (-2.6, 2.0, 1.4))  # the first is the one that the network sees


def random_shapes(count: int, seed: int) -> torch.Tensor:
    """[count, 4]: three semi-axes and an exponent."""
    rng = np.random.default_rng(seed)
    axes = rng.uniform(SMALLEST, LARGEST, (count, 3))
    return torch.tensor(np.column_stack([axes, rng.uniform(ROUNDEST, SQUAREST, count)]), dtype=torch.float32)


class Predictor(torch.nn.Module):
    """Picture [B, H, W, 3] -> shapes [B, 4] within their ranges; at first it says the same of all pictures."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [torch.nn.Conv2d(3, 16, 5, 2, 2), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 5, 2, 2)]
        head = [torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32 * (SIZE // 4) ** 2, 64), torch.nn.ReLU()]
        self.last = torch.nn.Linear(64, 4)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)
        self.layers = torch.nn.Sequential(*convolutions, *head, self.last)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        share = torch.sigmoid(self.layers(pictures.permute(0, 3, 1, 2)))
        low = torch.tensor([SMALLEST] * 3 + [ROUNDEST])
        high = torch.tensor([LARGEST] * 3 + [SQUAREST])
        return low + share * (high - low)


class Studio:
    """BATCH meshes far above each other in one scene, each before cameras of its own: one render for all."""

    def __init__(self) -> None:
        directions, faces = tidr.icosphere(2)
        self.directions = torch.tensor(directions / np.linalg.norm(directions, axis=1, keepdims=True)).float()
        self.places = torch.tensor([[0.0, APART * k, 0.0] for k in range(BATCH)])
        every = np.concatenate([faces + len(directions) * k for k in range(BATCH)])
        self.scene = tidr.Scene(tidr.Film(SIZE, SIZE))
        self.scene.add_material("clay", tidr.Material("lambert", albedo=0.8))
        mesh = tidr.Mesh(self.vertices(random_shapes(BATCH, 0)).numpy(), every)
        self.scene.add_node("shapes", tidr.Node(mesh, ("clay",)))
        self.scene.add_light("sun", tidr.DirectionalLight((-0.6, -1.0, -0.4), (3.0, 2.0, 1.0)))
        self.scene.add_light("sky", tidr.AmbientLight((0.1, 0.2, 0.4)))
        view = {"fov_y_degrees": 38, "width": SIZE, "height": SIZE}
        places = self.places.numpy()
        self.cameras = [tidr.Camera.look_at(place + eye, place, **view) for eye in EYES for place in places]

    def vertices(self, shapes: torch.Tensor) -> torch.Tensor:
        """[BATCH * V, 3]: in every direction the radius where |x / a|^p + |y / b|^p + |z / c|^p = 1."""
        axes, power = shapes[:, None, :3], shapes[:, None, 3:]
        radius = ((self.directions.abs() / axes + 1e-6) ** power).sum(-1, keepdim=True) ** (-1 / power)
        return (radius * self.directions + self.places[:, None]).reshape(-1, 3)

    def pictures(self, shapes: torch.Tensor) -> torch.Tensor:
        """[2, BATCH, H, W, 4]: colour and coverage from both sides."""
        renderer = tidr.Rasterizer(edges="antialias")
        tensors = {"shapes.vertices": self.vertices(shapes)}
        drawn = tidr.torch.render(self.scene, self.cameras, tensors, renderer, channels=("rgb", "alpha"))
        return torch.cat(drawn, -1).reshape(len(EYES), BATCH, SIZE, SIZE, 4)


def overlap(ones: torch.Tensor, others: torch.Tensor) -> float:
    """Mean intersection over union of the solids, over a grid of points."""
    axis = (torch.arange(48) + 0.5) / 48
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)  # all eight octants alike

    def inside(shapes: torch.Tensor) -> torch.Tensor:
        return ((points / shapes[:, None, :3]) ** shapes[:, None, 3:]).sum(-1) <= 1

    one, other = inside(ones), inside(others)
    return ((one & other).sum(1) / (one | other).sum(1)).mean().item()


def train(steps: int, rate: float = 3e-3, seed: int = 0) -> tuple[float, float]:
    """IoU on shapes that were held out, before and after so many steps."""
    torch.manual_seed(seed)
    studio, network = Studio(), Predictor()
    held_out = random_shapes(4 * BATCH, seed=10_000)
    with torch.no_grad():
        shown = torch.cat([studio.pictures(part)[0] for part in held_out.split(BATCH)])[..., :3]
        before = overlap(network(shown), held_out)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        with torch.no_grad():
            truth = studio.pictures(random_shapes(BATCH, seed + step))
        optimizer.zero_grad()
        loss = (studio.pictures(network(truth[0, ..., :3])) - truth).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return before, overlap(network(shown), held_out)


if __name__ == "__main__":
    tidr.init(arch="cpu")
    print("IoU on shapes that were held out: {:.3f} before, {:.3f} after".format(*train(400)))
